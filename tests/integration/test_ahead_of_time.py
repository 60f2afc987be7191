"""Engines for a GPU that is not here: TensorRT-RTX builds the example project, with no driver asked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

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
    (example.path / "given.plan").write_bytes(b"a plan")
    result = example.runpytest_subprocess(*AHEAD, "--trt-compute-capability=89")
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["test_given *engine given: *"])
