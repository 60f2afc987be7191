"""Test that a run does not pass by mistake, in cases that no other file tests."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest
from samples.pytest_runs import ENGINE, MEASURES

SIZES = ENGINE + "@pytest.mark.trt_matrix(batch=[1, 2, 4])\n" + MEASURES


def stored(project):
    """Return the content of every baseline file by its name."""
    return {path.name: path.read_bytes() for path in (project.path / ".trt-baselines").rglob("test_m*.json")}


@pytest.mark.way_past("a file of tests cannot be imported", "the run fails; the baselines of other tests stay")
@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_collection_error_fails_the_run(project, xdist):
    """Without xdist, pytest then runs nothing. With xdist, it runs the other tests, and their baselines are saved."""
    project.makepyfile(test_m=ENGINE + MEASURES, test_broken="import nothing_of_this_name")
    result = project.runpytest_subprocess("--trt-baseline-save", *xdist)
    assert result.ret == (pytest.ExitCode.TESTS_FAILED if xdist else pytest.ExitCode.INTERRUPTED)
    result.stdout.fnmatch_lines(["*ERROR test_broken.py*"])
    assert len(stored(project)) == len(xdist) / 2
    result = project.runpytest_subprocess("--continue-on-collection-errors", *xdist)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, errors=1)


@pytest.mark.way_past("save the baselines of some tests only", "the baselines of the others stay and are judged")
def test_saving_some_tests_keeps_the_baselines_of_others(project, save_baselines):
    project.makepyfile(test_m=SIZES)
    save_baselines()
    before = stored(project)
    for xdist in ((), ("-n", "2")):
        result = project.runpytest_subprocess("--trt-baseline-save", "--trt-baseline-force", "-k", "b1 or b2", *xdist)
        result.assert_outcomes(passed=2, deselected=0 if xdist else 1)
        after = stored(project)
        assert before.keys() == after.keys()
        (untouched,) = (name for name in before if "b4" in name)
        assert after[untouched] == before[untouched]
        assert all(after[name] != before[name] for name in before if name != untouched)


@pytest.mark.way_past("kill an xdist worker in the middle of a test", "the test fails, in JUnit too")
def test_killed_worker_is_a_failure_in_junit(project):
    project.makepyfile(
        test_m=ENGINE + MEASURES + "def test_killed(trt_runner):\n    import os\n    os.kill(os.getpid(), 9)\n"
    )
    project.runpytest_subprocess("-n", "1", "--junitxml=out.xml")
    (suite,) = ET.parse(project.path / "out.xml").getroot().iter("testsuite")
    assert int(suite.get("failures", 0)) + int(suite.get("errors", 0)) == 1
    assert [case.get("name") for case in suite if len(case.findall("failure")) + len(case.findall("error"))] == [
        "test_killed"
    ]


@pytest.mark.way_past(
    "a test without a baseline among tests with one", "`new`, counted; fails with `--trt-fail-on=new`"
)
def test_new_tests_are_counted_and_fail_on_request(project, save_baselines):
    project.makepyfile(test_m=ENGINE + MEASURES)
    save_baselines()
    project.makepyfile(test_m=ENGINE + MEASURES + MEASURES.replace("test_m", "test_n"))
    for xdist in ((), ("-n", "1")):
        result = project.runpytest_subprocess(*xdist)
        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines(["*1 ok, 1 new."])
        project.runpytest_subprocess("--trt-fail-on=new", *xdist).assert_outcomes(passed=1, failed=1)


@pytest.mark.way_past("cut the file of a baseline, or change its content", "`error`")
@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_unreadable_baseline_fails_only_its_own_test(project, save_baselines, verdicts, xdist):
    project.makepyfile(test_m=SIZES)
    save_baselines()
    (file,) = (project.path / ".trt-baselines").rglob("test_m-b2-*.json")
    whole = json.loads(file.read_text())
    file.write_text(json.dumps({**whole, "figures": {"ms": {"value": -1.0, "low": -1.0, "high": -1.0}}}))
    result = project.runpytest_subprocess(*xdist)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines([f"*{file.name}*figures.ms*"])
    assert verdicts() == {"test_m[b1]": ["ok"], "test_m[b2]": ["error"], "test_m[b4]": ["ok"]}


AFTERWARDS = {
    "skips": "pytest.skip('not today')",
    "skips for a missing module": "pytest.importorskip('nothing_of_this_name')",
    "is unittest's to skip": "raise __import__('unittest').SkipTest('not today')",
}


@pytest.mark.way_past("skip a test after it measured", "the verdict fails the test")
@pytest.mark.parametrize("name", AFTERWARDS)
def test_skip_after_a_measurement_does_not_hide_the_verdict(project, verdicts, name):
    body = MEASURES.replace(": ", ":\n    ") + f"    {AFTERWARDS[name]}\n"
    slow = "@pytest.mark.trt_budget('cpu', ms=1e-6)\n" + body.replace("test_m", "test_slow")
    project.makepyfile(test_m=ENGINE + body + slow)
    result = project.runpytest_subprocess("--trt-baseline-save", "--trt-baseline-force")
    result.assert_outcomes(skipped=1, failed=1)
    assert verdicts() == {"test_m": ["missing"], "test_slow": ["over_budget", "missing"]}
    assert not stored(project)


CAUGHT = """
import contextlib
@pytest.fixture
def late(trt_runner):
    yield
    trt_runner.measure()
def test_caught(trt_runner):
    with contextlib.suppress(Exception):
        trt_runner.measure({"z": None})
def test_tried_again(trt_runner):
    with contextlib.suppress(Exception):
        trt_runner.measure({"z": None})
    trt_runner.measure()
def test_late(late): pass
def test_infers(trt_runner): assert trt_runner.generated_inputs()
"""


@pytest.mark.way_past("catch the error of `measure()`, or measure too late", "`error`")
def test_failed_or_late_measurement_does_not_pass(project, verdicts):
    project.makepyfile(test_m=ENGINE + CAUGHT)
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=3, failed=1, errors=1)
    assert verdicts() == {"test_caught": ["error"], "test_tried_again": ["missing"]}
    result.stdout.fnmatch_lines([
        "*measure() was called after the test was judged: call it in its body, or before",
        "measure() failed, but the test continued: nothing was judged (*'z'*",
    ])  # fmt: skip


@pytest.mark.way_past("stop calling `measure()` in a test with a baseline", "`error`")
def test_test_with_a_baseline_must_measure(project, save_baselines, verdicts):
    project.makepyfile(test_m=ENGINE + MEASURES)
    save_baselines()
    project.makepyfile(test_m=ENGINE + "def test_m(trt_runner): assert trt_runner.generated_inputs()\n")
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["a baseline is stored, but the test measured nothing: call *measure() in it"])
    assert verdicts() == {"test_m": ["error"]}
    project.runpytest_subprocess("--trt-baseline=off").assert_outcomes(passed=1)
    project.runpytest_inprocess("--trt-disable").assert_outcomes(passed=1)


@pytest.mark.way_past("call `pytest.exit` in a test", "the run does not pass")
def test_pytest_exit_in_a_test_does_not_pass(project):
    leaves = MEASURES.replace(": ", ":\n    ") + "    pytest.exit('enough', returncode=0)\n"
    project.makepyfile(test_m=ENGINE + leaves)
    result = project.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["ERROR: test_m.py::test_m was started but did not end, as after pytest.exit()*"])


@pytest.mark.way_past("request `trt_runner` by `getfixturevalue`", "the test fails")
def test_runner_requested_by_getfixturevalue_is_an_error(project):
    project.makepyfile(test_m=ENGINE + "def test_m(request): request.getfixturevalue('trt_runner').measure()\n")
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*DeclarationError: the test does not request trt_runner itself*"])


RERUN_CONFTEST = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    for last in (False, True):
        for report in runtestprotocol(item, nextitem=nextitem, log=False):
            if not last and report.failed:
                report.outcome = "rerun"
            item.ihook.pytest_runtest_logreport(report=report)
    return True
"""
"""A conftest that runs each test twice, as pytest-rerunfailures does if the first run failed."""


@pytest.mark.way_past("run a failed test again", "the last try is judged")
def test_rerun_test_is_judged_again(project):
    project.makeconftest(RERUN_CONFTEST)
    project.makepyfile(test_m=ENGINE + "@pytest.mark.trt_budget('cpu', ms=1e-6)\n" + MEASURES)
    result = project.runpytest_subprocess("--trt-report=json:out.json", "--junitxml=out.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert len(json.loads((project.path / "out.json").read_text())["results"]) == 1
    result.stdout.fnmatch_lines(["1 engine*. 1 over budget."])
    properties = [p.get("name") for p in ET.parse(project.path / "out.xml").getroot().iter("property")]
    assert properties.count("trt_verdict") == properties.count("trt_ms") == 2  # one per run


def test_rerun_may_pass_after_a_failure(project):
    project.makeconftest(RERUN_CONFTEST)
    project.makepyfile(
        test_m=ENGINE
        + "calls = []\ndef test_m(trt_runner):\n    calls.append(1)\n    trt_runner.measure()\n"
        + "    if len(calls) == 1: trt_runner({'z': None})\n"
    )
    result = project.runpytest_subprocess("--trt-report=json:out.json")
    assert result.ret == pytest.ExitCode.OK
    (only,) = json.loads((project.path / "out.json").read_text())["results"]
    assert [verdict["status"] for verdict in only["verdicts"]] == ["missing"]


NO_RUNNER = """
@pytest.mark.trt_budget('cpu', ms=1e4)
@pytest.mark.trt_accuracy()
def test_spec_only(trt_spec): assert trt_spec.path
def test_spec_free(trt_spec): assert trt_spec.path
class TestReplaced:
    @pytest.fixture
    def trt_runner(self): return type("Fake", (), {"measure": lambda self: None})()
    @pytest.mark.trt_budget('cpu', ms=1e4)
    def test_m(self, trt_runner): trt_runner.measure()
@pytest.mark.trt_budget('cpu', ms=1e4)
@pytest.mark.trt_matrix(batch=[1, 2])
class TestBeside:
    def test_m(self, trt_runner): trt_runner.measure()
    def test_helper(self): pass
"""


@pytest.mark.way_past("declare a budget or an accuracy, and measure nothing", "`error`")
@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_declared_budget_or_accuracy_requires_a_measurement(project, verdicts, xdist):
    """A plain test that only inherits the markers of its class does not have to measure."""
    project.makepyfile(test_m=ENGINE + NO_RUNNER)
    result = project.runpytest_subprocess(*xdist)
    result.assert_outcomes(passed=4, failed=2)
    assert verdicts() == {
        "test_spec_only": ["error"],
        "TestReplaced::test_m": ["error"],
        "TestBeside::test_m[b1]": ["ok", "missing"],
        "TestBeside::test_m[b2]": ["ok", "missing"],
    }
    result.stdout.fnmatch_lines(["budgets are declared and trt_accuracy is declared, but the test measured nothing: *"])
    project.runpytest_inprocess("--trt-disable", *xdist).assert_outcomes(passed=6)


@pytest.mark.way_past("remove `trt_runner`, or the marker, from a test with a baseline", "the test fails")
@pytest.mark.parametrize(("marked", "xdist"), [(ENGINE, ()), ("import pytest\n", ("-n", "1"))], ids=["marked", "xdist"])
def test_test_with_a_baseline_but_without_a_runner_does_not_pass(project, save_baselines, verdicts, marked, xdist):
    other = MEASURES.replace("test_m", "test_other")
    project.makepyfile(test_a=ENGINE + other, test_b=ENGINE + MEASURES + "def test_helper(): pass\n")
    save_baselines()
    project.makepyfile(test_b=marked + "def test_m(): pass\ndef test_helper(): pass\n")
    result = project.runpytest_subprocess(*xdist)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["a baseline is stored, but the test does not request trt_runner, *"])
    assert verdicts() == {"test_other": ["ok"], "test_m": ["error"]}
    result = project.runpytest_subprocess("--trt-only", *xdist)
    assert result.parseoutcomes()["failed"] == 1
    for option in ("--trt-baseline=off", "--trt-disable", "--trt-skip"):
        assert "failed" not in project.runpytest_inprocess(option, *xdist).parseoutcomes()


@pytest.mark.parametrize("option", ["--trt-baseline-dir=nosuch://bucket/base", "--trt-baseline-ref=nosuch"])
def test_unreachable_baselines_do_not_stop_a_run_without_our_tests(project, option):
    project.makepyfile(test_a="def test_helper(): pass\n")
    project.runpytest_inprocess(option).assert_outcomes(passed=1)


CASE = """
import unittest
class TestM(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _runner(self, trt_runner): self.runner = trt_runner
    def test_skips(self):
        self.runner.measure()
        self.skipTest("later")
    def test_raises_a_skip(self):
        self.runner.measure()
        raise unittest.SkipTest("later")
    @unittest.expectedFailure
    def test_expected(self): self.runner.measure()
    def test_fails(self):
        self.runner.measure()
        self.assertEqual(1, 2)
    def test_wrong(self): self.runner.measure({"z": None})
    @unittest.expectedFailure
    def test_known(self):
        self.runner.measure()
        self.assertEqual(1, 2)
"""


@pytest.mark.way_past("measure in a `unittest.TestCase`, and skip or return afterwards", "the verdict fails the test")
@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_unittest_case_is_judged_however_it_ends(project, verdicts, xdist):
    slow = CASE.replace("class", "@pytest.mark.trt_budget('cpu', ms=1e-6)\nclass")
    project.makepyfile(test_m=ENGINE + slow)
    result = project.runpytest_subprocess("-rfx", *xdist)
    result.assert_outcomes(failed=4, xfailed=2)
    result.stdout.fnmatch_lines_random([
        "FAILED test_m.py::TestM::test_skips - Failed: latency over budget: *",
        "FAILED test_m.py::TestM::test_raises_a_skip - Failed: latency over budget: *",
        "FAILED test_m.py::TestM::test_fails - AssertionError: 1 != 2",
        "FAILED test_m.py::TestM::test_wrong - Failed: *'z'*",
        "XFAIL test_m.py::TestM::test_expected - latency over budget: *",
        "XFAIL test_m.py::TestM::test_known*",
    ])  # fmt: skip
    over = ["over_budget", "missing"]
    names = ("skips", "raises_a_skip", "expected", "fails", "known")
    assert verdicts() == {**{f"TestM::test_{name}": over for name in names}, "TestM::test_wrong": ["error"]}


@pytest.mark.way_past("save a TestCase that is skipped or fails", "nothing is saved")
def test_skipped_or_failed_unittest_case_is_not_saved(project):
    project.makepyfile(test_m=ENGINE + CASE)
    result = project.runpytest_subprocess("--trt-baseline-save")
    result.assert_outcomes(skipped=2, failed=3, xfailed=1)
    line = "5 of 6: not saved: the test was skipped, or failed by itself*"
    result.stdout.fnmatch_lines(["*Unexpected success*", line])
    assert not stored(project)


@pytest.mark.way_past(
    "an assertion fails after the measurement", "the test fails and its figures are shown; nothing is saved"
)
@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_measurement_before_a_failure_is_shown(project, verdicts, xdist):
    body = MEASURES.replace(": ", ":\n    ") + "    assert 1 == 2\n"
    slow = "@pytest.mark.trt_budget('cpu', ms=1e-6)\n" + body.replace("test_m", "test_slow")
    project.makepyfile(test_m=ENGINE + body + slow)
    result = project.runpytest_subprocess("--trt-baseline-save", "--junitxml=out.xml", *xdist)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines_random(["FAILED test_m.py::test_m - assert 1 == 2", "latency over budget: *"])
    result.stdout.fnmatch_lines_random(["test_m * missing", "test_slow * over budget"])
    assert verdicts() == {"test_m": ["missing"], "test_slow": ["over_budget", "missing"]}
    assert not stored(project)
    properties = [p.get("name") for p in ET.parse(project.path / "out.xml").getroot().iter("property")]
    assert properties.count("trt_ms") == 2


@pytest.mark.way_past("two tests whose baselines would be one file", "exit status 4")
@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_ambiguous_node_ids_are_usage_errors(project, xdist):
    inner = project.mkdir("inner")
    (inner / "tox.ini").write_text((project.path / "tox.ini").read_text())
    for folder in ("one", "two"):
        project.mkdir(folder)
        (project.path / folder / "test_m.py").write_text(ENGINE.replace("m.onnx", "../m.onnx") + MEASURES)
    options = ("-c", "inner/tox.ini", "--import-mode=importlib", *xdist)
    for arguments, name in ((("one/test_m.py",), "'::test_m'"), (("one", "two"), "'test_m.py::test_m'")):
        result = project.runpytest_inprocess(*options, *arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        output = result.stdout.str() + result.stderr.str()
        assert f"pytest gives a test there the node id {name}, which tests of other files may have too" in output
        assert f"--rootdir={project.path}" in output
    project.runpytest_subprocess(*options, "--rootdir=.", "one", "two").assert_outcomes(passed=2)
