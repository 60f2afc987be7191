"""Test builds for a GPU that is absent: TensorRT-RTX builds the example project without a driver."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from samples.pytest_runs import error_of_each_test

EXAMPLE = Path(__file__).parents[2] / "example_project"
AHEAD = ("--trt-backend=tensorrt_rtx", "--trt-build-only", "--trt-cache-dir=engines")


@pytest.fixture
def example(pytester, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:rerunfailures -p no:pytest-retry")  # They do not work side by side.
    shutil.copytree(EXAMPLE, pytester.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("models", "__pycache__"))
    return pytester


def test_example_project_builds_one_engine_per_precision(example):
    result = example.runpytest_inprocess(*AHEAD, "--trt-compute-capability=89")
    result.assert_outcomes(passed=7)
    metas = [json.loads(path.read_text()) for path in (example.path / "engines").glob("*/meta.json")]
    assert sorted(meta["spec"]["precision"] for meta in metas) == ["fp16", "fp32", "fp32"]
    assert {meta["proved_by"] for meta in metas} == {"model"}
    (half,) = (meta for meta in metas if meta["spec"]["precision"] == "fp16")
    assert half["precisions"]["fp16"] > 0.9
    again = example.runpytest_inprocess(*AHEAD, "--trt-compute-capability=89")
    again.assert_outcomes(passed=7)
    again.stdout.fnmatch_lines(["test_encoder?S32?*in the cache:*", "0 engines built in *, 7 from the cache."])


def test_without_a_compute_capability_a_driver_is_required(example):
    result = example.runpytest_inprocess(*AHEAD)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*driver* (or name the devices to build for*: --trt-compute-capability=89)"])


def test_prebuilt_plan_needs_no_driver(example):
    """In an earlier version, one such test ended the whole run."""
    (example.path / "tests" / "test_prebuilt.py").write_text(
        "import pytest\n\n\n@pytest.mark.trt_engine('prebuilt.plan')\ndef test_prebuilt(trt_runner):\n"
        "    trt_runner.measure()\n"
    )
    result = example.runpytest_inprocess(*AHEAD, "--trt-compute-capability=89")
    result.assert_outcomes(passed=7, failed=1)
    shutil.copy(next((example.path / "engines").glob("*/plan")), example.path / "prebuilt.plan")
    result = example.runpytest_inprocess(*AHEAD, "--trt-compute-capability=89")
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["test_prebuilt *engine is prebuilt: *"])


def test_prebuilt_plan_for_another_runtime_or_device_fails(project):
    """The header of a plan shows this; nothing runs the plan."""
    project.makepyfile(
        test_m="""
import pytest

prebuilt = lambda name: pytest.mark.trt_engine(f"{name}.plan")

@pytest.mark.trt_engine("m.onnx", dims={"N": (1, 4, 8)})
def test_net(trt_runner): pass
@prebuilt("whole")
def test_whole(trt_runner): pass
@prebuilt("random")
def test_random(trt_runner): pass
@prebuilt("model")
def test_model(trt_runner): pass
@prebuilt("half")
def test_half(trt_runner): pass
@prebuilt("old")
def test_old(trt_runner): pass
@prebuilt("other")
def test_other(trt_runner): pass
"""
    )
    project.runpytest_inprocess(*AHEAD, "--trt-compute-capability=89", "-k", "test_net").assert_outcomes(passed=1)
    (plan,) = (project.path / "engines").glob("*/plan")
    whole = plan.read_bytes()
    for name, data in {
        "whole": whole,
        "random": random.Random(0).randbytes(1000),
        "model": (project.path / "m.onnx").read_bytes(),
        "half": whole[: len(whole) // 2],
        "old": whole[:24] + bytes([1, 0, 0, 1]) + whole[28:],
        "other": b"ftrt" + whole[4:],
    }.items():
        (project.path / f"{name}.plan").write_bytes(data)
    result = project.runpytest_inprocess(*AHEAD, "--trt-compute-capability=89")
    result.assert_outcomes(passed=2, failed=5)
    errors = error_of_each_test(result)
    for name, message in {
        "test_random": "random.plan is not a TensorRT plan",
        "test_model": "model.plan is not a TensorRT plan",
        "test_half": "half.plan was cut short: it has",
        "test_old": "was built by TensorRT-RTX 1.0.0.1, but this is tensorrt_rtx",
        "test_other": "tensorrt_rtx cannot run it",
    }.items():
        assert message in errors[name], errors[name]
    result = project.runpytest_inprocess(*AHEAD, "--trt-compute-capability=120", "-k", "test_whole")
    result.assert_outcomes(failed=1)
    error = error_of_each_test(result)["test_whole"]
    assert "for compute capability 8.9, but --trt-compute-capability requests 12.0" in error
