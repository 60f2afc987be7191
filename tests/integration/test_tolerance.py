"""Test the tolerances: `trt_regression` overrides the command line, which overrides the ini file, then 5 %."""

from __future__ import annotations

import json

import pytest
from samples.pytest_runs import ENGINE, MEASURES

FILE = (
    ENGINE
    + """
def test_plain(trt_runner): trt_runner.measure()
@pytest.mark.trt_regression(max_slowdown="25%")
def test_own(trt_runner): trt_runner.measure()
@pytest.mark.trt_regression(enforce=False, until="2999-01-01", reason="the new kernel is on its way")
def test_quarantined(trt_runner): trt_runner.measure()
@pytest.mark.trt_regression(enforce=False, until="2020-01-01", reason="long ago")
def test_past(trt_runner): trt_runner.measure()
"""
)


def tolerances(project):
    results = json.loads((project.path / "out.json").read_text())["results"]
    return {r["node_id"].partition("::")[2]: v["tolerance"] for r in results for v in r["verdicts"]}


@pytest.mark.way_past("a quarantine whose date has passed", "`regressed`")
def test_tolerances_and_quarantines(project, save_model, verdicts):
    project.makepyfile(test_m=FILE)
    project.runpytest_subprocess("--trt-baseline-save").assert_outcomes(passed=4)
    project.runpytest_subprocess("-k", "plain or own").assert_outcomes(passed=2)
    assert tolerances(project) == {"test_plain": 0.05, "test_own": 0.25}
    project.runpytest_subprocess("-k", "plain or own", "-o", "trt_max_slowdown=7%").assert_outcomes(passed=2)
    assert tolerances(project) == {"test_plain": 0.07, "test_own": 0.25}
    options = ("-o", "trt_max_slowdown=7%", "--trt-max-slowdown=0.1")
    project.runpytest_subprocess("-k", "plain or own", *options).assert_outcomes(passed=2)
    assert tolerances(project) == {"test_plain": 0.1, "test_own": 0.25}

    save_model(folder=project.path, layers=16)
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=3, passed=1)
    assert verdicts() == {
        "test_plain": ["regressed", "ok", "regressed"],  # latency, host memory and engine size
        "test_own": ["regressed", "ok", "regressed"],
        "test_quarantined": ["unenforced", "ok", "unenforced"],
        "test_past": ["regressed", "ok", "regressed"],
    }
    result.stdout.fnmatch_lines(["*quarantined until 2999-01-01: the new kernel is on its way*"])
    assert "its quarantine ended on 2020-01-01" in result.stdout.str()


@pytest.mark.way_past("a tolerance or a quarantine that cannot be meant", "exit status 4")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("enforce=False", "enforce=False needs until='YYYY-MM-DD' and a reason='...'"),
        ("max_slowdown=3", "max_slowdown is 3: did you mean '3%'?"),
        ("until='soon', enforce=False, reason='r'", "until is 'soon': write a date such as*"),
    ],
)
def test_invalid_marker_is_a_usage_error(project, arguments, message):
    project.makepyfile(test_m=ENGINE + f"@pytest.mark.trt_regression({arguments})\n" + MEASURES)
    result = project.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: test_m.py::test_m: trt_regression: {message}"])


def test_memory_growth_is_a_share(project):
    result = project.runpytest_inprocess("--trt-max-memory-growth=5")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --trt-max-memory-growth is '5': did you mean '5%'?"])
