"""Test --trt-only, --trt-skip, --trt-disable, --collect-only, -q, -v and -p no:trt."""

from __future__ import annotations

import json

import pytest
from samples.pytest_runs import ENGINE, MEASURES

FILE = (
    ENGINE
    + "@pytest.mark.trt_budget('cpu', ms=1e-6)\n"
    + MEASURES
    + """
def test_code(trt_device): assert trt_device.kind == "cpu"
def test_other(): pass
"""
)


def test_only_skip_and_disable(project):
    project.makepyfile(test_m=FILE)
    project.runpytest_subprocess("--trt-only").assert_outcomes(failed=1, passed=1, deselected=1)
    (project.path / "out.json").unlink()
    project.runpytest_inprocess("--trt-skip").assert_outcomes(skipped=2, passed=1)
    for xdist in ((), ("-n", "1")):
        result = project.runpytest_inprocess("--trt-disable", *xdist)
        result.assert_outcomes(passed=3)
        result.stdout.fnmatch_lines(["trt: 1 test ran unmeasured (--trt-disable): nothing was judged"])
        assert "over budget" not in result.stdout.str()
        assert json.loads((project.path / "out.json").read_text())["results"] == []
    assert project.runpytest_inprocess("--trt-only", "--trt-skip").ret == pytest.ExitCode.USAGE_ERROR


def test_collecting_uses_no_device_and_writes_nothing(project):
    project.makepyfile(test_m=FILE)
    result = project.runpytest_inprocess("--collect-only", "-q", "--trt-backend=tensorrt", "--trt-cache-dir=own")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*::test_m", "*::test_code", "*::test_other"])
    assert not any((project.path / name).exists() for name in ("out.json", "own", ".trt-baselines"))


def test_quiet_and_verbose_output_without_colour(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    plain, quiet, verbose = (project.runpytest_subprocess(*v).stdout.str() for v in ((), ("-q",), ("-v",)))
    assert "test_m " in plain
    assert "verdict" not in quiet
    assert "1 engine" in quiet
    assert "CPUExecutionProvider" in verbose
    assert "CPUExecutionProvider" not in plain
    assert "\x1b[" not in plain + quiet + verbose
    assert "\x1b[" in project.runpytest_subprocess("--color=yes").stdout.str()


def test_disabled_plugin_leaves_no_trace(pytester):
    pytester.makepyfile("def test_other(): pass")
    result = pytester.runpytest_inprocess("-p", "no:trt")
    result.assert_outcomes(passed=1)
    assert "trt" not in pytester.runpytest_inprocess("-p", "no:trt", "--markers", "--fixtures").stdout.str()


def test_pytest_lists_our_markers_and_options(pytester):
    listed = pytester.runpytest_inprocess("--markers", "--help", "--fixtures").stdout.str()
    assert all(
        f"@pytest.mark.trt_{name}" in pytester.runpytest_inprocess("--markers").stdout.str()
        for name in ("engine", "matrix", "budget", "pipeline", "accuracy", "regression")
    )
    assert "--trt-baseline-save" in pytester.runpytest_inprocess("--help").stdout.str()
    assert listed
