"""Test --trt-resolution, --trt-min-time, --trt-max-time and --trt-wait."""

from __future__ import annotations

import json

import pytest
from samples.pytest_runs import ENGINE, MEASURES


def sampled_s(project):
    (result,) = json.loads((project.path / "out.json").read_text())["results"]
    return result["measurement"]["measured_s"]


def test_sampling_time_is_between_min_and_max(project, save_model, verdicts):
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.runpytest_subprocess("--trt-min-time=0.5", "--trt-resolution=50%").assert_outcomes(passed=1)
    assert sampled_s(project) >= 0.5
    save_model(folder=project.path, layers=8, width=1024)  # too slow for a 99th percentile in so short a time
    project.makepyfile(test_m=ENGINE + "@pytest.mark.trt_budget('cpu', p99_ms=1e6)\n" + MEASURES)
    project.runpytest_subprocess("--trt-baseline=off", "--trt-max-time=0.5").assert_outcomes(passed=1)
    assert 0.5 <= sampled_s(project) < 5
    assert verdicts() == {"test_m": ["inconclusive"]}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--trt-min-time=3", "--trt-min-time is 3 s, more than --trt-max-time*"),
        ("--trt-max-time=ten", "--trt-max-time is 'ten': give a number of seconds, such as 10 or 0.5"),
        ("--trt-wait=-1", "--trt-wait is '-1': give a number of seconds*"),
        ("--trt-resolution=2", "--trt-resolution is '2': did you mean '2%'?"),
        ("--trt-builds=0", "--trt-builds is '0': give a whole number from 1 to 100"),
    ],
)
def test_invalid_options_are_usage_errors(project, option, message):
    result = project.runpytest_inprocess(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
