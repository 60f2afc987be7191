"""Test --trt-budgets: a file of budgets, besides the markers."""

from __future__ import annotations

import pytest
from samples.pytest_runs import ENGINE, MEASURES

FILE = (
    ENGINE
    + """
@pytest.mark.trt_matrix(batch=[1, 8])
def test_m(trt_runner): trt_runner.measure()

@pytest.mark.trt_budget("cpu", ms=1e4)
def test_own(trt_runner): trt_runner.measure()

def test_other(): pass
"""
)
RULE = '[[budget]]\ntest = "test_m.py::*"\ndevice = "cpu"\nms = 1e4\n'
EXCEPTION = '[[budget]]\ntest = "test_m.py::test_*"\ndevice = "cpu"\nms = 1e-6\nwhere = { batch = 8 }\n'
TIGHT = '[[budget]]\ntest = "*"\ndevice = "cpu"\nms = 1e-6\n'


@pytest.fixture
def budgets(project):
    """Return a function that writes the file of budgets that the ini file names."""
    ini = project.path / "tox.ini"
    ini.write_text(ini.read_text() + "\ntrt_budgets = limits/trt-budgets.toml\ntrt_baseline = off\n")
    project.makepyfile(test_m=FILE)
    (project.path / "limits").mkdir()
    return lambda text: (project.path / "limits" / "trt-budgets.toml").write_text(text)


@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_most_specific_budget_counts_and_markers_override_the_file(project, verdicts, budgets, xdist):
    budgets(RULE + EXCEPTION)
    project.runpytest_subprocess(*xdist).assert_outcomes(passed=3, failed=1)
    assert verdicts() == {"test_m[b1]": ["ok"], "test_m[b8]": ["over_budget"], "test_own": ["ok"]}
    budgets(RULE + TIGHT)
    project.runpytest_subprocess(*xdist).assert_outcomes(passed=2, failed=2)
    assert verdicts()["test_own"] == ["ok"]


@pytest.mark.way_past("a pattern in the budgets file matches no test", "a warning; exit status 4 with `--trt-strict`")
@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_unmatched_pattern_is_a_warning_or_an_error_if_strict(project, budgets, xdist):
    budgets(RULE + RULE.replace("::*", "::test_gone*"))
    result = project.runpytest_subprocess("-k", "own", *xdist)
    assert result.parseoutcomes()["passed"] == 1
    message = "warning: */trt-budgets.toml: no test is 'test_m.py::test_gone[*]': this budget has no effect"
    result.stdout.fnmatch_lines([message])
    result = project.runpytest_inprocess("--trt-strict", *xdist)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "no test is 'test_m.py::test_gone*'" in result.stdout.str() + result.stderr.str()


@pytest.mark.way_past("`where` names a parameter that no test has", "a warning; exit status 4 with `--trt-strict`")
def test_unknown_parameter_is_a_warning_or_an_error_if_strict(project, budgets):
    budgets(RULE + EXCEPTION.replace("batch =", "bach ="))
    message = (
        "*trt-budgets.toml: no test that matches 'test_m.py::test_[*]' has the parameter 'bach': "
        "this budget has no effect"
    )
    for arguments in ((), ("-k", "own"), ("test_m.py",)):
        project.runpytest_inprocess("--collect-only", "-q", *arguments).stdout.fnmatch_lines([message])
    assert project.runpytest_inprocess("--trt-strict").ret == pytest.ExitCode.USAGE_ERROR
    budgets(RULE + EXCEPTION)
    project.runpytest_inprocess("--collect-only", "-q", "-k", "own").stdout.no_fnmatch_line(
        "*this budget has no effect*"
    )


@pytest.mark.way_past("`where` names a value that no test has", "a warning; exit status 4 with `--trt-strict`")
def test_unknown_value_is_a_warning_or_an_error_if_strict(project, budgets):
    budgets(RULE + EXCEPTION.replace("batch = 8", "batch = '8'"))
    message = (
        "*trt-budgets.toml: for the tests that match 'test_m.py::test_[*]', "
        "where requires batch='8', but batch is 1 or 8*"
    )
    for arguments in ((), ("-k", "own"), ("test_m.py",)):
        project.runpytest_inprocess("--collect-only", "-q", *arguments).stdout.fnmatch_lines([message])
    assert project.runpytest_inprocess("--trt-strict").ret == pytest.ExitCode.USAGE_ERROR


def test_budgets_for_tests_that_are_not_collected_are_accepted(project, budgets):
    project.makepyfile(test_n=ENGINE + MEASURES)
    wide, own = RULE.replace("test_m.py", "*"), RULE.replace("::*", "::test_own")
    budgets(RULE + RULE.replace("test_m", "test_n") + wide + own)
    for arguments in (("test_m.py",), ("test_m.py::test_m",), ()):
        result = project.runpytest_inprocess("--collect-only", "-q", "--trt-strict", *arguments)
        assert result.ret == pytest.ExitCode.OK, arguments
    budgets(RULE.replace("test_m", "test_gone"))
    result = project.runpytest_inprocess("--collect-only", "-q", "test_m.py")
    result.stdout.fnmatch_lines(["warning: *no test is 'test_gone.py::[*]'*"])


@pytest.mark.way_past("an invalid entry in the budgets file", "exit status 4")
@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_invalid_budgets_file_names_the_entry(project, budgets, xdist):
    budgets(RULE + "p98_ms = 3\n" + RULE + "memory_mb = 'much'\n")
    result = project.runpytest_inprocess(*xdist)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    output = result.stdout.str() + result.stderr.str()
    assert "trt-budgets.toml: budget 1: unknown key 'p98_ms': did you mean 'p99_ms'?" in output
    assert "trt-budgets.toml: budget 2: trt_budget: limits" in output
    assert "Traceback" not in output


@pytest.mark.way_past("name a budgets file that does not exist", "exit status 4")
def test_missing_budgets_file_is_a_usage_error(project, budgets):
    result = project.runpytest_inprocess("--trt-budgets=none.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: */none.toml cannot be read*"])
