"""Test that markers without an effect are errors, and that a test without a measurement is a warning."""

from __future__ import annotations

import pytest
from samples.pytest_runs import ENGINE, MEASURES

MATRIX = {
    "parametrize": """
@pytest.mark.parametrize("k", [pytest.param(1, marks=pytest.mark.trt_matrix(precision=["fp16"]))])
@pytest.mark.trt_engine("m.onnx", dims={"N": 1})
def test_m(trt_runner, k):
    trt_runner.measure()
""",
    "a second axis in parametrize": """
@pytest.mark.trt_matrix(batch=[1])
@pytest.mark.parametrize("k", [pytest.param(1, marks=pytest.mark.trt_matrix(precision=["fp16"]))])
@pytest.mark.trt_engine("m.onnx")
def test_m(trt_runner, k):
    trt_runner.measure()
""",
    "a TestCase": """
import unittest
@pytest.mark.trt_engine("m.onnx", dims={"N": 1})
class TestM(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _runner(self, trt_runner):
        self.runner = trt_runner
    @pytest.mark.trt_matrix(precision=["fp16"])
    def test_m(self):
        self.runner.measure()
""",
}


@pytest.mark.way_past("put `trt_matrix` inside `pytest.param(marks=...)`, where it comes too late", "exit status 4")
@pytest.mark.parametrize("name", MATRIX)
def test_matrix_that_parametrizes_nothing_is_a_usage_error(project, name):
    project.makepyfile(test_m="import pytest\n" + MATRIX[name])
    result = project.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*trt_matrix: precision did not parametrize the test: *put it on a plain test function*"]
    )


@pytest.mark.way_past("add `trt_matrix` in a collection hook", "exit status 4")
def test_matrix_from_a_collection_hook_is_a_usage_error(project):
    project.makeconftest("""
        import pytest
        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(pytest.mark.trt_matrix(precision=["fp16"]))
    """)
    project.makepyfile(test_m=ENGINE + MEASURES)
    assert project.runpytest_inprocess().ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.way_past("add a budget in a collection hook", "the budget counts")
def test_budget_from_a_collection_hook_counts(project):
    project.makeconftest("""
        import pytest
        def pytest_collection_modifyitems(items):
            for item in items:
                item.add_marker(pytest.mark.trt_budget("cpu", ms=1e-9))
    """)
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.runpytest_subprocess().assert_outcomes(failed=1)


ADDED_LATE = {
    "a fixture": (
        "",
        "@pytest.fixture\ndef tight(request):\n    request.node.add_marker(pytest.mark.trt_budget('cpu', ms=1e-9))\n",
        "def test_m(tight, trt_runner):\n    trt_runner.measure()\n",
    ),
    "the body": (
        "",
        "",
        (
            "def test_m(request, trt_runner):\n    trt_runner.measure()\n"
            "    request.node.add_marker(pytest.mark.trt_budget('cpu', ms=1e-9))\n"
        ),
    ),
    "a last hook": (
        (
            "import pytest\n@pytest.hookimpl(trylast=True)\ndef pytest_collection_finish(session):\n"
            "    session.items[0].add_marker(pytest.mark.trt_budget('cpu', ms=1e-9))\n"
        ),
        "",
        "def test_m(trt_runner):\n    trt_runner.measure()\n",
    ),
}


@pytest.mark.way_past("add a budget in a fixture, in the test's body or in the last hook", "the test fails")
@pytest.mark.parametrize("source", ADDED_LATE)
def test_budget_that_is_added_too_late_fails_the_test(project, source):
    conftest, fixture, test = ADDED_LATE[source]
    project.makeconftest(conftest)
    project.makepyfile(test_m="import pytest\n" + fixture + "@pytest.mark.trt_engine('m.onnx', dims={'N': 1})\n" + test)
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*trt_budget was added after the collection, by a fixture or a hook, and had no effect*"]
    )


@pytest.mark.way_past("request `trt_runner` and never use it", "a warning; a failure with `--trt-strict`")
@pytest.mark.parametrize("strict", [False, True])
def test_runner_that_never_measures_is_a_warning(project, strict):
    project.makepyfile(test_m=ENGINE + "def test_m(trt_runner):\n    pass\n")
    result = project.runpytest_subprocess(*["--trt-strict"] * strict)
    result.assert_outcomes(passed=not strict, failed=strict)
    result.stdout.fnmatch_lines(["*the test requests trt_runner but never calls its measure(): nothing is judged*"])


def test_runner_that_infers_need_not_measure(project):
    project.makepyfile(
        test_m=ENGINE + "def test_m(trt_runner):\n    assert trt_runner(trt_runner.generated_inputs())['y'].size\n"
    )
    result = project.runpytest_inprocess("--trt-strict")
    result.assert_outcomes(passed=1)
    assert "never calls its measure()" not in result.stdout.str()
