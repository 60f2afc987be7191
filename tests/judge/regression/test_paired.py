"""Test the comparison of two engines that take turns."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest

from pytest_trt.core import stats
from pytest_trt.core.distributions import t_quantile
from pytest_trt.core.noise_levels import first_side, location_interval
from pytest_trt.core.records import Block, Samples
from pytest_trt.judge.budgets import LimitRule
from pytest_trt.judge.regression.paired import (
    PairedRule,
    clock_ratio,
    compare_paired,
    confirm_regression,
    judge_builds,
    judge_paired,
    pair_medians,
)
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.measure.sampler import Limits, sample
from pytest_trt.measure.stopping import AllOf

LIMITS = Limits(min_time_s=0.0, max_time_s=5.0)


class Pair:
    """A source of two sides: the new one takes `ratio` times as long. Noise of blocks and probes is relative."""

    sides = 2
    levels = ("block", "probe")

    def __init__(
        self,
        ratio,
        *,
        noise=0.001,
        probe_noise=0.0,
        drift=0.0,
        open_order_effect=0.0,
        seed=0,
        figure="ms",
        mhz=(None, None),
    ):
        self.ratio, self.noise, self.probe_noise, self.drift = ratio, noise, probe_noise, drift
        self.figure, self.mhz, self.open_order_effect = figure, mhz, open_order_effect
        self.generator = np.random.default_rng(seed)
        self.count = 0
        self.probes = [1.0, 1.0]
        self.renewals = 0
        self.renew()

    def renew(self):
        self.renewals += 1
        self.probes = [math.exp(self.generator.normal(0, self.probe_noise)) for _ in range(2)]
        self.probes[1 - first_side(self.renewals - 1)] *= 1 + self.open_order_effect

    def next_block(self, side, *, kept=True):
        level = (self.ratio if side == 0 else 1.0) * self.probes[side] * (1 + self.drift * self.count)
        self.count += 1
        times = level * np.exp(self.generator.normal(0, self.noise)) * self.generator.normal(1, 0.002, 21)
        state = {"sm_mhz": self.mhz[side]} if self.mhz[side] else {}
        return Block({self.figure: tuple(times.tolist())}, 0.02, state)


def sample_and_judge(question, source):
    sampling = sample(source, PairedRule(question), LIMITS)
    return judge_paired(question, *sampling.sides), sampling


@pytest.mark.parametrize(
    ("ratio", "status"), [(1.0, "ok"), (1.03, "ok"), (1.08, "regressed"), (0.9, "improved")]
)  # fmt: skip
def test_ratio_is_judged_against_the_tolerance(ratio, status):
    verdict, sampling = sample_and_judge(RegressionQuestion(tolerance=0.05), Pair(ratio))
    assert verdict.status == status
    assert verdict.ratio.low <= ratio <= verdict.ratio.high
    assert sampling.finished
    assert sampling.stop_reason == f"decided: {status}"


def test_throughput_regresses_downwards():
    question = RegressionQuestion(figure="throughput", tolerance=0.05)
    assert sample_and_judge(question, Pair(0.9, figure="throughput"))[0].status == "regressed"
    assert sample_and_judge(question, Pair(1.1, figure="throughput"))[0].status == "improved"


def test_judge_agrees_with_the_rule():
    for seed in range(20):
        question = RegressionQuestion(tolerance=0.01, spread=0.0)
        verdict, sampling = sample_and_judge(question, Pair(1.01 + 0.004 * (seed % 3 - 1), noise=0.004, seed=seed))
        assert sampling.stop_reason == (f"decided: {verdict.status}" if sampling.finished else "time limit of 5 s")


def test_ratio_at_the_tolerance_is_inconclusive():
    verdict, sampling = sample_and_judge(RegressionQuestion(tolerance=0.01, spread=0.0), Pair(1.01, noise=0.01))
    assert verdict.status == "inconclusive"
    assert not sampling.finished


def test_shared_drift_cancels():
    verdict, _ = sample_and_judge(RegressionQuestion(tolerance=0.01, spread=0.0), Pair(1.0, noise=0.0005, drift=0.002))
    assert verdict.status == "ok"


def test_false_alarms_at_the_tolerance_are_rare():
    question = RegressionQuestion(tolerance=0.01, alpha=0.02, beta=0.02, spread=0.0)
    limits = Limits(min_time_s=0.0, max_time_s=2.6)
    alarms = 0
    for seed in range(200):
        sampling = sample(Pair(1.01, noise=0.01, seed=seed), PairedRule(question), limits)
        alarms += sampling.stop_reason == "decided: regressed"
    assert alarms <= 0.02 * 200


def test_detectable_change_is_shown_and_tight_tolerance_noted():
    verdict, _ = sample_and_judge(RegressionQuestion(tolerance=0.001), Pair(1.0))
    assert verdict.resolution == pytest.approx(0.002, abs=0.002)
    assert any(detail.startswith("would see >= 0.") for detail in verdict.details)
    assert "the tolerance of 0.1 % is tighter than that" in verdict.details
    loose, _ = sample_and_judge(RegressionQuestion(tolerance=0.05), Pair(1.0))
    assert not any("tighter" in detail for detail in loose.details)


def test_fresh_probes_are_requested_if_their_spread_matters():
    source = Pair(1.004, noise=0.0002, probe_noise=0.0001)
    verdict, sampling = sample_and_judge(RegressionQuestion(tolerance=0.005, spread=0.002), source)
    assert verdict.status == "ok"
    assert len(sampling.sides[0]) == len(sampling.sides[1]) > 1
    assert all(len(samples.blocks) >= 6 for samples in sampling.sides[0][:-1])


@pytest.mark.parametrize("seed", range(5))
def test_later_pairs_get_no_more_blocks_than_the_first(seed):
    """In an earlier version, later pairs used up the time limit, although their additional blocks did not help."""
    source = Pair(1.01, noise=0.003, probe_noise=0.0005, seed=seed)
    _, sampling = sample_and_judge(RegressionQuestion(tolerance=0.01, spread=0.004, open_order_effect=0.006), source)
    first, *later = (len(samples.blocks) for samples in sampling.sides[0])
    assert len(later) >= 2
    assert max(later) <= first


def test_noisy_pair_gets_only_its_share_of_the_time():
    """In an earlier version, one noisy pair used up the whole time, and one pair decides nothing."""
    _, sampling = sample_and_judge(RegressionQuestion(tolerance=0.05, spread=0.1), Pair(1.0, noise=0.06))
    assert [len(samples.blocks) for samples in sampling.sides[0]][:2] == [48, 48]


def test_later_pairs_are_short_if_another_rule_prolonged_the_first():
    """In an earlier version, each pair got as many blocks as the first, which a percentile had prolonged."""
    rule = AllOf(
        (
            LimitRule({"p99_ms": 5.0}),
            PairedRule(RegressionQuestion(tolerance=0.01, spread=0.004, open_order_effect=0.006)),
        )
    )
    limits = Limits(min_time_s=0.0, max_time_s=20.0)
    sampling = sample(Pair(1.01, noise=0.001, probe_noise=0.0005), rule, limits)
    first, *later = (len(samples.blocks) for samples in sampling.sides[0])
    assert first * 21 > 950
    assert len(later) >= 2
    assert max(later) < first / 2


def test_large_probe_differences_widen_the_interval():
    verdict, sampling = sample_and_judge(
        RegressionQuestion(tolerance=0.005, spread=0.001), Pair(1.005, noise=0.0002, probe_noise=0.004)
    )
    assert len(sampling.sides[0]) > 2
    assert verdict.ratio.high - verdict.ratio.low > 0.002


def test_one_pair_does_not_prove_a_difference_within_the_spread():
    question = RegressionQuestion(tolerance=0.0, spread=0.002)
    source = Pair(1.0, noise=0.0001)
    source.probes = [1.0015, 1.0]
    sampling = sample(source, PairedRule(question), Limits(min_time_s=0.0, max_time_s=1.0, probes=1))
    assert judge_paired(question, *sampling.sides).status == "inconclusive"


def test_too_few_blocks_are_inconclusive():
    sampling = sample(Pair(2.0), PairedRule(RegressionQuestion()), Limits(max_time_s=0.1))
    verdict = judge_paired(RegressionQuestion(), *sampling.sides)
    assert (verdict.status, verdict.ratio, verdict.resolution) == ("inconclusive", None, None)
    assert "too few blocks" in verdict.text


def test_sides_with_different_numbers_of_probes_are_an_error():
    sampling = sample(Pair(1.0), PairedRule(RegressionQuestion()), LIMITS)
    with pytest.raises(ValueError, match="1 probes cannot be paired with 2"):
        judge_paired(RegressionQuestion(), sampling.sides[0], sampling.sides[1] * 2)


def test_coarse_timer_decides_nothing_below_its_step():
    block = Block({"ms": (1.0, 1.0, 1.001)}, 0.02)
    slower = Block({"ms": (1.0, 1.001, 1.001)}, 0.02)
    sides = ((Samples((slower,) * 16),), (Samples((block,) * 16),))
    assert judge_paired(RegressionQuestion(tolerance=0.0, spread=0.0), *sides).status == "inconclusive"
    assert judge_paired(RegressionQuestion(tolerance=0.01, spread=0.0), *sides).status == "ok"


@pytest.mark.parametrize(("tick", "old", "ratio"), [(0.2, 1.0, 1.08), (0.2, 1.0, 1.0), (0.1, 1.04, 1.02)])
def test_samples_on_one_tick_decide_nothing(tick, old, ratio):
    """The true change may be anything within a tick. An earlier version judged 8 % as ok, and 2 % as regressed."""

    class Ticking(Pair):
        def next_block(self, side, *, kept=True):
            block = super().next_block(side)
            ticks = tuple(tick * round(old * sample / tick) for sample in block.times["ms"])
            return dataclasses.replace(block, times={"ms": ticks})

    verdict, _ = sample_and_judge(RegressionQuestion(tolerance=0.05), Ticking(ratio))
    assert verdict.status == "inconclusive"
    assert "timer" in verdict.details[-1] or "timer" in verdict.details[1]


def test_improvement_is_distinguished_from_no_change():
    """In an earlier version, an improvement was ok at once, so the baseline did not move."""
    assert (
        sample_and_judge(RegressionQuestion(tolerance=0.05, spread=0.0), Pair(0.9, noise=0.01))[0].status == "improved"
    )
    verdict, sampling = sample_and_judge(RegressionQuestion(tolerance=0.05, spread=0.0), Pair(0.98, noise=0.01))
    assert (verdict.status, sampling.finished) == ("ok", True)


def test_sampling_continues_until_the_new_side_itself_is_known():
    """Shared drift cancels in the ratio, but not in the stored figures of the new side."""
    _, steady = sample_and_judge(RegressionQuestion(spread=0.0), Pair(1.5))
    _, drifting = sample_and_judge(RegressionQuestion(spread=0.0), Pair(1.5, drift=0.05))
    assert steady.finished
    assert steady.blocks < drifting.blocks


def test_ratio_in_clock_cycles_is_shown():
    question = RegressionQuestion()
    verdict, sampling = sample_and_judge(question, Pair(1.02, mhz=(1800, 1836)))
    assert clock_ratio(question, *sampling.sides) == pytest.approx(1.0, abs=0.002)
    assert any("in clock cycles" in detail for detail in verdict.details)
    assert clock_ratio(question, *sample_and_judge(question, Pair(1.0))[1].sides) is None


def test_regression_must_be_confirmed():
    question = RegressionQuestion(tolerance=0.05)
    slow, same = sample_and_judge(question, Pair(1.1))[0], sample_and_judge(question, Pair(1.0))[0]
    assert confirm_regression(slow, slow).status == "regressed"
    assert "seen again when measured again" in confirm_regression(slow, slow).details
    assert confirm_regression(slow, same).status == "inconclusive"
    assert "build lottery" in confirm_regression(slow, same, rebuilt=True).text
    assert confirm_regression(same, slow) == same


@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_second_look_that_cannot_decide_refutes_nothing(rebuilt):
    """A regression of +457 %, seen twice, became inconclusive when a third measurement was on a busy machine."""
    question = RegressionQuestion(tolerance=0.05)
    slow = sample_and_judge(question, Pair(1.1))[0]
    undecided = dataclasses.replace(slow, status="inconclusive")
    verdict = confirm_regression(slow, undecided, rebuilt=rebuilt)
    assert verdict.status == "regressed"
    assert verdict.details[-1].endswith("could not decide: the first verdict stands")


def test_different_builds_are_not_a_regression():
    question = RegressionQuestion(tolerance=0.01, build_spread=0.01)
    ratios = (1.0, 1.03, 1.01, 1.06)
    builds = [sample(Pair(r, seed=n), PairedRule(question), LIMITS).sides for n, r in enumerate(ratios)]
    verdict = judge_builds(question, builds)
    assert verdict.status == "inconclusive"
    assert re.match(r"4 builds differ by (5\.[5-9]\d?|6(\.[0-5]\d?)?) %; each is known to \+-", verdict.details[0])
    slow = [sample(Pair(1.1, seed=n), PairedRule(question), LIMITS).sides for n in range(4)]
    assert judge_builds(question, slow).status == "regressed"


def test_each_of_several_builds_is_sampled_more_precisely():
    question = RegressionQuestion(tolerance=0.01, build_spread=0.01)

    def judge_together(builds):
        pairs = [sample(Pair(1.0, noise=0.003, seed=n), PairedRule(question, builds), LIMITS) for n in range(3)]
        return judge_builds(question, [pair.sides for pair in pairs]).status

    assert judge_together(builds=1) == "inconclusive"
    assert judge_together(builds=3) == "ok"


def test_open_order_effect_is_no_regression():
    question = RegressionQuestion(tolerance=0.01, spread=0.002, open_order_effect=0.02)
    verdict, sampling = sample_and_judge(question, Pair(1.0, open_order_effect=0.011, noise=0.0005))
    assert verdict.status == "ok"
    assert len(sampling.sides[0]) >= 2
    verdict, _sampling = sample_and_judge(question, Pair(1.02, open_order_effect=0.011, noise=0.0005))
    assert verdict.status == "regressed"


def exact_pairs(ratio, drift, *, noise=0.0, samples=1):
    """Return blocks of both sides whose every ratio is `ratio` times exp(+-noise), in turn.

    Args:
        ratio: The ratio of the sides.
        drift: The log of the old side's time, for each block.
        noise: How far a log ratio is from that of `ratio`: above it, below it, below it, above it, and so on.
        samples: How many samples a block has, each 2e-6 slower than the one before.
    """
    steps = np.exp(2e-6 * (np.arange(samples) - samples // 2))
    old = [Block({"ms": tuple((math.exp(level) * steps).tolist())}, 0.02) for level in drift]
    signs = [1, -1, -1, 1] * len(old)
    new = [
        Block({"ms": tuple(ratio * math.exp(sign * noise) * ms for ms in block.times["ms"])}, 0.02)
        for sign, block in zip(signs, old, strict=False)
    ]
    return new, old


def slow_drift(count, step=1e-4):
    """Return a level for each block, so that no two samples are equal: the timer has no step."""
    return [step * n for n in range(count)]


def rule_after(question, new, old, builds=1):
    rule = PairedRule(question, builds)
    for a, b in zip(new, old, strict=True):
        rule.add(0, 0, a)
        rule.add(1, 0, b)
    return rule


def test_interval_is_that_of_the_log_ratios_as_pairs():
    generator = np.random.default_rng(3)
    new, old = ([Block({"ms": (level,)}, 0.02) for level in np.exp(generator.normal(0, 0.01, 41))] for _ in range(2))
    ratios = [math.log(a.times["ms"][0] / b.times["ms"][0]) for a, b in zip(new, old, strict=True)]
    found = compare_paired(RegressionQuestion(spread=0.0), [Samples(tuple(new))], [Samples(tuple(old[:40]))])
    expected = stats.interval(ratios[:40], pairs=True)
    assert (found.center, found.low, found.high) == pytest.approx((expected.center, expected.low, expected.high))


def test_throughput_in_turn_is_the_inverse_of_the_latency():
    question = RegressionQuestion(figure="throughput", inverse_of="ms", spread=0.0)
    new, old = exact_pairs(1.25, slow_drift(6))
    verdict = judge_paired(question, [Samples(tuple(new))], [Samples(tuple(old))])
    assert verdict.status == "regressed"
    assert verdict.ratio.value == pytest.approx(1 / 1.25)


def test_step_of_the_timer_is_read_from_the_first_blocks_of_the_first_probes():
    new, old = exact_pairs(1.0, [0.0] * 8)  # every sample is the same, except those of the second probe
    apart = exact_pairs(1.003, slow_drift(8))
    found = compare_paired(
        RegressionQuestion(spread=0.0),
        *([Samples(tuple(a)), Samples(tuple(b))] for a, b in zip((new, old), apart, strict=True)),
    )
    assert (found.low, found.high) == pytest.approx((0.0015 - 1, 0.0015 + 1), abs=1e-4)


@pytest.mark.parametrize("builds", [2, 3])
def test_builds_are_assumed_to_scatter_by_a_quarter_of_their_spread(builds):
    """The margin is Student's t times the pooled scatter: 8 degrees of the spread of 4 %, and those of the builds."""
    squares = {2: 2 * 0.01**2, 3: 0.01**2 * 8 / 3}[builds]  # about their mean, of +1 %, -1 % (and +1 %)
    t, prior = t_quantile(0.001, 7 + builds), 0.04 / t_quantile(0.001, 8)
    margin = t * math.sqrt((8 * prior**2 + squares) / (7 + builds) / builds)
    for factor, reason in ((0.99, ""), (1.01, "decided: ok")):
        question = RegressionQuestion(tolerance=math.expm1(factor * margin), spread=0.0, build_spread=0.04)
        assert rule_after(question, *exact_pairs(1.0, slow_drift(6)), builds).finished() == reason
    question = RegressionQuestion(tolerance=0.001, spread=0.0, build_spread=0.04)
    assert rule_after(question, *exact_pairs(1.0, slow_drift(6))).finished() == "decided: ok"


def test_rule_looks_only_after_a_look_of_both_sides():
    question = RegressionQuestion(spread=0.0)
    new, old = exact_pairs(1.0, slow_drift(6))
    rule = rule_after(question, new[:5], old[:5])
    assert rule.finished() == ""
    rule.add(0, 0, new[5])
    assert rule.finished() == ""
    rule.add(1, 0, old[5])
    assert rule.finished() == "decided: ok"
    rule.start(2)
    assert rule.finished() == ""


def test_rule_does_not_look_between_looks():
    """The seventh blocks would show that the timer has a step."""
    new, old = exact_pairs(1 + 1e-5, slow_drift(6))
    rule = rule_after(RegressionQuestion(tolerance=1.5e-5, spread=0.0), [*new, new[-1]], [*old, old[-1]])
    assert rule.finished() == "decided: ok"


@pytest.mark.parametrize(("tolerance", "precision"), [(0.05, 0.25), (0.25, 0.25), (0.5, 0.5)])
@pytest.mark.parametrize("ratio", [2.0, 0.5])
def test_new_side_must_be_known_to_a_quarter_or_the_tolerance(tolerance, precision, ratio):
    drift = np.array([0.0, 0.7, 0.1, 0.9, 0.3, 0.6, 0.2, 0.8])
    found = stats.interval(drift)
    scale = 2 * math.log1p(precision) / (found.high - found.low)
    for factor, known in ((0.99, True), (1.01, False)):
        new, old = exact_pairs(ratio, factor * scale * drift)
        rule = rule_after(RegressionQuestion(tolerance=tolerance, spread=0.0), new, old)
        assert bool(rule.finished()) is known


@pytest.mark.parametrize(
    ("count", "share", "wants"),
    [(6, 0.99, True), (6, 1.01, False), (40, 1.01, False), (48, 1.01, True), (48, 1.99, True), (48, 2.01, False)],
)
def test_fresh_pair_is_requested_if_its_spread_is_two_thirds_or_later_half_of_the_interval(count, share, wants):
    """The blocks alone have an interval of `share` times half of what the spread and the order effect add."""
    unit = stats.interval([1.0, -1.0, -1.0, 1.0] * (count // 4) + [1.0, -1.0][: count % 4], pairs=True)
    noise = share * 0.004 / (unit.high - unit.low)
    question = RegressionQuestion(tolerance=0.001, spread=0.003, open_order_effect=0.001)
    rule = rule_after(question, *exact_pairs(1.001, slow_drift(count, 1e-6), noise=noise))
    assert rule.finished() == ""
    assert rule.wants_probe() is wants


def test_verdict_names_probes_blocks_and_seconds():
    def judge(probes, **question):
        pairs = [exact_pairs(1.0, slow_drift(6), samples=3) for _ in range(probes)]
        sides = ([Samples(tuple(pair[side])) for pair in pairs] for side in (0, 1))
        return judge_paired(RegressionQuestion(**question), *sides).details

    assert judge(1)[0] == "judged engine against engine: 1 probe x 6 blocks a side, 0.2 s"
    assert judge(2)[0] == "judged engine against engine: 2 probes x 12 blocks a side, 0.5 s"


@pytest.mark.parametrize(("tolerance", "shown"), [(0.49, True), (0.5, False)])
def test_step_of_the_timer_is_shown_beyond_half_of_the_tolerance(tolerance, shown):
    sides = [[Samples((Block({"ms": (1.0, 1.0, 1.25)}, 0.02),) * 8)]] * 2
    details = judge_paired(RegressionQuestion(tolerance=tolerance), *sides).details
    assert ("the timer's step is 25 % of a sample" in details) is shown
    assert not any("too coarse" in detail for detail in details)


def test_samples_that_are_all_the_same_are_named():
    sides = [[Samples((Block({"ms": (1.0,)}, 0.02),) * 8)]] * 2
    details = judge_paired(RegressionQuestion(), *sides).details
    assert "every sample is the same: this timer is too coarse to tell engines apart" in details


def test_clock_cycles_are_times_and_clocks_of_both_sides():
    def side(*blocks):
        return [Samples(tuple(Block({"ms": (ms,)}, 0.02, {"sm_mhz": mhz} if mhz else {}) for ms, mhz in blocks))]

    new, old = side((1.1, 1500.0), (1.2, 1500.0), (9.0, 0.0), (1.3, 1500.0)), side((1.0, 1600.0), (1.0, 0.0))
    assert clock_ratio(RegressionQuestion(), new, old) == pytest.approx(1.2 * 1500 / 1600)
    details = judge_paired(RegressionQuestion(), new, old).details
    assert details[1] == "in clock cycles +12.50 % (information only)"


def test_verdict_of_several_builds_is_that_of_their_mean():
    """Without noise in the runs, the interval is the margin of the builds alone: 8 degrees of the spread, and 1."""
    builds = [[[Samples(tuple(side))] for side in exact_pairs(ratio, slow_drift(6))] for ratio in (1.02, 1.08)]
    question = RegressionQuestion(tolerance=0.01, spread=0.0, build_spread=0.04, alpha=0.001, beta=0.01)
    verdict = judge_builds(question, builds)
    mean = math.log(1.02 * 1.08) / 2
    squares = math.log(1.08 / 1.02) ** 2 / 2

    def margin(error):
        prior = 0.04 / t_quantile(error, 8)
        return t_quantile(error, 9) * math.sqrt((8 * prior**2 + squares) / 9 / 2)

    expected = (mean, mean - margin(0.001), mean + margin(0.01))
    assert (verdict.ratio.value, verdict.ratio.low, verdict.ratio.high) == pytest.approx(tuple(map(math.exp, expected)))
    assert verdict.details[0].startswith("2 builds differ by 5.88 %; each is known to +-")


def test_noise_of_the_runs_of_builds_is_averaged():
    question = RegressionQuestion(spread=0.0, build_spread=0.0)
    pairs = [exact_pairs(1.0, slow_drift(8, 1e-6), noise=noise) for noise in (0.001, 0.003)]
    builds = [[[Samples(tuple(side))] for side in pair] for pair in pairs]
    found = [compare_paired(question, *build) for build in builds]
    half = sum(one.high - one.low for one in found) / 4
    verdict = judge_builds(question, builds)
    assert verdict.details[0].endswith(f"each is known to +-{100 * math.expm1(half):.3g} %")
    assert verdict.ratio.high == pytest.approx(math.exp(sum(one.high for one in found) / 2))


def test_confirmed_regression_counts_its_looks():
    slow = judge_paired(RegressionQuestion(spread=0.0), *([Samples(tuple(s))] for s in exact_pairs(1.2, slow_drift(6))))
    assert (slow.status, slow.looks) == ("regressed", 1)
    assert confirm_regression(slow, slow).looks == 2
    assert confirm_regression(slow, slow).details[-1] == "seen again when measured again"
    assert confirm_regression(slow, slow, rebuilt=True).details[-1] == "another build regressed too"
    faster = dataclasses.replace(slow, status="improved")
    assert confirm_regression(slow, faster).text.endswith("(not seen again in fresh probes)")


@pytest.mark.parametrize(
    ("place", "times", "margin"),
    [
        (0.001, 2.0, 0.002 + 2 * 0.003),
        (-0.0035, 2.0, 0.002 + 0.0035),
        (0.0, 2.0, 0.01),
        (0.001, 1.5, 0.0015 + 1.5 * 0.003),
        (-0.0035, 1.5, 0.0015 + 0.5 * 0.0035),
        (0.004, 1.0, 0.001),
    ],
)
def test_lone_pair_counts_its_margins_more_often_than_what_is_known_of_the_order(place, times, margin):
    question = RegressionQuestion(spread=0.001, open_order_effect=0.004, place=place, lone_pair=times)
    assert RegressionQuestion().lone_pair == 2
    new, old = exact_pairs(1.02, slow_drift(8))
    for short in (0, 5):  # a second pair of five blocks is too short to count
        sides = ([Samples(tuple(side)), Samples(tuple(side[:short]))] for side in (new, old))
        found = compare_paired(question, *sides)
        assert found.center == pytest.approx(math.log(1.02) - place)
        assert (found.center - found.low, found.high - found.center) == pytest.approx((margin, margin))


def test_two_pairs_of_the_first_look_are_no_lone_pair():
    question = RegressionQuestion(spread=0.001, open_order_effect=0.004, place=0.002)
    sides = ([Samples(tuple(side))] * 2 for side in exact_pairs(1.02, slow_drift(6)))
    found = compare_paired(question, *sides)
    expected = location_interval([[math.log(1.02)] * 6] * 2, 0.001, open_order_effect=0.004, pairs=True)
    assert (found.center, found.low, found.high) == pytest.approx((expected.center, expected.low, expected.high))


def test_medians_of_pairs_end_before_a_short_one_and_count_the_same_blocks():
    pairs = [exact_pairs(ratio, slow_drift(count)) for ratio, count in ((1.1, 8), (1.2, 6), (1.3, 5), (1.4, 6))]
    pairs[0][0][6:] = exact_pairs(9.0, slow_drift(2))[0]
    sides = [[Samples(tuple(pair[side])) for pair in pairs] for side in (0, 1)]
    assert pair_medians(RegressionQuestion(), sides) == pytest.approx((math.log(1.1), math.log(1.2)))
    assert pair_medians(RegressionQuestion(), [side[2:] for side in sides]) == ()
