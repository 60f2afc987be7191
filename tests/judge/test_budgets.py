"""Test which budgets match a device, how they are judged, and when their sampling stops."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from pytest_trt.core import drift, noise_levels
from pytest_trt.core.noise_levels import MIN_PERCENTILE_S
from pytest_trt.core.records import Block, Estimate, Samples
from pytest_trt.judge.budgets import LimitRule, judge, matching_limits, names_device
from pytest_trt.measure.sampler import Limits, sample
from pytest_trt.spec.expectations import Budget

H200 = {"device": "NVIDIA H200", "kind": "gpu"}


@pytest.mark.parametrize(
    ("words", "device", "matches"),
    [
        ("L4", "NVIDIA L4", True),
        ("L4", "NVIDIA L40S", False),
        ("H200", "NVIDIA H200", True),
        ("H200", "NVIDIA GH200 480GB", False),
        ("h200", "NVIDIA H200", True),
        ("H200 NVIDIA", "NVIDIA H200", True),
        ("RTX 4090", "NVIDIA GeForce RTX 4090", True),
        ("RTX 4090", "NVIDIA GeForce RTX 4080", False),
        ("A100", "NVIDIA A100-SXM4-80GB", True),
        ("gpu", "NVIDIA H200", True),
        ("cpu", "NVIDIA H200", False),
    ],
)
def test_budget_names_whole_words_of_a_device(words, device, matches):
    assert bool(matching_limits([Budget(device=words, limits={"ms": 1.0})], device=device, kind="gpu")) is matches
    assert names_device(words, device, "gpu") is matches


def test_cpu_has_its_own_budgets():
    budgets = [Budget(limits={"ms": 1.0}), Budget(device="cpu", limits={"ms": 80.0})]
    assert matching_limits(budgets, device="AMD EPYC 7B12", kind="cpu") == {"ms": 80.0}
    assert matching_limits(budgets[:1], device="AMD EPYC 7B12", kind="cpu") == {}


def test_mig_slice_matches_only_if_it_is_named():
    card, part = Budget(device="H200", limits={"ms": 1.0}), Budget(device="H200 1g.18gb", limits={"ms": 5.0})
    assert matching_limits([card, part], **H200, mig_profile="1g.18gb") == {"ms": 5.0}
    assert matching_limits([card], **H200, mig_profile="1g.18gb") == {}
    assert matching_limits([card, part], **H200) == {"ms": 1.0}
    assert matching_limits([Budget(limits={"ms": 9.0})], **H200, mig_profile="1g.18gb") == {"ms": 9.0}
    assert names_device("1g.18gb", **H200, mig_profile="1g.18gb")
    assert not names_device("H200 1g.18gb", **H200, mig_profile="2g.35gb")


def test_most_specific_budget_counts_for_each_figure():
    budgets = [
        Budget(limits={"ms": 10.0, "engine_mb": 50.0}),
        Budget(device="H200", limits={"ms": 2.0}),
        Budget(device="H200", limits={"ms": 1.0}, where={"precision": "fp16"}),
        Budget(device="H200", limits={"ms": 0.5}, where={"precision": "fp16", "batch": 1}),
    ]
    params = {"precision": "fp16", "batch": 8}
    assert matching_limits(budgets, **H200, params=params) == {"ms": 1.0, "engine_mb": 50.0}
    assert matching_limits(budgets, **H200, params={"precision": "fp16", "batch": 1})["ms"] == 0.5
    assert matching_limits(budgets, **H200)["ms"] == 2.0


def test_budget_of_one_word_is_more_specific_than_that_of_a_kind():
    budgets = [Budget(device="H200", limits={"ms": 2.0}), Budget(device="gpu", limits={"ms": 1.0})]
    assert matching_limits(budgets, **H200) == {"ms": 2.0}


def test_tighter_of_equally_specific_limits_counts():
    both = [Budget(limits={"ms": 2.0, "throughput": 10.0}), Budget(limits={"ms": 1.0, "throughput": 20.0})]
    assert matching_limits(both, **H200) == matching_limits(both[::-1], **H200) == {"ms": 1.0, "throughput": 20.0}


def estimate(value, width=0.01):
    return Estimate(value, value - width, value + width, 100)


@pytest.mark.parametrize(
    ("value", "status"),
    [(0.5, "ok"), (0.99, "ok"), (0.995, "inconclusive"), (1.005, "inconclusive"), (1.02, "over_budget")],
)
def test_whole_interval_decides(value, status):
    assert judge("ms", estimate(value), 1.0).status == status


@pytest.mark.parametrize(("low", "high", "status"), [(0.9, 1.0, "ok"), (1.0, 1.1, "inconclusive")])
def test_an_end_at_the_limit_is_within_it(low, high, status):
    assert judge("ms", Estimate((low + high) / 2, low, high, 100), 1.0).status == status
    lower = Estimate(-(low + high) / 2, -high, -low, 100)
    assert judge("throughput", lower, -1.0).status == status


def test_inconclusive_verdict_at_the_limit():
    verdict = judge("ms", estimate(1.0), 1.0)
    assert verdict.text == "latency inconclusive (at the limit): 1 ms, budget 1 ms"
    assert (verdict.basis, verdict.limit) == ("budget", 1.0)


def test_throughput_has_a_lower_limit():
    assert judge("throughput", estimate(90, 1), 100.0).status == "over_budget"
    assert judge("throughput", estimate(120, 1), 100.0).status == "ok"
    assert judge("throughput", estimate(100, 1), 100.0).status == "inconclusive"


def test_verdict_near_the_limit_has_a_warning():
    assert judge("ms", estimate(0.96), 1.0).details == ("at 96 % of its budget",)
    assert judge("throughput", estimate(104, 1), 100.0).details == ("at 96 % of its budget",)
    assert judge("ms", estimate(0.95), 1.0).details == ("at 95 % of its budget",)
    assert judge("ms", estimate(0.94), 1.0).details == ()
    assert judge("ms", estimate(1.92), 2.0).details == ("at 96 % of its budget",)


def test_size_is_judged_exactly():
    assert judge("engine_mb", Estimate.exact(50.0), 50.0).status == "ok"
    assert judge("engine_mb", Estimate.exact(50.1), 50.0).status == "over_budget"


def test_figure_with_too_few_samples_shows_the_missing_time():
    verdict = judge("p99_ms", Estimate(1.0, 0.9, 1.1, 100, needs_s=2.5), 5.0)
    assert verdict.status == "inconclusive"
    assert "needs 2.5 s more" in verdict.text
    assert judge("p99_ms", Estimate(1.0, 0.9, 1.1, 100, needs_s=0.1), 5.0).status == "inconclusive"


class Source:
    sides = 1

    def __init__(
        self, level, *, noise=0.001, samples=50, levels=("block",), wander=0.0, probe_noise=0.0, seed=0, reasons=0.0
    ):
        self.level, self.noise, self.samples, self.levels = level, noise, samples, levels
        self.wander, self.probe_noise = wander, probe_noise
        self.generator = np.random.default_rng(seed)
        self.renewed, self.probe, self.state = 0, 1.0, {"reasons": reasons}

    def next_block(self, side, *, kept=True):
        level = self.level * self.probe * self.generator.normal(1, self.wander)
        times = (level * self.generator.normal(1, self.noise, self.samples)).tolist()
        return Block({"ms": tuple(times)}, 0.02, self.state)

    def renew(self):
        self.renewed += 1
        self.probe = self.generator.normal(1, self.probe_noise)


LIMITS = Limits(min_time_s=0.0, max_time_s=5.0)


def test_sampling_stops_when_the_budgets_are_decided():
    sampling = sample(Source(1.0), LimitRule({"ms": 2.0}), LIMITS)
    assert (sampling.stop_reason, sampling.blocks) == ("budgets decided", 6)


def test_sampling_continues_for_a_percentile():
    sampling = sample(Source(1.0), LimitRule({"ms": 2.0, "p99_ms": 2.0}), LIMITS)
    assert sampling.finished
    assert sampling.seconds == pytest.approx(MIN_PERCENTILE_S, abs=0.05)


def test_percentile_beyond_its_limit_is_decided_early():
    sampling = sample(Source(1.0), LimitRule({"p95_ms": 0.5}), LIMITS)
    assert sampling.finished
    assert sampling.seconds < 0.5


def test_short_sampling_of_a_percentile_is_not_ok():
    samples = sample(Source(1.0), LimitRule({"p99_ms": 2.0}), Limits(max_time_s=3.0)).sides[0]
    verdict = judge("p99_ms", noise_levels.estimate("p99_ms", samples), 2.0, samples)
    assert verdict.status == "inconclusive"
    assert "needs 1.8 s more" in verdict.text


def test_percentile_says_which_spells_it_may_have_missed():
    samples = sample(Source(1.0), LimitRule({"p99_ms": 2.0}), LIMITS).sides[0]
    verdict = judge("p99_ms", noise_levels.estimate("p99_ms", samples), 2.0, samples)
    assert verdict.status == "ok"
    assert verdict.details == ("spells of slow samples more than 1 s apart may have been missed",)


def test_nothing_is_decided_in_the_first_second_at_the_power_cap():
    capped = sample(Source(1.0, reasons=4.0), LimitRule({"ms": 2.0}), LIMITS)
    assert capped.finished
    assert capped.seconds == pytest.approx(1.0, abs=0.03)
    early = sample(Source(1.0, reasons=4.0), LimitRule({"ms": 2.0}), Limits(max_time_s=0.5)).sides[0]
    assert judge("ms", noise_levels.estimate("ms", early), 2.0, early).status == "inconclusive"


@pytest.mark.parametrize(("limit", "status"), [(0.998, "ok"), (1.002, "over_budget")])
def test_budget_that_a_drift_would_exceed_is_not_decided(limit, status):
    """Without the drift, the first blocks decide the budget on the wrong side of the final latency, 1."""
    levels = [1 + math.copysign(0.03, limit - 1) * math.exp(-n / 50) for n in range(24)]
    blocks = tuple(Block({"ms": (level, level * 1.0001, level * 0.9999)}, 0.02) for level in levels)
    estimate = noise_levels.estimate("ms", [Samples(blocks)])
    assert judge("ms", estimate, limit).status == status
    assert judge("ms", estimate, limit, [Samples(blocks)]).status == "inconclusive"


def test_throughput_of_queries_in_turn_drifts_with_the_latency():
    """A latency that rises may rise further, so that the throughput may fall further."""
    blocks = tuple(quiet(2.0 * 1.0002**number, number=number, noise=0.001) for number in range(32))
    estimate, samples = noise_levels.estimate("ms", [Samples(blocks)]), [Samples(blocks)]
    below, above = drift.margins([[math.log(float(np.median(block.times["ms"]))) for block in blocks]], 0.02)
    assert above > 1.1 * below
    high = estimate.value * math.exp(math.hypot(math.log(estimate.high / estimate.value), above))
    low = estimate.value * math.exp(-math.hypot(math.log(estimate.value / estimate.low), below))
    limits = (high * 1.0001, high * 0.9999, low * 1.0001, low * 0.9999)
    found = [judge("throughput", estimate.inverse(8000), 8000 / limit, samples).status for limit in limits]
    assert found == ["ok", "inconclusive", "inconclusive", "over_budget"]
    overlapped = [Samples(tuple(Block({**one.times, "gpu_ms": (1.0,)}, 0.02) for one in blocks))]  # it has windows
    assert judge("throughput", estimate.inverse(8000), 8000 / (high * 0.9999), overlapped).status == "ok"


@pytest.mark.parametrize(("least", "batch", "blocks"), [(600.0, 1, 6), (1990.0, 2, 20), (1000.0, 1, 0), (2000.0, 2, 0)])
def test_throughput_of_queries_in_turn_is_sampled_until_it_is_decided(least, batch, blocks):
    """Its true value is 1000 a second for each inference in a query."""
    rule = LimitRule({"throughput": least}, spread=0.0, **({"batch": batch} if batch > 1 else {}))
    sampling = sample(Source(1.0, noise=0.0001), rule, Limits(min_time_s=0.0, max_time_s=2.0))
    assert sampling.finished == bool(blocks)
    assert sampling.blocks >= blocks


def test_sampling_at_the_limit_continues_to_the_time_limit():
    assert not sample(Source(1.0), LimitRule({"ms": 1.0}, spread=0.0), LIMITS).finished


def test_probes_are_renewed_if_only_their_spread_matters():
    source = Source(0.9985, levels=("block", "probe"), noise=0.0001)
    sampling = sample(source, LimitRule({"ms": 1.0}, spread=0.002), LIMITS)
    assert sampling.finished
    assert source.renewed >= 1
    assert all(len(samples.blocks) >= 6 for samples in sampling.sides[0][:-1])


@pytest.mark.parametrize("seed", [0, 4])
def test_later_probes_do_not_use_up_the_time(seed):
    """A median weights probes equally. In an earlier version, the third probe used up the time limit."""
    noise = {"noise": 0.01, "wander": 0.003, "probe_noise": 0.002}
    source = Source(0.97, levels=("block", "probe"), samples=20, seed=seed, **noise)
    sampling = sample(source, LimitRule({"ms": 1.0}, spread=0.03), LIMITS)
    first, *later = (len(samples.blocks) for samples in sampling.sides[0])
    assert sampling.stop_reason == "budgets decided"
    assert max(later) <= 2 * first  # more blocks of the last probe exclude a drift


def test_each_fresh_probe_is_judged():
    source = Source(0.985, levels=("block", "probe"), noise=0.0001)
    rule = LimitRule({"ms": 1.0}, spread=0.04)
    sampling = sample(source, rule, LIMITS)
    assert (sampling.stop_reason, len(sampling.sides[0][-1].blocks)) == ("budgets decided", 6)


def test_rule_ignores_figures_that_blocks_lack():
    """A CPU has no `gpu_ms`, which was a KeyError in an earlier version."""
    sampling = sample(Source(1.0), LimitRule({"ms": 2.0, "gpu_ms": 2.0}), LIMITS)
    assert (sampling.stop_reason, sampling.blocks) == ("budgets decided", 6)


def test_time_of_one_build_is_judged_with_the_assumed_spread():
    verdicts = [judge("build_s", Estimate.exact(seconds), 100.0) for seconds in (60.0, 95.0, 120.0, 160.0)]
    assert [verdict.status for verdict in verdicts] == ["ok", "inconclusive", "inconclusive", "over_budget"]
    assert verdicts[0].details == ("from 1 build",)


def test_loading_says_from_how_many_processes():
    assert judge("load_s", Estimate.exact(0.4), 1.0).details == ("from 1 process",)
    assert judge("load_s", Estimate(0.4, 0.3, 0.5, 6), 1.0).details == ("from 6 processes",)


def quiet(level=1.0, *, seconds=0.02, samples=50, number=0, noise=0.0):
    """Return a block of known median; no two of its samples are equal, so that the timer has no step."""
    level *= np.exp(noise * (1, -1, -1, 1)[number % 4])
    return Block({"ms": tuple((level * (1 + 1e-5 * np.arange(samples) + 2e-6 * number)).tolist())}, seconds)


def rule_after(limits, blocks, **arguments):
    """Return the rule after some blocks of each probe."""
    rule = LimitRule(limits, **arguments)
    for probe, count in enumerate(blocks):
        for number in range(count):
            rule.add(0, probe, quiet(number=number + 100 * probe, noise=0.01))
    return rule


@pytest.mark.parametrize(("limit", "reason"), [(1.0024, "budgets decided"), (1.0017, "")])
def test_interval_of_one_probe_contains_the_spread(limit, reason):
    rule = LimitRule({"ms": limit})  # 0.2 % by default
    for number in range(40):
        assert number > 5 or (rule.finished(), rule.wants_probe()) == ("", False)
        rule.add(1, 0, quiet(9.0))
        rule.add(0, 0, quiet(number=(2, 5, 0, 4, 1, 3)[number % 6], samples=1))  # no drift
    assert rule.finished() == reason
    assert rule.wants_probe() is (not reason)


def test_percentile_is_decided_at_the_block_that_completes_its_least_time():
    rule = LimitRule({"p95_ms": 2.0}, spread=0.0)
    for number in range(7):  # no look is at 7 blocks
        assert rule.finished() == ""
        rule.add(0, 0, quiet(number=number, seconds=(MIN_PERCENTILE_S - 1.0) / 6 if number < 6 else 1.0))
    assert rule.finished() == "budgets decided"


@pytest.mark.parametrize(
    ("blocks", "wants"), [((8,), False), ((8, 6), False), ((8, 8), True), ((8, 8, 6), False), ((8, 6, 6), True)]
)
def test_fresh_probe_is_requested_once_the_last_one_has_caught_up(blocks, wants):
    assert rule_after({"ms": 1.0}, blocks, spread=0.001).wants_probe() is wants


def test_percentile_continues_on_the_probe_that_has_caught_up():
    limit = float(np.exp(0.01) * 1.00048)  # about the 95th percentile
    assert rule_after({"p95_ms": limit}, (8, 8), spread=0.001).finished() == ""
    assert not rule_after({"p95_ms": limit}, (8, 8), spread=0.001).wants_probe()


def test_rule_forgets_an_earlier_sampling():
    rule = rule_after({"ms": 2.0}, (8,))
    assert rule.finished() == "budgets decided"
    rule.start(1)
    assert (rule.finished(), rule.wants_probe()) == ("", False)


def test_drift_widens_an_interval_around_its_value():
    """The margin of the scatter and that of the drift add by their squares, on either side."""
    blocks = tuple(quiet(2.0, number=number, noise=0.001) for number in range(8))
    estimate = noise_levels.estimate("ms", [Samples(blocks)], 0.002)
    units = [math.log(float(np.median(block.times["ms"]))) for block in blocks]
    below, above = drift.margins([units], 0.02)
    low = estimate.value * math.exp(-math.hypot(math.log(estimate.value / estimate.low), below))
    high = estimate.value * math.exp(math.hypot(math.log(estimate.high / estimate.value), above))
    assert low < estimate.low < estimate.high < high
    limits = (high * 1.0001, high * 0.9999, low * 1.0001, low * 0.9999)
    found = [judge("ms", estimate, limit, [Samples(blocks)]).status for limit in limits]
    assert found == ["ok", "inconclusive", "inconclusive", "over_budget"]


@pytest.mark.parametrize(("count", "capped"), [(4, False), (5, False), (6, True)])
def test_drift_is_that_of_the_power_cap_if_most_blocks_were_at_it(count, capped):
    blocks = tuple(
        dataclasses.replace(quiet(2.0, number=n, noise=0.001, seconds=0.2), state={"reasons": 4.0 * (n < count)})
        for n in range(10)
    )
    estimate = noise_levels.estimate("ms", [Samples(blocks)], 0.002)
    units = [math.log(float(np.median(block.times["ms"]))) for block in blocks]
    above = drift.margins([units], 0.2, capped=capped)[1]
    high = estimate.value * math.exp(math.hypot(math.log(estimate.high / estimate.value), above))
    found = [judge("ms", estimate, limit, [Samples(blocks)]).status for limit in (high * 1.0001, high * 0.9999)]
    assert found == ["ok", "inconclusive"]


def test_copy_that_did_not_happen_has_no_drift():
    samples = [Samples(tuple(Block({"ms": (1.0,), "h2d_ms": (0.0,)}, 0.02) for _ in range(8)))]
    assert judge("h2d_ms", noise_levels.estimate("h2d_ms", samples), 1.0, samples).status == "ok"


def test_fresh_probe_does_not_exclude_a_drift():
    """Both probes drift, and only that leaves the limit undecided."""
    probes = [Samples(tuple(quiet(1 + 1e-3 * n, number=n + 100 * p) for n in range(8))) for p in range(2)]
    estimate = noise_levels.estimate("ms", probes, 0.001)
    limit = estimate.high * 1.0005
    assert judge("ms", estimate, limit).status == "ok"
    assert judge("ms", estimate, limit, probes).status == "inconclusive"
    rule = LimitRule({"ms": limit}, spread=0.001)
    for number, probe in enumerate(probes):
        for block in probe.blocks:
            rule.add(0, number, block)
    assert (rule.finished(), rule.wants_probe()) == ("", False)


def test_one_block_can_be_judged():
    samples = [Samples((quiet(),))]
    assert judge("ms", noise_levels.estimate("ms", samples), 2.0, samples).status == "inconclusive"
