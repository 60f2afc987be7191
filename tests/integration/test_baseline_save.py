"""Test --trt-baseline-save, --trt-baseline-force and --trt-baseline-new-only."""

from __future__ import annotations

import json

import pytest
from samples.pytest_runs import ENGINE, MEASURES

TWO = ENGINE + "@pytest.mark.trt_matrix(batch=[1, 8])\n" + MEASURES


def stored(project, name="main"):
    """Return the stored baselines by node id."""
    found = [json.loads(f.read_text()) for f in (project.path / ".trt-baselines" / name).rglob("*.json")]
    return {baseline["node_id"]: baseline for baseline in found}


def test_save_flag_takes_no_value_and_works_under_xdist(project, verdicts):
    tests = project.mkpydir("tests")
    (tests / "test_a.py").write_text(TWO.replace("'m.onnx'", "'../m.onnx'"))
    project.makepyfile(test_elsewhere=ENGINE + MEASURES)
    result = project.runpytest_subprocess("--trt-baseline-save", "tests/")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["2 of 2: *(.trt-baselines/main)"])
    assert set(stored(project)) == {"tests/test_a.py::test_m[b1]", "tests/test_a.py::test_m[b8]"}
    project.runpytest_subprocess("--trt-baseline-save", "--trt-baseline=other", "-n", "2").assert_outcomes(passed=3)
    assert len(stored(project, "other")) == 3
    project.runpytest_subprocess("-n", "2").assert_outcomes(passed=3)
    assert verdicts() == {"test_m[b1]": ["ok"], "test_m[b8]": ["ok"], "test_m": ["new"]}


@pytest.mark.way_past("save the baseline of a failing test", "only with `--trt-baseline-force`, and the test fails")
def test_failing_test_is_saved_only_with_force_and_still_fails(project):
    project.makepyfile(test_m=ENGINE + "@pytest.mark.trt_budget('cpu', ms=1e-6)\n" + MEASURES)
    project.runpytest_subprocess("--trt-baseline-save").assert_outcomes(failed=1)
    assert not stored(project)
    project.runpytest_subprocess("--trt-baseline-save", "--trt-baseline-force").assert_outcomes(failed=1)
    assert len(stored(project)) == 1


def test_new_only_keeps_existing_baselines(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.runpytest_subprocess("--trt-baseline-save").assert_outcomes(passed=1)
    before = stored(project)
    project.makepyfile(test_m=ENGINE + MEASURES + MEASURES.replace("test_m", "test_n"))
    project.runpytest_subprocess("--trt-baseline-save", "--trt-baseline-new-only").assert_outcomes(passed=2)
    after = stored(project)
    assert set(after) == {"test_m.py::test_m", "test_m.py::test_n"}
    assert after["test_m.py::test_m"] == before["test_m.py::test_m"]


@pytest.mark.way_past("combine options that contradict each other", "exit status 4")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trt-baseline-force"], "--trt-baseline-force has no effect without --trt-baseline-save: add it"),
        (["--trt-baseline-save", "--trt-baseline=off"], "--trt-baseline-save and --trt-baseline=off contradict"),
        (["--trt-baseline-save", "--trt-disable"], "--trt-baseline-save and --trt-disable (it measures nothing)"),
    ],
)
def test_contradicting_options_are_usage_errors(project, options, message):
    result = project.runpytest_inprocess(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}*"])
