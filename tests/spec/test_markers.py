"""Combining markers into one declaration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_trt.errors import DeclarationError
from pytest_trt.spec import markers

ENGINE = pytest.mark.trt_engine("m.onnx").mark


def declare(*marks, case=None, params=None):
    return markers.declare([mark.mark for mark in marks], case or {}, params or {})


def test_closest_marker_wins_for_each_argument():
    close, far = pytest.mark.trt_engine(precision="fp16"), pytest.mark.trt_engine("m.onnx", precision="fp32", seed=7)
    spec = declare(close, far).spec
    assert (spec.path, spec.precision, spec.seed) == ("m.onnx", "fp16", 7)


def test_closer_model_replaces_one_of_another_kind():
    spec = declare(pytest.mark.trt_engine(onnx=print), pytest.mark.trt_engine("m.onnx", seed=7)).spec
    assert spec.path is None
    assert spec.onnx is print
    assert spec.seed == 7


def test_path_object_names_the_model():
    assert declare(pytest.mark.trt_engine(Path("a") / "m.onnx")).spec.path == "a/m.onnx"


def test_contradiction_is_rejected_within_one_marker_only():
    with pytest.raises(DeclarationError, match="backend='onnxruntime' does not support refit, workspace_mb"):
        declare(pytest.mark.trt_engine("m.onnx", backend="onnxruntime", workspace_mb=64, refit=True))
    shared = pytest.mark.trt_engine("m.onnx", workspace_mb=64)
    assert declare(pytest.mark.trt_engine(backend="onnxruntime"), shared).spec.workspace_mb == 64
    assert declare(shared, case={"backend": "onnxruntime"}).spec.backend == "onnxruntime"


def test_spec_is_checked_with_the_values_of_the_matrix():
    marker = pytest.mark.trt_engine("m.onnx", layer_precisions={"head": "fp16"})
    assert declare(marker, case={"precision": "fp16"}).spec.layer_precisions == {"head": "fp16"}
    with pytest.raises(DeclarationError, match=r"layer_precisions\['head'\] is 'fp16'"):
        declare(marker, case={"precision": "bf16"})


def test_budgets_of_all_markers_apply():
    budgets = declare(pytest.mark.trt_budget(ms=1), pytest.mark.trt_budget("H200", ms=0.5, where={"batch": 1})).budgets
    assert [(b.device, dict(b.limits), dict(b.where)) for b in budgets] == [
        ("gpu", {"ms": 1.0}, {}),
        ("H200", {"ms": 0.5}, {"batch": 1}),
    ]


def test_matrix_is_a_product():
    axes = markers.matrix_axes([pytest.mark.trt_matrix(precision=["fp32", "fp16"], batch=[1, 8], seq=[32]).mark])
    cases = markers.combinations(axes)
    assert [tuple(case.values()) for case in cases] == [
        ("fp32", 1, 32), ("fp32", 8, 32), ("fp16", 1, 32), ("fp16", 8, 32),
    ]  # fmt: skip
    assert all(list(case) == ["precision", "batch", "seq"] for case in cases)


def test_case_sets_fields_batch_and_dimensions():
    case = {"precision": "fp16", "batch": 8, "contexts": 2, "seq": 32}
    declared = declare(pytest.mark.trt_engine("m.onnx"), case=case)
    assert declared.spec.precision == "fp16"
    assert declared.pipeline.contexts == 2
    assert (declared.run.batch, dict(declared.run.dims)) == (8, {"seq": 32})
    assert declared.params == case


def test_where_may_use_simple_parameters_only():
    declared = declare(pytest.mark.trt_engine("m.onnx"), params={"mode": "fast", "model": object()})
    assert declared.params == {"mode": "fast"}


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ([pytest.mark.trt_engine("m.onnx", precison="fp16")], "unknown argument 'precison': did you mean 'precision'?"),
        ([pytest.mark.trt_engine("a.onnx", "b.onnx")], "'b.onnx' is an unexpected positional argument"),
        ([pytest.mark.trt_engine("a.onnx", path="b.onnx")], "path is passed by position and by keyword"),
        ([pytest.mark.trt_engine.with_args(print)], "pass it by keyword, as onnx=f or build=f"),
        ([pytest.mark.trt_engine("a.onnx", onnx=print)], "path and onnx both name the model"),
        ([pytest.mark.trt_budget(mss=10)], "trt_budget: unknown argument 'mss': did you mean 'ms'?"),
        ([pytest.mark.trt_budget(10)], "trt_budget: device must be of type str, not 10"),
        ([pytest.mark.trt_budget(ms=1), pytest.mark.trt_budget(ms=2)], "two limits for ms on 'gpu'"),
        ([pytest.mark.trt_pipeline(4)], "trt_pipeline: 4 is an unexpected positional argument"),
        ([pytest.mark.trt_pipeline(context=4)], "unknown argument 'context': did you mean 'contexts'?"),
        ([pytest.mark.trt_regression(max_slowdown=5)], "did you mean '5%'?"),
        ([pytest.mark.trt_accuracy(reference=3)], "trt_accuracy: reference must be"),
    ],
)
def test_invalid_marker_names_marker_and_argument(marks, message):
    with pytest.raises(DeclarationError, match=re.escape(message)):
        declare(*marks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "no axis is given"),
        ({"batch": 8}, "batch is 8: give a list"),
        ({"batch": []}, r"batch is \[\]: give a list"),
    ],
)
def test_invalid_matrix_is_rejected(arguments, message):
    with pytest.raises(DeclarationError, match=message):
        markers.matrix_axes([pytest.mark.trt_matrix(**arguments).mark])


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ({"precison": "fp16"}, "'precison' is not a field: did you mean 'precision'?"),
        ({"batch": "8"}, "trt_matrix: batch must be of type int, not '8'"),
        ({"seq": 1.5}, "trt_matrix: seq must be of type int, not 1.5"),
        ({"path": "m.onnx"}, "path cannot be an axis"),
        ({"precision": "fp9"}, "precision is 'fp9'"),
    ],
)
def test_invalid_case_is_rejected(case, message):
    with pytest.raises(DeclarationError, match=re.escape(message)):
        declare(pytest.mark.trt_engine("m.onnx"), case=case)
