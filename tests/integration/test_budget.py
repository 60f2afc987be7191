"""`trt_budget`, from the marker to the terminal, JUnit and xdist."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

ENGINE = "import pytest\npytestmark = pytest.mark.trt_engine('m.onnx', dims={'N': (1, 4, 8)})\n"
XDIST = pytest.mark.parametrize("xdist", [(), ("-n", "2")], ids=["alone", "xdist"])


@XDIST
def test_a_budget_that_is_met_passes_and_is_shown(project, xdist):
    project.makepyfile(ENGINE + "@pytest.mark.trt_budget('cpu', ms=10_000)\ndef test_m(trt_runner): trt_runner.measure()")
    result = project.runpytest_subprocess(*xdist)
    result.assert_outcomes(passed=1)
    result.stdout.re_match_lines([r"=+ trt: .*ONNX Runtime .*, baseline main =+", r"test +ms +p99 ms .*verdict", r"test_m .*"])


@XDIST
def test_a_budget_that_is_exceeded_is_a_failure_with_figure_limit_and_environment(project, xdist):
    project.makepyfile(ENGINE + "@pytest.mark.trt_budget('cpu', ms=1e-6)\ndef test_m(trt_runner): trt_runner.measure()")
    result = project.runpytest_subprocess(*xdist, "--junitxml=out.xml")
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [r".*latency over budget: .* ms.*1e-06.*", r".*measured on .*ONNX Runtime.*", r"test_m .*over budget", r"FAILED .*latency.*"]
    )
    suite = ElementTree.parse(project.path / "out.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("errors")) == ("1", "0")
    properties = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert properties["trt_verdict"] == "over_budget"
    assert float(properties["trt_ms"] or 0) > 0


@XDIST
def test_a_budget_test_that_measures_nothing_fails(project, xdist):
    project.makepyfile(ENGINE + "@pytest.mark.trt_budget('cpu', ms=10)\ndef test_m(trt_runner): pass")
    result = project.runpytest_subprocess(*xdist)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*budgets stand, but the test measured nothing*"])


def test_a_budget_without_a_runner_is_a_usage_error(project):
    project.makepyfile(ENGINE + "@pytest.mark.trt_budget('cpu', ms=10)\ndef test_m(): pass")
    result = project.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_m: trt_budget: the test asks for no trt_runner*"])


def test_a_budget_for_another_device_is_unenforced_and_fails_when_strict(project):
    project.makepyfile(ENGINE + "@pytest.mark.trt_budget('H200', ms=1e-9)\ndef test_m(trt_runner): trt_runner.measure()")
    project.runpytest_subprocess("--trt-baseline=off").assert_outcomes(passed=1)
    result = project.runpytest_subprocess("--trt-baseline=off", "--trt-strict")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no budget is for *'H200'*"])


def test_a_budget_on_what_a_cpu_does_not_have_is_an_error(project):
    project.makepyfile(ENGINE + "@pytest.mark.trt_budget('cpu', memory_mb=10)\ndef test_m(trt_runner): trt_runner.measure()")
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*memory_mb has a budget of 10, but this backend does not measure it*"])


def test_every_kind_of_budget_that_a_cpu_has_is_judged(project):
    limits = "ms=1e4, p95_ms=1e4, p99_ms=1e4, throughput=1e-3, host_mb=1e5, engine_mb=1e3, build_s=1e3, load_s=1e3, first_ms=1e5"
    project.makepyfile(ENGINE + f"@pytest.mark.trt_budget('cpu', {limits})\ndef test_m(trt_runner): trt_runner.measure()")
    result = project.runpytest_subprocess("-v", "--trt-max-time=5")
    result.assert_outcomes(passed=1)
    assert len(re.findall(r"^ +ok: .*budget", result.stdout.str(), re.MULTILINE)) == 9


def test_the_most_specific_budget_counts(project):
    project.makepyfile(
        ENGINE
        + """
@pytest.mark.trt_matrix(batch=[1, 8])
@pytest.mark.trt_budget("cpu", ms=1e4)
@pytest.mark.trt_budget("cpu", ms=1e-6, where={"batch": 8})
def test_m(trt_runner): trt_runner.measure()
"""
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["FAILED *test_m?b8?*"])


def test_xfail_and_failing_bodies_stay_what_they_are(project):
    project.makepyfile(
        ENGINE
        + """
@pytest.mark.xfail(strict=True)
@pytest.mark.trt_budget("cpu", ms=1e-6)
def test_known(trt_runner): trt_runner.measure()

@pytest.mark.trt_budget("cpu", ms=1e4)
def test_wrong(trt_runner):
    trt_runner.measure()
    assert 1 == 2

@pytest.mark.trt_budget("cpu", ms=1e4)
def test_skips(trt_runner): pytest.skip("not today")
"""
    )
    project.runpytest_subprocess().assert_outcomes(xfailed=1, failed=1, skipped=1)
