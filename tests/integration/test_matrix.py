"""Test `trt_matrix`, `trt_pipeline` and the fixtures trt_case and trt_spec."""

from __future__ import annotations

import json

import pytest
from samples.pytest_runs import ENGINE, MEASURES


def collected(project, *options):
    """Return the names of the collected tests."""
    lines = project.runpytest_inprocess("--collect-only", "-q", *options).stdout.lines
    return [line.partition("::")[2] for line in lines if "::" in line]


def test_matrix_ids_precede_those_of_pytest_and_follow_the_axes(project):
    project.makepyfile(
        test_m=ENGINE
        + """
@pytest.mark.parametrize("mode", ["fast", "slow"])
@pytest.mark.trt_matrix(precision=["fp32", "fp16"], batch=[1, 8], contexts=[2])
def test_m(trt_runner, mode): pass
@pytest.mark.trt_matrix(S=[32])
class TestAll:
    @pytest.mark.trt_matrix(batch=[4])
    def test_n(self, trt_runner): pass
"""
    )
    cases = [f"{p}-{b}-contexts2" for p in ("fp32", "fp16") for b in ("b1", "b8")]
    assert collected(project) == [
        *(f"test_m[{case}-{mode}]" for case in cases for mode in ("fast", "slow")),
        "TestAll::test_n[b4-S32]",
    ]
    assert collected(project, "-k", "S32") == ["TestAll::test_n[b4-S32]"]
    assert len(collected(project, "-k", "contexts2 and not b8")) == 4


def test_matrix_applies_to_an_overridden_spec_and_to_model_functions(project, verdicts):
    project.makepyfile(
        test_m="""
import pytest
from pytest_trt import EngineSpec

def model():
    import onnx
    return onnx.load("m.onnx")

class TestInCode:
    @pytest.fixture
    def trt_spec(self): return EngineSpec(onnx=model, dims={"N": (1, 4, 8)})

    @pytest.mark.trt_matrix(precision=["fp32", "fp16"], batch=[8])
    def test_m(self, trt_runner, trt_case):
        measurement = trt_runner.measure()
        assert measurement.spec["precision"] == trt_case["precision"]
        assert trt_runner.declaration.spec.onnx is model
        assert trt_runner.declaration.run.batch == 8

@pytest.mark.trt_engine(onnx=model)
@pytest.mark.trt_matrix(N=[2, 3])
def test_shape(trt_runner, trt_engine, trt_spec, trt_build, trt_device):
    import numpy as np
    n = trt_runner.declaration.run.dims["N"]
    assert trt_runner({"x": np.ones((n, 32), np.float32)})["y"].shape == (n, 32)
    batches = [{"x": np.full((n, 32), k, np.float32)} for k in range(4)]
    outputs = list(trt_runner.stream(batches, lambda out: float(out["y"].sum())))
    assert len(outputs) == 4 and outputs[0] == 0
    assert sorted(outputs) == outputs
    assert len(trt_runner.profile().layers) >= 2
    assert trt_build(trt_spec, batch=n).digest == trt_engine.digest
    assert trt_device.backend == "onnxruntime"
"""
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=4)
    assert verdicts() == {"TestInCode::test_m[fp32-b8]": ["missing"], "TestInCode::test_m[fp16-b8]": ["missing"]}


def test_pipeline_marker_sets_the_pipeline(project):
    project.makepyfile(
        test_m=ENGINE
        + """
@pytest.mark.trt_pipeline(depth=3)
class TestAll:
    @pytest.mark.trt_matrix(contexts=[1, 2])
    def test_m(self, trt_runner):
        trt_runner.measure()
        assert trt_runner.declaration.pipeline.depth == 3
"""
    )
    project.runpytest_subprocess().assert_outcomes(passed=2)
    results = json.loads((project.path / "out.json").read_text())["results"]
    assert [r["measurement"]["spec"].get("contexts") for r in results] == [None, "2"]


@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_all_invalid_markers_are_reported_together(project, xdist):
    project.makepyfile(
        test_m=ENGINE.replace("pytestmark", "engine")
        + """
@engine
@pytest.mark.trt_matrix(batch=[])
def test_axis(trt_runner): pass
@engine
@pytest.mark.trt_matrix(precison=["fp16"])
def test_field(trt_runner): pass
@pytest.mark.trt_engine("m.onnx", precison="fp16")
def test_argument(trt_runner): pass
@pytest.mark.trt_engine("m.onnx", precision="fp12")
def test_value(trt_runner): pass
@pytest.mark.trt_engine("m.onnx", onnx=print)
def test_two(trt_runner): pass
@engine
@pytest.mark.trt_budget("cpu", ms=1)
@pytest.mark.trt_budget("cpu", ms=2)
def test_limits(trt_runner): pass
@engine
@pytest.mark.trt_pipeline(contexts=0)
def test_pipeline(trt_runner): pass
def test_none(trt_runner): pass
def test_other(): pass
"""
    )
    result = project.runpytest_inprocess(*xdist)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    output = (result.stdout if xdist else result.stderr).str()
    for line in (
        "test_m.py::test_axis: trt_matrix: batch is []: give a list with at least one value",
        "test_m.py::test_field[precison:fp16]: trt_matrix: 'precison' is not a field: did you mean 'precision'?",
        "test_m.py::test_argument: trt_engine: unknown argument 'precison': did you mean 'precision'?",
        "test_m.py::test_value: trt_engine: precision is 'fp12': it must be one of 'fp32', 'fp16'",
        "test_m.py::test_two: trt_engine: path and onnx both name the model",
        "test_m.py::test_limits: trt_budget: two limits for ms on 'cpu' with the same where: 2 and 1",
        "test_m.py::test_pipeline: trt_pipeline: contexts is 0: it must be from 1 to 64",
        "test_m.py::test_none: no model is named: mark the test with trt_engine('model.onnx')",
    ):
        assert line in output
    if xdist:
        result.assert_outcomes(failed=8, passed=1)


def test_misspelt_marker_is_a_usage_error_with_a_suggestion(project):
    project.makepyfile(test_m=ENGINE + "@pytest.mark.trt_budgets(ms=1)\n" + MEASURES)
    result = project.runpytest_inprocess("-o", "addopts=")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: test_m.py::test_m: there is no marker trt_budgets: did you mean trt_budget?*"])


def test_size_0_is_run_by_the_matrix_the_batch_and_the_ranges(project, verdicts):
    project.makepyfile(
        test_m="""
import pytest

@pytest.mark.trt_engine("m.onnx", dims={"N": (0, 1, 4)})
@pytest.mark.trt_matrix(N=[0, 2])
def test_dimension(trt_runner): trt_runner.measure()

@pytest.mark.trt_engine("m.onnx", shapes={"x": ((0, 32), (0, 32), (4, 32))})
def test_optimum(trt_runner): trt_runner.measure()

@pytest.mark.trt_engine("m.onnx")
@pytest.mark.trt_matrix(batch=[0])
def test_batch(trt_runner): trt_runner.measure()
"""
    )
    project.runpytest_inprocess().assert_outcomes(passed=4)
    assert list(verdicts().values()) == [["missing"]] * 4
