"""Test the verdicts of intervals and of exact values."""

import math

import pytest

from pytest_trt.core import codec
from pytest_trt.core.records import Verdict
from pytest_trt.core.stats import Interval
from pytest_trt.judge.regression.question import (
    RegressionQuestion,
    judge_exact,
    may_be_improved,
    percent,
    status_of,
    verdict_from_interval,
    without_minor_improvement,
)


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


def test_a_question_has_the_documented_defaults():
    assert RegressionQuestion() == RegressionQuestion(
        figure="ms", tolerance=0.05, alpha=0.001, beta=0.001, spread=0.002, open_order_effect=0.0, place=0.0,
        run_spread=0.01,
        build_spread=0.01,
    )  # fmt: skip


LIMIT = math.log1p(0.05)


@pytest.mark.parametrize(
    ("low", "high", "status"),
    [
        (LIMIT + 1e-9, 1.0, "regressed"), (LIMIT, 1.0, "inconclusive"), (-1.0, LIMIT, "ok"),
        (-1.0, LIMIT + 1e-9, "inconclusive"), (-1.0, -LIMIT, "ok"), (-1.0, -LIMIT - 1e-9, "improved"),
    ],
)  # fmt: skip
def test_an_interval_must_lie_beyond_the_tolerance_or_within_it(low, high, status):
    slower = Interval((low + high) / 2, low, high)
    assert status_of(RegressionQuestion(), slower) == status
    fewer = Interval(-(low + high) / 2, -high, -low)
    assert status_of(RegressionQuestion(figure="throughput"), fewer) == status


@pytest.mark.parametrize(
    ("center", "low", "may"),
    [
        (-LIMIT / 2 - 1e-9, -LIMIT - 1e-9, True), (-LIMIT / 2, -LIMIT - 1e-9, False), (-LIMIT, -LIMIT, False),
        (0.0, -1.0, False), (-0.04, -0.06, True),
    ],
)  # fmt: skip
def test_an_ok_figure_may_be_better_if_its_center_is_beyond_half_of_the_tolerance(center, low, may):
    assert may_be_improved(RegressionQuestion(), Interval(center, low, 0.0)) is may
    assert may_be_improved(RegressionQuestion(figure="throughput"), Interval(-center, 0.0, -low)) is may


def test_a_verdict_shows_its_interval_and_what_it_would_have_seen():
    found = Interval(math.log(1.02), math.log(1.01), math.log(1.03))
    verdict = verdict_from_interval(RegressionQuestion(), found, ("a basis",))
    assert verdict.text == "latency ok: +2.0 % [+1.0, +3.0], tolerance 5 %"
    assert verdict.details == ("a basis", "would see >= 0.99 %")
    assert verdict.resolution == pytest.approx(1.02 / 1.01 - 1)
    assert (verdict.ratio.value, verdict.ratio.low, verdict.ratio.high) == pytest.approx((1.02, 1.01, 1.03))
    tight = verdict_from_interval(RegressionQuestion(tolerance=0.02), found, ())
    assert (tight.status, tight.details) == ("inconclusive", ("would see >= 0.99 %",))
    tighter = verdict_from_interval(RegressionQuestion(tolerance=0.009), Interval(0.0, -0.02, 0.02), ())
    assert tighter.details == ("would see >= 2 %", "the tolerance of 0.9 % is tighter than that")
    exactly = verdict_from_interval(RegressionQuestion(tolerance=math.expm1(0.02)), Interval(0.0, -0.02, 0.02), ())
    assert exactly.details == ("would see >= 2 %",)
    plain = verdict_from_interval(RegressionQuestion(tolerance=0.009), found, ())
    assert (plain.status, plain.details, plain.resolution) == ("regressed", (), None)


@pytest.mark.parametrize("ends", [(-math.inf, 0.1), (-0.1, math.inf)])
def test_too_few_blocks_are_named(ends):
    verdict = verdict_from_interval(RegressionQuestion(), Interval(0.0, *ends), ())
    assert verdict.text == "latency inconclusive: too few blocks, tolerance 5 %"


@pytest.mark.parametrize(("low", "high", "shown"), [(-299.0, 299.0, True), (-300.0, 0.0, False), (0.0, 300.0, False)])
def test_a_ratio_is_shown_up_to_a_log_of_300(low, high, shown):
    assert (verdict_from_interval(RegressionQuestion(), Interval(0.0, low, high), ()).ratio is not None) is shown


def test_sizes_at_the_tolerance_are_ok():
    assert judge_exact("memory_mb", 125.0, 100.0, 0.25).status == "ok"
    assert judge_exact("memory_mb", 75.0, 100.0, 0.25).status == "ok"
    assert judge_exact("memory_mb", 74.9, 100.0, 0.25).status == "improved"
    verdict = judge_exact("memory_mb", 125.1, 100.0, 0.25)
    assert verdict.text == "device memory regressed: 125.1 MB against 100 MB, tolerance 25 %"
    assert (verdict.ratio.value, verdict.tolerance, verdict.resolution) == (1.251, 0.25, 0.0)


@pytest.mark.parametrize(
    ("share", "digits", "text"), [(0.0123456, 3, "1.23 %"), (0.0123456, 2, "1.2 %"), (0.5, 3, "50 %")]
)
def test_shares_are_shown_in_percent(share, digits, text):
    assert percent(share, digits) == text
    assert percent(0.0123456) == "1.23 %"


@pytest.mark.parametrize(
    ("figure", "status", "shown"),
    [
        ("ms", "improved", "improved"), ("engine_mb", "improved", "improved"), ("gpu_ms", "improved", "ok"),
        ("load_s", "improved", "ok"), ("gpu_ms", "regressed", "regressed"), ("ms", "ok", "ok"),
    ],
)  # fmt: skip
def test_only_the_latency_and_sizes_improve(figure, status, shown):
    verdict = Verdict(status, "baseline", figure, f"figure {status}: 1 against 2", details=("a basis",))
    found = without_minor_improvement(verdict)
    assert (found.status, found.text) == (shown, f"figure {shown}: 1 against 2")
    assert (found == verdict) is (status == shown)
    assert len(found.details) == (1 if status == shown else 2)


def test_samples_of_a_question_are_those_of_its_figure_or_of_the_inverse():
    assert RegressionQuestion(figure="gpu_ms").series == "gpu_ms"
    assert RegressionQuestion(figure="throughput", inverse_of="ms").series == "ms"
