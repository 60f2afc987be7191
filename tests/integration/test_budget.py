"""Test `trt_budget`, from the marker to the terminal, JUnit and xdist."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest
from samples.pytest_runs import ENGINE, MEASURES

from pytest_trt.core import noise_levels


def _measuring_test(name: str) -> str:
    """Return a test that measures."""
    return MEASURES.replace("test_m", f"test_{name}")


@pytest.mark.parametrize("xdist", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_met_budget_passes_and_exceeded_or_unmeasured_budget_fails(project, verdicts, xdist):
    project.makepyfile(
        test_m=ENGINE
        + "@pytest.mark.trt_budget('cpu', ms=10_000)\n"
        + _measuring_test("met")
        + "@pytest.mark.trt_budget('cpu', ms=1e-6)\n"
        + _measuring_test("slow")
        + "@pytest.mark.trt_budget('cpu', throughput=1e12)\n"
        + _measuring_test("few")
        + "@pytest.mark.trt_budget('cpu', ms=10)\ndef test_idle(trt_runner): pass\n"
        + "@pytest.mark.trt_accuracy()\ndef test_unproved(trt_runner): pass\n"
        + "@pytest.mark.trt_budget('cpu', memory_mb=10, gpu_ms=10)\n"
        + _measuring_test("foreign")
    )
    result = project.runpytest_subprocess(*xdist, "--junitxml=out.xml", "--trt-baseline=off")
    result.assert_outcomes(passed=1, failed=5)
    out = result.stdout.str()
    for line in (
        r"^latency over budget: [\d.]+ ms, budget 0\.00000100 ms, \+\d+ % .*\n  measured on .*ONNX Runtime \S+,.*$",
        r"^=+ trt: .*, ONNX Runtime .*, no baseline =+$",
        r"^test +ms +p99 ms .*verdict$",
        r"^test_met .*ok$",
        r"^test_slow .* over budget$",
        r"^throughput below budget: [\d. ]+ inf/s, budget .*$",
        r"^test_few .* below budget$",
    ):
        assert re.search(line, out, re.MULTILINE), line
    result.stdout.fnmatch_lines_random(
        [
            "FAILED test_m.py::test_slow - Failed: latency over budget: *",
            "FAILED test_m.py::test_idle - *budgets are declared, but the test measured nothing*",
            "FAILED test_m.py::test_unproved - *trt_accuracy is declared, but the test measured nothing*",
            "FAILED test_m.py::test_foreign - *memory_mb has a budget of 10, but this backend does not measure it*",
        ]
    )
    assert verdicts() == {
        "test_met": ["ok"],
        "test_slow": ["over_budget"],
        "test_few": ["over_budget"],
        "test_idle": ["error"],
        "test_unproved": ["error"],
        "test_foreign": ["error", "error"],
    }
    suite = ElementTree.parse(project.path / "out.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("errors")) == ("5", "0")
    slow = next(case for case in suite.iter("testcase") if case.get("name") == "test_slow")
    properties = {p.get("name"): p.get("value") for p in slow.iter("property")}
    assert properties["trt_verdict"] == "over_budget"
    assert float(properties["trt_ms"] or 0) > 0


def test_budget_without_a_runner_is_a_usage_error(project):
    project.makepyfile(test_m=ENGINE + "@pytest.mark.trt_budget('cpu', ms=10)\ndef test_m(): pass")
    result = project.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_m: trt_budget: the test does not request trt_runner*"])


def test_budget_for_another_device_fails_only_if_strict(project):
    project.makepyfile(test_m=ENGINE + "@pytest.mark.trt_budget('H200', ms=1e-9)\n" + MEASURES)
    project.runpytest_subprocess("--trt-baseline=off").assert_outcomes(passed=1)
    result = project.runpytest_subprocess("--trt-baseline=off", "--trt-strict")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no budget is for *'H200'*"])


def test_budget_for_an_unknown_parameter_is_a_usage_error(project):
    misspelt = "@pytest.mark.trt_budget('cpu', ms=1e4, where={'precison': 'fp16'})\n"
    varied = "@pytest.mark.trt_matrix(precision=['fp32'])\n"
    project.makepyfile(test_a=ENGINE + misspelt + varied + MEASURES, test_b=ENGINE + misspelt + MEASURES)
    result = project.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    message = "trt_budget: where names 'precison', which is not a parameter of the test: "
    result.stderr.fnmatch_lines(
        [f"*{message}did you mean 'precision'?", f"*{message}it has no parameters, so remove where"]
    )


def test_module_budget_may_name_parameters_of_other_tests(project):
    project.makepyfile(
        test_m=ENGINE
        + "class TestAll:\n    pytestmark = pytest.mark.trt_budget('cpu', ms=1e4, where={'batch': 1})\n"
        + "    def test_plain(self, trt_runner): trt_runner.measure()\n"
    )
    project.runpytest_subprocess("--trt-baseline=off").assert_outcomes(passed=1)
    result = project.runpytest_subprocess("--trt-baseline=off", "--trt-strict")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["no budget is for this test on *: they name 'cpu' where batch=1"])


def test_every_budget_that_a_cpu_supports_is_judged_and_shown(project, verdicts, monkeypatch):
    monkeypatch.setattr(noise_levels, "MIN_PERCENTILE_S", 0.05)
    limits = "ms=1e4, p95_ms=1e4, p99_ms=1e4, throughput=1e-3, host_mb=1e5, engine_mb=1e3, build_s=1e3, load_s=1e3"
    project.makepyfile(test_m=ENGINE + f"@pytest.mark.trt_budget('cpu', {limits}, first_ms=1e5)\n" + MEASURES)
    result = project.runpytest_inprocess("-v", "--trt-max-time=5", "--trt-baseline=off")
    result.assert_outcomes(passed=1)
    assert verdicts() == {"test_m": ["ok"] * 9}
    assert len(re.findall(r"^    [a-z0-9 ]+ ok: .*, budget ", result.stdout.str(), re.MULTILINE)) == 9


def test_most_specific_budget_counts(project, verdicts):
    project.makepyfile(
        test_m=ENGINE
        + """
@pytest.mark.trt_matrix(batch=[1, 8])
@pytest.mark.trt_budget("cpu", ms=1e4)
@pytest.mark.trt_budget("cpu", ms=1e-6, where={"batch": 8})
def test_m(trt_runner): trt_runner.measure()
"""
    )
    project.runpytest_subprocess("--trt-baseline=off").assert_outcomes(passed=1, failed=1)
    assert verdicts() == {"test_m[b1]": ["ok"], "test_m[b8]": ["over_budget"]}


def test_xfail_and_failing_bodies_keep_their_outcome(project):
    project.makepyfile(
        test_m=ENGINE
        + """
@pytest.mark.xfail(strict=True)
@pytest.mark.trt_budget("cpu", ms=1e-6)
def test_known(trt_runner): trt_runner.measure()

@pytest.mark.xfail(strict=True)
@pytest.mark.trt_budget("cpu", ms=1e4)
def test_mended(trt_runner): trt_runner.measure()

@pytest.mark.trt_budget("cpu", ms=1e4)
def test_wrong(trt_runner):
    trt_runner.measure()
    assert 1 == 2

@pytest.mark.trt_budget("cpu", ms=1e4)
def test_skips(trt_runner): pytest.skip("not today")
"""
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(xfailed=1, failed=2, skipped=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*", "*assert 1 == 2"])


ABSENT = {
    "another": ({"batch": 16}, "batch=16, but batch is 1 or 8"),
    "a string": ({"batch": "8"}, "batch='8', but batch is 1 or 8"),
    "in capitals": ({"precision": "FP32"}, "precision='FP32', but precision is 'fp32'"),
    "of parametrize": ({"size": 3}, "size=3, but size is 1 or 2"),
    "of another case": ({"size": 1, "kind": "b"}, "size=1 and kind='b', but no case has this combination"),
}
VARIED = """
@pytest.mark.trt_matrix(batch=[1, 8], precision=["fp32"])
@pytest.mark.parametrize("size,kind", [(1, "a"), (2, "b")])
"""


@pytest.mark.parametrize("name", ABSENT)
def test_budget_for_a_value_that_no_case_has_is_a_usage_error(project, name):
    where, message = ABSENT[name]
    budget = f"@pytest.mark.trt_budget('cpu', ms=1e-6, where={where})\n"
    project.makepyfile(test_m=ENGINE + budget + VARIED + "def test_m(trt_runner, size, kind): trt_runner.measure()\n")
    for options in ((), ("-k", "b1"), ("test_m.py::test_m[b1-fp32-1-a]",), ("-n", "1")):
        result = project.runpytest_inprocess("--collect-only" if options != ("-n", "1") else "-q", *options)
        assert result.ret == pytest.ExitCode.USAGE_ERROR, options
        assert f"test_m.py::test_m: trt_budget: where requires {message}" in result.stdout.str() + result.stderr.str()


POSSIBLE = (
    """
@pytest.mark.trt_budget("cpu", ms=1e4, where={"batch": 8, "size": 2, "kind": "b"})
"""
    + VARIED
    + """
def test_all(trt_runner, size, kind): trt_runner.measure()

@pytest.fixture(params=["small"])
def scene(request): return request.param
@pytest.mark.trt_budget("cpu", ms=1e4, where={"scene": "large"})
def test_fixture(trt_runner, scene): trt_runner.measure()

@pytest.mark.trt_budget("cpu", ms=1e4, where={"chosen": 16})
def test_hook(trt_runner, chosen): trt_runner.measure()

class Both:
    @pytest.mark.trt_budget("cpu", ms=1e4, where={"batch": 16})
    def test_m(self, trt_runner): trt_runner.measure()
@pytest.mark.trt_matrix(batch=[1])
class TestOne(Both): pass
@pytest.mark.trt_matrix(batch=[16])
class TestOther(Both): pass
"""
)
HOOK = """
def pytest_generate_tests(metafunc):
    if 'chosen' in metafunc.fixturenames:
        metafunc.parametrize('chosen', [1])
"""


def test_budget_for_a_value_of_a_deselected_case_is_accepted(project):
    project.makeconftest(HOOK)
    project.makepyfile(test_m=ENGINE + POSSIBLE)
    one = "test_m.py::TestOne"
    some = ("test_m.py::test_all[b1-fp32-1-a]",)
    for options in ((), ("-k", "b1"), some, (one,), ("-k", "TestOne"), (one, "-n", "1")):
        result = project.runpytest_inprocess("--collect-only" if "-n" not in options else "-q", *options)
        assert result.ret == pytest.ExitCode.OK, options
    project.makepyfile(test_m=ENGINE + POSSIBLE.replace("batch=[16]", "batch=[17]"))
    assert project.runpytest_inprocess("--collect-only", one).ret == pytest.ExitCode.OK
    assert project.runpytest_inprocess("--collect-only").ret == pytest.ExitCode.USAGE_ERROR


def test_tb_line_points_to_the_test(project):
    project.makepyfile(test_m=ENGINE + "@pytest.mark.trt_budget('cpu', ms=10)\ndef test_idle(trt_runner): pass\n")
    result = project.runpytest_inprocess("--tb=line")
    result.stdout.fnmatch_lines(["test_m.py:3: *budgets are declared, but the test measured nothing*"])
