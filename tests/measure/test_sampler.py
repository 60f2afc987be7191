"""Test how blocks are sampled: order, time limits, probes and warm-up."""

from __future__ import annotations

import itertools

import pytest

from pytest_trt.core.records import Block
from pytest_trt.measure.sampler import Limits, sample, side_order


class Source:
    """A source of blocks of 10 ms, whose times are the numbers of `series`, one block each."""

    def __init__(self, sides=1, levels=("block",), series=None, seconds=0.01):
        self.sides, self.levels, self.seconds = sides, levels, seconds
        self.series = iter(series or itertools.repeat(1.0))
        self.block_sides, self.renewed, self.kept = [], [], []

    def next_block(self, side, *, kept=True):
        self.block_sides.append(side)
        self.kept.append(kept)
        return Block({"ms": (next(self.series),)}, self.seconds)

    def renew(self):
        self.renewed.append(len(self.block_sides))


class Rule:
    def __init__(self, after=0, probes=0):
        self.after, self.probes = after, probes
        self.seen, self.started = [], 0

    def start(self, sides):
        self.started = sides

    def add(self, side, probe, block):
        self.seen.append((side, probe, block.times["ms"][0]))

    def finished(self):
        return "enough" if len(self.seen) >= self.after else ""

    def wants_probe(self):
        return self.probes > max(probe for _, probe, _ in self.seen) and len(self.seen) % 8 == 0


def test_sides_take_turns_in_an_order_that_cancels_drift():
    source = Source(sides=2)
    sample(source, Rule(after=16), Limits(min_time_s=0.0))
    assert source.block_sides == [0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0]
    positions = [
        [position for position, side in enumerate(source.block_sides[:8]) if side == which] for which in (0, 1)
    ]
    assert sum(positions[0]) == sum(positions[1])
    assert sum(p**2 for p in positions[0]) == sum(p**2 for p in positions[1])
    assert side_order(3, 1) == (0,)


def test_sampling_stops_when_the_rule_has_finished():
    rule = Rule(after=5)
    sampling = sample(Source(), rule, Limits(min_time_s=0.0))
    assert (sampling.stop_reason, sampling.finished, sampling.blocks) == ("enough", True, 5)
    assert (sampling.seconds, rule.started) == (pytest.approx(0.05), 1)


def test_sampling_lasts_at_least_the_minimum_time():
    assert sample(Source(), Rule(after=1), Limits(min_time_s=0.095)).blocks == 10


def test_sampling_stops_at_the_maximum_time():
    sampling = sample(Source(), Rule(after=1000), Limits(max_time_s=0.195))
    assert (sampling.finished, sampling.stop_reason, sampling.blocks) == (False, "time limit of 0.195 s", 20)


def test_sides_have_equally_many_blocks_at_the_time_limit():
    sampling = sample(Source(sides=2), Rule(after=1000), Limits(max_time_s=0.145))
    assert [len(side[0].blocks) for side in sampling.sides] == [8, 8]


def test_renewal_replaces_the_probes_of_both_sides():
    source, rule = Source(sides=2, levels=("block", "probe")), Rule(after=24, probes=2)
    sampling = sample(source, rule, Limits(min_time_s=0.0))
    assert source.renewed == [8, 16]
    assert [[(s.probe, len(s.blocks)) for s in side] for side in sampling.sides] == [[(0, 4), (1, 4), (2, 4)]] * 2
    assert {probe for _, probe, _ in rule.seen} == {0, 1, 2}


def test_probe_limit_does_not_stop_before_the_minimum_time():
    source = Source(levels=("block", "probe"))
    sampling = sample(source, Rule(after=800, probes=9), Limits(min_time_s=0.395, probes=3))
    assert (len(source.renewed), sampling.stop_reason, sampling.blocks) == (2, "limit of 3 probes a side", 40)


def test_sampling_stops_at_the_probe_limit():
    source = Source(levels=("block", "probe"))
    sampling = sample(source, Rule(after=80, probes=9), Limits(min_time_s=0.0, probes=3))
    assert len(source.renewed) == 2
    assert (sampling.stop_reason, sampling.finished, sampling.blocks) == ("limit of 3 probes a side", False, 24)
    assert [Limits(max_time_s=seconds).most_probes for seconds in (1.0, 10.0, 60.0)] == [6, 6, 30]


def test_single_probe_samples_until_the_time_limit():
    source = Source(levels=("block", "probe"))
    sampling = sample(source, Rule(after=80, probes=9), Limits(min_time_s=0.0, max_time_s=0.395, probes=1))
    assert (sampling.stop_reason, sampling.blocks) == ("time limit of 0.395 s", 40)


def test_source_without_the_probe_level_is_never_renewed():
    source = Source()
    sample(source, Rule(after=24, probes=2), Limits(min_time_s=0.0))
    assert source.renewed == []


def test_warm_up_is_excluded_and_recorded():
    falling = [2.0 - 0.1 * n for n in range(10)]
    source, rule = Source(series=itertools.chain(falling, itertools.repeat(1.0))), Rule(after=3)
    sampling = sample(source, rule, Limits(min_time_s=0.0, warm_up_s=1.0))
    assert {value for _, _, value in rule.seen} == {1.0}
    assert sampling.steady
    assert sampling.warm_up_s >= 0.1
    assert sampling.seconds == pytest.approx(0.03)


def test_endless_warm_up_is_cut_short():
    source = Source(series=itertools.count(1.0))
    sampling = sample(source, Rule(after=1), Limits(min_time_s=0.0, warm_up_s=0.2))
    assert not sampling.steady
    assert sampling.warm_up_s == pytest.approx(0.2)


def test_fresh_probe_is_warmed_up_too():
    source = Source(levels=("block", "probe"))
    sampling = sample(source, Rule(after=16, probes=1), Limits(min_time_s=0.0, warm_up_s=1.0))
    assert len(source.block_sides) == 16 + 2 * 8
    assert sampling.warm_up_s == pytest.approx(0.08)


def test_slow_drift_of_a_single_side_continues_the_sampling():
    source = Source(series=(1.0 + 0.00002 * n + 0.0001 * (n % 3) for n in itertools.count()))
    sampling = sample(source, Rule(after=24), Limits(min_time_s=0.0, max_time_s=2.0, warm_up_s=1.0))
    assert sampling.warm_up_s == pytest.approx(0.08)
    assert not sampling.finished
    in_turn = Source(sides=2, series=(1.0 + 0.00001 * n for n in itertools.count()))
    assert sample(in_turn, Rule(after=1), Limits(min_time_s=0.0, max_time_s=2.0)).finished


def test_warm_up_of_a_single_side_reads_the_state_at_its_looks():
    source = Source()
    sample(source, Rule(after=1), Limits(min_time_s=0.0, warm_up_s=1.0))
    assert source.kept[:8] == [False] * 5 + [True, False, True]
