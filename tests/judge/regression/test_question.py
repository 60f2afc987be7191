"""Test the verdicts of intervals and of exact values."""

import pytest

from pytest_trt.core import codec
from pytest_trt.core.records import Verdict
from pytest_trt.core.stats import Interval
from pytest_trt.judge.regression.question import RegressionQuestion, judge_exact, verdict_from_interval


def test_sizes_are_compared_exactly():
    assert judge_exact("memory_mb", 106.0, 100.0, 0.05).status == "regressed"
    assert judge_exact("memory_mb", 105.0, 100.0, 0.05).status == "ok"
    assert judge_exact("memory_mb", 90.0, 100.0, 0.05).status == "improved"
    assert judge_exact("memory_mb", 1.0, 0.0, 0.05).status == "regressed"
    assert judge_exact("memory_mb", 0.0, 0.0, 0.0).status == "ok"
    assert judge_exact("throughput", 0.0, 100.0, 0.05).status == "regressed"
    assert judge_exact("throughput", 100.0, 0.0, 0.05).status == "improved"


@pytest.mark.parametrize(("new", "old"), [(1.0, 0.0), (0.0, 1.0), (1e308, 1e-308)])
def test_ratio_out_of_range_is_omitted(new, old):
    """A verdict is sent as JSON, which has no infinity."""
    verdict = judge_exact("memory_mb", new, old, 0.05)
    assert codec.decode(Verdict, codec.encode(verdict)) == verdict


@pytest.mark.parametrize("ends", [(-1000.0, 1.0), (0.1, 800.0), (500.0, 1400.0), (-1400.0, -500.0)])
def test_interval_out_of_range_has_a_verdict_without_a_ratio(ends):
    verdict = verdict_from_interval(RegressionQuestion(), Interval(sum(ends) / 2, *ends), ())
    assert verdict.ratio is None
    assert "the ratio is out of range" in verdict.text
    assert verdict.status == {-1400.0: "improved", -1000.0: "inconclusive"}.get(ends[0], "regressed")
