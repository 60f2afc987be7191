"""--trt-resolution, --trt-min-time, --trt-max-time and --trt-wait."""

from __future__ import annotations

import json

import pytest
from declared import ENGINE, MEASURES


def blocks_s(project):
    (result,) = json.loads((project.path / "out.json").read_text())["results"]
    return result["parts_s"]["blocks"]


def test_sampling_lasts_at_least_and_stops_at_the_resolution_or_the_longest_time(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.runpytest_subprocess("--trt-min-time=1.5", "--trt-resolution=50%").assert_outcomes(passed=1)
    assert blocks_s(project) >= 1.5
    # no interval is 0 wide
    project.runpytest_subprocess("--trt-resolution=0", "--trt-max-time=0.7").assert_outcomes(passed=1)
    assert blocks_s(project) >= 0.7


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--trt-min-time=3", "--trt-min-time above --trt-max-time contradict each other*"),
        ("--trt-max-time=ten", "--trt-max-time is 'ten': give seconds, such as 10 or 0.5"),
        ("--trt-wait=-1", "--trt-wait is '-1': give seconds*"),
        ("--trt-resolution=2", "--trt-resolution is '2': did you mean '2%'?"),
        ("--trt-builds=0", "--trt-builds is '0': give a whole number from 1 to 100"),
    ],
)
def test_what_cannot_be_meant_is_refused(project, option, said):
    result = project.runpytest_subprocess(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {said}"])
