"""Test runs under xdist: results of workers are merged, and a lost worker fails the run."""

from __future__ import annotations

import pytest
from samples.pytest_runs import ENGINE, MEASURES


@pytest.mark.way_past("kill a worker that measures", "the test and the run fail")
def test_killed_worker_fails_the_run_and_its_test(project, verdicts):
    project.makepyfile(
        test_m=ENGINE
        + MEASURES
        + """
def test_killed(trt_runner):
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    result = project.runpytest_subprocess("-n", "2", "--junitxml=out.xml")
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "test_killed *error",
            "*1 missing, 1 error.",
            "ERROR: worker gw? was lost: *",
        ]
    )
    assert verdicts() == {"test_m": ["missing"], "test_killed": ["error"]}


@pytest.mark.way_past("kill a worker after its last test", "the run fails")
def test_worker_lost_after_its_last_test_fails_the_run(project):
    project.makepyfile(test_m=ENGINE + MEASURES)
    project.makeconftest(
        """
        import os, pytest
        @pytest.hookimpl(trylast=True)
        def pytest_sessionfinish(session):
            if hasattr(session.config, "workerinput"):
                os._exit(3)
        """
    )
    result = project.runpytest_subprocess("-n", "1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["ERROR: worker gw0 was lost*"])


def test_verdicts_are_the_same_with_and_without_xdist(project, verdicts):
    project.makepyfile(
        test_m=ENGINE
        + """
@pytest.mark.trt_matrix(batch=[1, 2, 4])
@pytest.mark.trt_budget("cpu", ms=1e-6, where={"batch": 2})
@pytest.mark.trt_budget("cpu", ms=1e4)
def test_m(trt_runner): trt_runner.measure()

@pytest.mark.xfail(strict=True)
@pytest.mark.trt_budget("cpu", ms=1e-6)
def test_known(trt_runner): trt_runner.measure()
"""
    )
    seen = []
    for xdist in ((), ("-n", "2")):
        project.runpytest_subprocess("--trt-baseline=off", *xdist).assert_outcomes(passed=2, failed=1, xfailed=1)
        seen.append(verdicts())
    assert seen[0] == seen[1]
    assert seen[0]["test_known"] == ["over_budget"]
