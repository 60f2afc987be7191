"""Test that the last report of a test decides whether it failed: a failed test is not saved, and fails the run."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest
from samples.pytest_runs import ENGINE, MEASURES

FAILS_AFTER_MEASURING = {
    "subtest": ENGINE
    + """
def test_m(trt_runner, subtests):
    trt_runner.measure()
    with subtests.test("outputs"):
        assert False
""",
    "unittest_subtest": """
import unittest
@pytest.mark.trt_engine("m.onnx", dims={"N": 1})
class TestM(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _runner(self, trt_runner):
        self.runner = trt_runner
    def test_m(self):
        self.runner.measure()
        with self.subTest("outputs"):
            self.fail("wrong")
""",
    "strict_xpass": ENGINE + "@pytest.mark.xfail(strict=True)\n" + MEASURES,
    "teardown": ENGINE
    + """
@pytest.fixture
def device():
    yield
    raise RuntimeError("lost")
def test_m(device, trt_runner):
    trt_runner.measure()
""",
    "class_teardown": ENGINE
    + """
class TestM:
    def teardown_method(self):
        assert False
    def test_m(self, trt_runner):
        trt_runner.measure()
""",
}


def stored(project):
    """Return the files of stored baselines."""
    return list((project.path / ".trt-baselines").rglob("test_m*.json"))


CASES = [*((name, ()) for name in FAILS_AFTER_MEASURING), ("subtest", ("-n", "1"))]


@pytest.mark.way_past(
    "a subtest, a strict xpass or a teardown fails after the measurement", "the test fails; nothing is saved"
)
@pytest.mark.parametrize(("name", "xdist"), CASES, ids=lambda value: str(value) if value else "alone")
def test_failure_after_the_measurement_is_not_saved(project, name, xdist):
    project.makepyfile(test_m="import pytest\n" + FAILS_AFTER_MEASURING[name])
    result = project.runpytest_subprocess("--trt-baseline-save", "--trt-baseline-force", *xdist)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert stored(project) == []
    result.stdout.fnmatch_lines(["1 of 1: not saved: the test was skipped, or failed by itself*"])


@pytest.mark.way_past(
    "a hook of another plugin fails the test after the measurement", "the test fails; nothing is saved"
)
def test_failure_by_a_later_hook_is_not_saved(project):
    project.makeconftest("""
        import pytest
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            if call.when == "call":
                report.outcome, report.longrepr = "failed", "forbidden here"
            return report
    """)
    project.makepyfile(test_m=ENGINE + MEASURES)
    assert project.runpytest_subprocess("--trt-baseline-save").ret == pytest.ExitCode.TESTS_FAILED
    assert stored(project) == []


def test_passing_test_of_a_worker_is_saved_and_counted(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_subprocess("--trt-baseline-save", "-n", "1")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["1 of 1: baseline created*"])
    assert len(stored(project)) == 1


@pytest.mark.way_past(
    "pytest-retry or pytest-rerunfailures tries a test again", "table, JSON, JUnit and baseline show the last try"
)
@pytest.mark.parametrize("plugin", ["rerunfailures", "pytest-retry"])
def test_every_report_shows_the_last_try(project, plugin):
    """The first try is inaccurate, the second one is accurate."""
    project.makepyfile(
        test_m="""
import numpy, pytest
TRIES = []
def expected(inputs):
    import onnxruntime
    exact = onnxruntime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"]).run(None, inputs)[0]
    TRIES.append(1)
    return {"y": exact + (len(TRIES) == 1)}
@pytest.mark.flaky(reruns=2, retries=2)
@pytest.mark.trt_engine("m.onnx", dims={"N": 1})
@pytest.mark.trt_accuracy(reference=expected)
def test_m(trt_runner):
    trt_runner.measure()
"""
    )
    ini = (project.path / "tox.ini").read_text()
    (project.path / "tox.ini").write_text(ini.replace(f"-p no:{plugin}", ""))
    result = project.runpytest_subprocess("--junitxml=out.xml", "--trt-baseline-save")
    assert result.ret == 0
    (saved,) = json.loads((project.path / "out.json").read_text())["results"]
    assert "inaccurate" not in [verdict["status"] for verdict in saved["verdicts"]]
    (suite,) = ET.parse(project.path / "out.xml").getroot().iter("testsuite")
    properties = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert properties["trt_verdict"] == "new" or properties["trt_verdict"] == "missing"
    assert not list(suite.iter("failure"))
    result.stdout.no_fnmatch_line("*inaccurate*")
    assert len(stored(project)) == 1


HIDING_HOOKS = {
    "a changed report": """
        import pytest
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            report.outcome = "passed"
            return report
    """,
    "an exception that is caught": """
        import pytest
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_call(item):
            try:
                return (yield)
            except BaseException:
                return None
    """,
}


@pytest.mark.way_past(
    "a hook turns a failed report into a passed one, or swallows the exception",
    "exit status 1, with a line that names the test",
)
@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
@pytest.mark.parametrize("hook", HIDING_HOOKS)
def test_hook_that_hides_a_failing_verdict_fails_the_run(project, hook, xdist):
    project.makeconftest(HIDING_HOOKS[hook])
    project.makepyfile(test_m=ENGINE + "@pytest.mark.trt_budget('cpu', ms=1e-6)\n" + MEASURES)
    result = project.runpytest_subprocess(*xdist)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["ERROR: test_m.py::test_m is over budget, but pytest counted no failure: *"])


@pytest.mark.way_past("a hook runs no test", "exit status 1, with a line that names the test")
@pytest.mark.parametrize(
    "hook", ["pytest_runtest_protocol(item)", "pytest_runtestloop(session)"], ids=["protocol", "loop"]
)
def test_hook_that_runs_no_test_fails_the_run(project, hook):
    project.makeconftest(f"def {hook}:\n    return True\n")
    project.makepyfile(test_m=ENGINE + MEASURES)
    result = project.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["ERROR: test_m.py::test_m was collected but never run: *"])


def test_expected_failure_is_not_a_hidden_one(project):
    budget = "@pytest.mark.trt_budget('cpu', ms=1e-6)\n"
    project.makepyfile(test_m=ENGINE + "@pytest.mark.xfail(strict=True)\n" + budget + MEASURES)
    result = project.runpytest_subprocess()
    result.assert_outcomes(xfailed=1)
    assert result.ret == 0
