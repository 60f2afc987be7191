"""Test ONNX's own cases, one operator each, on ONNX Runtime with our runner and our judge of accuracy.

A case that does not agree also runs in ONNX Runtime alone. If ONNX Runtime rejects the model, or has the same outputs,
the difference is its own; the case is listed with its message. All others are ours, and must be in UNSUPPORTED.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from pytest_trt.engine.backends.base import backend
from pytest_trt.errors import TrtError
from pytest_trt.judge.accuracy import allowed_error, verdicts
from pytest_trt.pipeline.open import open_runner
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec

UNSUPPORTED = {
    "string, sequence or optional": r"is of type (seq|optional|map|tensor\(string\))",
    "float8 or 4 bits, which no numpy array has": r"is of type tensor\((float8|float4|u?int4|u?int2)",
    "complex": r"is of type tensor\(complex",
    "bfloat16, which ONNX Runtime cannot read from a numpy array": r"Numpy_type 256 can't be converted",
}
"""The types of inputs and outputs that exist in ONNX but are not supported here, and the errors that name them."""

SPEC = EngineSpec(threads=1)


def arrays(values: list[Any]) -> list[Any]:
    return [numpy_helper.to_array(v) if isinstance(v, TensorProto) else v for v in values]


def with_our_runner(plan: Path, case: Any, inputs: list[Any]) -> Mapping[str, Any]:
    """Infer once, as a probe does."""
    engine = backend("onnxruntime").load(plan, "0", SPEC)
    try:
        names = [value.name for value in case.model.graph.input]
        arrays = {tensor.name: np.asarray(inputs[names.index(tensor.name)]) for tensor in engine.inputs}
        runner = open_runner(engine, {name: array.shape for name, array in arrays.items()}, PipelineOptions())
        return runner.infer(arrays)
    finally:
        engine.close()


def with_onnx_runtime_alone(plan: Path, case: Any, inputs: list[Any]) -> Mapping[str, Any]:
    """Infer once with ONNX Runtime alone."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(str(plan), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in case.model.graph.input]
    outputs = session.run(None, {i.name: inputs[names.index(i.name)] for i in session.get_inputs()})
    return {node.name: value for node, value in zip(session.get_outputs(), outputs, strict=True)}


def fault(plan: Path, case: Any) -> str:
    """Return why a case does not agree; empty if it does. Errors of ONNX Runtime begin with `ONNX Runtime: `."""
    plan.write_bytes(case.model.SerializeToString())
    inputs, expected = map(arrays, case.data_sets[0])
    names = [value.name for value in case.model.graph.output]
    limits = allowed_error.AccuracyLimits(case.rtol, case.atol, None, atol_scaled=False)
    outputs: Mapping[str, Any] = {}
    try:
        outputs = with_our_runner(plan, case, inputs)
        reference = {name: np.asarray(value) for name, value in zip(names, expected, strict=True)}
        one = {"": np.ones(1)}  # beside this one, an output without elements may agree
        wrong = [
            v.text for v in verdicts.judge({**outputs, **one}, {**reference, **one}, limits, "ONNX") if v.status != "ok"
        ]
        text = "; ".join(wrong)
    except TrtError as error:
        text = str(error)
    if not text:
        return ""
    try:
        alone = with_onnx_runtime_alone(plan, case, inputs)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions share no base but Exception
        return f"ONNX Runtime: {str(error).splitlines()[0]}"
    same = outputs.keys() == alone.keys() and all(
        np.array_equal(value, alone[name], equal_nan=np.asarray(value).dtype.kind in "fc")
        for name, value in outputs.items()
    )
    return f"ONNX Runtime answers the same: {text}" if same else text


def test_cases_of_onnx_agree_or_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime", minversion="1.24", reason="the older ones lack too many of ONNX's operators")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases are computed by numpy when they are loaded: overflows are intended
        from onnx.backend.test.loader import load_model_tests

        cases = load_model_tests(kind="node")
    faults = {case.name: fault(tmp_path / "plan", case) for case in cases}
    kinds: Counter[str] = Counter()
    unexpected = {}
    for name, text in sorted(faults.items()):
        known = [kind for kind, pattern in UNSUPPORTED.items() if re.search(pattern, text)]
        kind = "agrees" if not text else "ONNX Runtime's" if text.startswith("ONNX Runtime") and not known else "ours"
        kind = known[0] if known else kind
        kinds[kind] += 1
        if kind == "ours":
            unexpected[name] = text
        if text:
            print(f"{name}: {text[:300]}")
    print(dict(kinds))
    assert unexpected == {}
    assert kinds["agrees"] > 0.75 * len(cases) > 500
    with capsys.disabled():
        print(f"\n{kinds['agrees']} of {len(cases)} cases of ONNX agree; the others, by name, with -rP")
