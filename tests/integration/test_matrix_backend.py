"""Test trt_matrix(backend=[...]): one test on several backends, each with its own device, budgets and baseline."""

from __future__ import annotations

import importlib.util
import json

import pytest
from samples.pytest_runs import ENGINE

NO_LEAN = importlib.util.find_spec("tensorrt_lean") is None

BOTH = (
    ENGINE
    + """
@pytest.mark.trt_matrix(backend=["onnxruntime", "tensorrt_lean"], batch=[1, 8])
@pytest.mark.trt_budget("cpu", ms=1000, where={"backend": "onnxruntime", "batch": 1})
@pytest.mark.trt_budget(ms=1000)
@pytest.mark.trt_accuracy()
def test_m(trt_runner, trt_case):
    assert trt_runner.backend == trt_case["backend"]
    trt_runner.measure()
"""
)


@pytest.mark.skipif(not NO_LEAN, reason="tensorrt_lean is installed")
@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_missing_backend_fails_only_its_own_tests(project, verdicts, xdist):
    project.makepyfile(test_m=BOTH)
    result = project.runpytest_subprocess(*xdist)
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines([
        "*tensorrt_lean cannot be imported (No module named 'tensorrt_lean'): pip install*",
        "FAILED test_m.py::test_m[[]backend:tensorrt_lean-b*",
    ])  # fmt: skip
    assert verdicts() == {
        "test_m[backend:onnxruntime-b1]": ["ok", "missing", "ok"],
        "test_m[backend:onnxruntime-b8]": ["unenforced", "missing", "ok"],
        "test_m[backend:tensorrt_lean-b1]": ["error"],
        "test_m[backend:tensorrt_lean-b8]": ["error"],
    }


@pytest.mark.skipif(not NO_LEAN, reason="tensorrt_lean is installed")
def test_baseline_of_one_backend_works_although_another_backend_fails(project, verdicts):
    project.makepyfile(test_m=BOTH)
    project.runpytest_subprocess("--trt-baseline-save", "-q").assert_outcomes(passed=2, failed=2)
    project.runpytest_subprocess("--trt-max-slowdown=99%").assert_outcomes(passed=2, failed=2)
    assert verdicts()["test_m[backend:onnxruntime-b1]"] == ["ok", "ok", "ok"]


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_rtx") is None, reason="needs the package tensorrt_rtx")
def test_each_case_is_built_by_its_own_backend(project):
    project.makepyfile(
        test_m=ENGINE
        + """
@pytest.mark.trt_matrix(backend=["onnxruntime", "tensorrt_rtx"], precision=["fp32", "fp16"])
def test_m(trt_runner): trt_runner.measure()
"""
    )
    result = project.runpytest_inprocess("--trt-build-only", "--trt-compute-capability=89", "--trt-cache-dir=engines")
    result.assert_outcomes(passed=4)
    metas = [json.loads(path.read_text()) for path in (project.path / "engines").glob("*/meta.json")]
    assert sorted((m["environment"]["backend"], m["environment"]["device"][:10]) for m in metas)[2:] == [
        ("tensorrt_rtx", "compute ca"),
        ("tensorrt_rtx", "compute ca"),
    ]


def test_required_gpu_is_checked_although_some_cases_need_none(project):
    project.makepyfile(test_m=BOTH)
    result = project.runpytest_inprocess("--trt-require-device=H200")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --trt-require-device=H200: this device is *onnxruntime*"])
