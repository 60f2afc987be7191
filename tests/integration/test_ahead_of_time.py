"""Engines for a GPU that is not here: TensorRT-RTX builds the example project, with no driver asked."""

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
def example(pytester):
    shutil.copytree(EXAMPLE, pytester.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("models", "__pycache__"))
    return pytester


def test_the_example_project_is_built_once_a_precision_and_proved_by_its_model(example):
    result = example.runpytest_subprocess(*AHEAD, "--trt-compute-capability=89")
    result.assert_outcomes(passed=7)
    metas = [json.loads(path.read_text()) for path in (example.path / "engines").glob("*/meta.json")]
    assert sorted(meta["spec"]["precision"] for meta in metas) == ["fp16", "fp32", "fp32"]
    assert {meta["proved_by"] for meta in metas} == {"model"}
    (half,) = (meta for meta in metas if meta["spec"]["precision"] == "fp16")
    assert half["precisions"]["fp16"] > 0.9
    again = example.runpytest_subprocess(*AHEAD, "--trt-compute-capability=89")
    again.assert_outcomes(passed=7)
    again.stdout.fnmatch_lines(["test_encoder?S=32?*in the cache:*", "0 engines built in *, 7 from the cache."])


def test_without_a_capability_it_asks_the_driver_and_says_what_is_missing(example):
    result = example.runpytest_subprocess(*AHEAD)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*driver*"])


def test_a_plan_that_is_given_asks_no_driver(example):
    """One such test had ended the run of all others."""
    (example.path / "tests" / "test_given.py").write_text(
        "import pytest\n\n\n@pytest.mark.trt_engine('given.plan')\ndef test_given(trt_runner):\n"
        "    trt_runner.measure()\n"
    )
    result = example.runpytest_subprocess(*AHEAD, "--trt-compute-capability=89")
    result.assert_outcomes(passed=7, failed=1)
    shutil.copy(next((example.path / "engines").glob("*/plan")), example.path / "given.plan")
    result = example.runpytest_subprocess(*AHEAD, "--trt-compute-capability=89")
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["test_given *engine is prebuilt: *"])


def test_a_plan_that_is_given_and_cannot_run_there_fails(project):
    """Nothing runs it, but its header tells."""
    project.makepyfile(
        test_m="""
import pytest

given = lambda name: pytest.mark.trt_engine(f"{name}.plan")

@pytest.mark.trt_engine("m.onnx", dims={"N": (1, 4, 8)})
def test_net(trt_runner): pass
@given("whole")
def test_whole(trt_runner): pass
@given("random")
def test_random(trt_runner): pass
@given("model")
def test_model(trt_runner): pass
@given("half")
def test_half(trt_runner): pass
@given("old")
def test_old(trt_runner): pass
@given("other")
def test_other(trt_runner): pass
"""
    )
    project.runpytest_subprocess(*AHEAD, "--trt-compute-capability=89", "-k", "test_net").assert_outcomes(passed=1)
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
    result = project.runpytest_subprocess(*AHEAD, "--trt-compute-capability=89")
    result.assert_outcomes(passed=2, failed=5)
    said = error_of_each_test(result)
    for name, words in {
        "test_random": "random.plan is not a TensorRT plan",
        "test_model": "model.plan is not a TensorRT plan",
        "test_half": "half.plan was cut short: it has",
        "test_old": "was built by TensorRT-RTX 1.0.0.1, but this is tensorrt_rtx",
        "test_other": "tensorrt_rtx cannot run it",
    }.items():
        assert words in said[name], said[name]
    result = project.runpytest_subprocess(*AHEAD, "--trt-compute-capability=120", "-k", "test_whole")
    result.assert_outcomes(failed=1)
    error = error_of_each_test(result)["test_whole"]
    assert "for compute capability 8.9, but --trt-compute-capability requests 12.0" in error
