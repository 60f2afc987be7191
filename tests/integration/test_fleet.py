"""Test how a run ends whose verdicts depend on all of its tests: how fast its card is shows in them together."""

from __future__ import annotations

import dataclasses
import json

import pytest
from samples.records import H200, measurement, stored

from pytest_trt.core.records import Result
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.judge.regression.stored import judge_stored
from pytest_trt.report import result_line

RATIOS = {**{f"test_alike[{number}]": 1.03 + number / 1e4 for number in range(10)}, "test_slower": 1.09}

SUITE = """
import pytest

@pytest.mark.parametrize("number", range(10))
def test_alike(number): pass

def test_slower(): pass
"""

REPORTS_RESULTS = """
import json
from pathlib import Path
import pytest

RESULTS = json.loads((Path(__file__).parent / "results.json").read_text())

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "teardown":
        report.trt_result = RESULTS[item.name]
    return report
"""


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_test_that_is_slower_than_the_others_fails_at_the_end(pytester, workers):
    """Results on a card that the baseline does not know are reported by real tests; no device is needed."""
    environment, results = dataclasses.replace(H200, device_uuid="GPU-other"), {}
    for name, ratio in RATIOS.items():
        run = measurement(0.272 * ratio, f"test_m.py::{name}", environment=environment, samples=(), profile=None)
        verdict = judge_stored(RegressionQuestion(tolerance=0.02), run.figures["ms"], stored(), environment.card)
        results[name] = result_line.render(Result(run.node_id, (verdict,), run))
    (pytester.path / "results.json").write_text(json.dumps(results))
    pytester.makepyfile(test_m=SUITE)
    pytester.makeconftest(REPORTS_RESULTS)
    run_pytest = pytester.runpytest_subprocess if workers else pytester.runpytest_inprocess
    result = run_pytest(*workers, "--trt-report=json:out.json", "--junitxml=out.xml")
    result.assert_outcomes(passed=11, errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "*latency regressed: *",
            "*10 ok, 1 regressed*",
            "warning: all 11 tests +3.? % on GPU-other: this card is slower *",
            "ERROR test_m.py::test_slower - latency regressed: *",
        ],
        consecutive=False,
    )
    statuses = [one["verdicts"][0]["status"] for one in json.loads((pytester.path / "out.json").read_text())["results"]]
    assert statuses == ["ok"] * 10 + ["regressed"]
    assert "latency regressed" in (pytester.path / "out.xml").read_text()
