"""Test the comparison of one estimate for each side, and when there are enough blocks for it."""

from __future__ import annotations

import dataclasses
import math

import pytest

from pytest_trt.core import noise_levels
from pytest_trt.core.records import Block, Estimate, Samples
from pytest_trt.judge.regression.estimates import EstimateRule, judge_estimates
from pytest_trt.judge.regression.question import RegressionQuestion

QUESTION = RegressionQuestion(figure="p95_ms", tolerance=0.05, spread=0.001)


def estimate(value: float, below: float = 0.0, above: float = 0.0) -> Estimate:
    """Return an estimate whose interval extends so far to either side, as log ratios."""
    return Estimate(value, value * math.exp(-below), value * math.exp(above), 100)


def test_margins_add_by_their_squares() -> None:
    verdict = judge_estimates(QUESTION, estimate(2.2, 0.01, 0.02), estimate(2.0, 0.03, 0.05), 0.004, "why")
    assert verdict.ratio is not None
    below, above = math.sqrt(0.01**2 + 0.05**2 + 0.004**2), math.sqrt(0.02**2 + 0.03**2 + 0.004**2)
    expected = (1.1, 1.1 * math.exp(-below), 1.1 * math.exp(above))
    assert (verdict.ratio.value, verdict.ratio.low, verdict.ratio.high) == pytest.approx(expected)
    assert verdict.details[0] == "why"
    assert "why" not in judge_estimates(QUESTION, estimate(1.1, 0.01), estimate(1.0), 0.0).details


@pytest.mark.parametrize(
    ("new", "old", "between"),
    [
        (estimate(1.04, above=1e-9), estimate(1.0), 0.0),
        (estimate(1.04), estimate(1.0, below=1e-9), 0.0),
        (estimate(1.04), estimate(1.0), 1e-9),
    ],
)
def test_only_two_exact_values_are_compared_as_they_are(new: Estimate, old: Estimate, between: float) -> None:
    exact = judge_estimates(QUESTION, estimate(1.04), estimate(1.0), 0.0)
    assert (exact.status, exact.resolution) == ("ok", 0.0)
    assert "against" in exact.text
    assert "against" not in judge_estimates(QUESTION, new, old, between).text


def test_too_few_samples_and_intervals_that_reach_zero_are_inconclusive() -> None:
    few = [dataclasses.replace(estimate(1.0, 0.1, 0.1), needs_s=needs_s) for needs_s in (1.25, 0.5)]
    verdict = judge_estimates(QUESTION, few[0], few[1], 0.0)
    assert verdict.text == "p95 latency inconclusive: too few samples, needs 1.2 s more"
    assert (verdict.status, verdict.tolerance) == ("inconclusive", 0.05)
    for needs_s in ((0.5, 0.0), (0.0, 0.5)):
        new, old = (dataclasses.replace(estimate(1.0, 0.1, 0.1), needs_s=one) for one in needs_s)
        assert judge_estimates(QUESTION, new, old, 0.0).status == "inconclusive"
        assert "needs 0.5 s more" in judge_estimates(QUESTION, new, old, 0.0).text
    for new_low, old_low, shown in ((0.0, 1.0, False), (1.0, 0.0, False), (1e-9, 1e-9, True)):
        sides = [Estimate(1.0, low, 1.1, 9) for low in (new_low, old_low)]
        assert ("there is no ratio" not in judge_estimates(QUESTION, *sides, 0.0).text) is shown


def block(level: float, number: int) -> Block:
    """Return a block of 100 samples within 1 % of a level, 0.5 s long."""
    return Block({"ms": tuple(level * (1 + 1e-4 * n + 1e-7 * number) for n in range(100))}, 0.5)


def rule_after(rule: EstimateRule, count: int, new: float = 1.0, old: float | None = 1.0) -> EstimateRule:
    """Return the rule after so many blocks of both sides; of one side if `old` is None."""
    for number in range(count):
        rule.add(0, 0, block(new, number))
        if old is not None:
            rule.add(1, 0, block(old, number))
    return rule


@pytest.mark.parametrize(("new", "status"), [(1.0, "ok"), (1.2, "regressed"), (0.8, "improved")])
def test_two_sides_are_judged_at_each_look(new: float, status: str) -> None:
    rule = rule_after(EstimateRule(QUESTION, 0.002), 12, new)
    assert rule.finished() == f"decided: {status}"
    assert not rule.wants_probe()
    rule.start(2)
    assert (rule.finished(), rule.wants_probe()) == ("", False)
    short = rule_after(EstimateRule(QUESTION, 0.002), 5, new)
    assert (short.finished(), short.wants_probe()) == ("", False)  # before the first look


def test_percentiles_are_not_decided_within_their_first_seconds() -> None:
    """Only side 0 counts: nine blocks are 4.5 s, and ten are 5 s."""
    assert rule_after(EstimateRule(QUESTION, 0.002), 9).finished() == ""
    assert rule_after(EstimateRule(QUESTION, 0.002), 10).finished() == "decided: ok"
    throughput = dataclasses.replace(QUESTION, figure="ms")
    assert rule_after(EstimateRule(throughput, 0.002), 6).finished() == "decided: ok"


def test_a_stored_figure_ends_the_sampling_when_the_runs_decide() -> None:
    """The tolerance lies within the spread between runs, so more blocks do not help."""
    old = estimate(1.0, 0.01, 0.01)
    rule = rule_after(EstimateRule(QUESTION, 0.5, old), 12, old=None)
    assert rule.finished() == "the spread between runs decides"
    assert not rule.wants_probe()
    assert rule_after(EstimateRule(QUESTION, 0.002, old), 12, 1.2, None).finished() == "decided: regressed"


@pytest.mark.parametrize("level", [1.0, 0.5])
def test_two_sides_want_fresh_probes_if_only_their_spread_matters(level: float) -> None:
    rule = rule_after(EstimateRule(QUESTION, 0.5), 12, level, level)
    assert (rule.finished(), rule.wants_probe()) == ("", True)


def test_an_interval_that_reaches_zero_has_no_width() -> None:
    rule = rule_after(EstimateRule(QUESTION, 0.0, Estimate(1.0, 0.0, 1.0, 9)), 12, old=None)
    assert rule.finished() == "the spread between runs decides"


@pytest.mark.parametrize(("share", "decide"), [(0.98, False), (1.02, True)])
def test_the_rest_decides_if_the_samples_are_a_quarter_of_the_width(share: float, decide: bool) -> None:
    samples = [Samples(tuple(block(1.0, number) for number in range(12)))]
    alone, with_probes = (noise_levels.estimate("p95_ms", samples, spread) for spread in (0.0, 0.001))
    widths = [math.log(one.high / one.low) for one in (alone, with_probes)]
    between = math.sqrt((share * 4 * widths[0]) ** 2 - 2 * widths[1] ** 2) / 2
    question = dataclasses.replace(QUESTION, tolerance=between / 2)
    rule = rule_after(EstimateRule(question, between), 12)
    assert (rule.finished(), rule.wants_probe()) == ("", decide)
