"""Test --trt-fail-on and --trt-strict."""

from __future__ import annotations

import pytest
from samples.pytest_runs import ENGINE, MEASURES


def test_fail_on_makes_named_verdicts_fail(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.runpytest_subprocess("--trt-fail-on=inconclusive,unenforced").assert_outcomes(passed=1)
    result = project.runpytest_subprocess("--trt-fail-on=missing, new")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["FAILED *there is no baseline main for *--trt-baseline-save*"])
    project.runpytest_subprocess("--trt-strict").assert_outcomes(failed=1)
    project.runpytest_subprocess("-o", "trt_strict=true", "-n", "1").assert_outcomes(failed=1)


@pytest.mark.way_past("misspell a verdict in `--trt-fail-on`", "exit status 4")
@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("mising", "names 'mising', which is not a verdict: did you mean 'missing'?"),
        ("ok", "names 'ok', which never fails*"),
    ],
)
def test_unknown_verdict_is_a_usage_error(project, names, message):
    result = project.runpytest_inprocess(f"--trt-fail-on={names}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: --trt-fail-on {message}"])
