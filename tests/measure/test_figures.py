"""Test the figures of the passes after the samples."""

from __future__ import annotations

import itertools

import pytest

from pytest_trt.core import stats
from pytest_trt.core.records import Block, Estimate
from pytest_trt.measure import figures

IN_TURN = {"ms": Estimate(2.0, 1.9, 2.1, 100)}
OVERLAPPED = {**IN_TURN, "gpu_ms": Estimate.exact(1.0)}


class Pipeline:
    """Stands for a probe: its throughput alternates about 100 queries a second."""

    def __init__(self):
        self.windows, self._rates = 0, itertools.cycle([100.0, 101.0, 99.5, 100.5, 99.0])

    def throughput(self, seconds):
        self.windows += 1
        return next(self._rates)


class Rule:
    def __init__(self, after, wants_after=1000):
        self.after, self.wants_after, self.blocks = after, wants_after, []

    def add(self, side, probe, block):
        self.blocks.append(block)

    def finished(self):
        return "enough" if len(self.blocks) >= self.after else ""

    def wants_probe(self):
        return len(self.blocks) >= self.wants_after


def test_throughput_has_the_spread_between_probes():
    alone, _ = figures.throughput(Pipeline(), OVERLAPPED, batch=8, spread=0.0)
    spread, _ = figures.throughput(Pipeline(), OVERLAPPED, batch=8, spread=0.05)
    assert alone.value == spread.value == pytest.approx(800, rel=0.01)
    assert spread.high / alone.high == pytest.approx(1.0513, rel=0.001)
    assert spread.low < alone.low


def test_judged_throughput_is_measured_until_it_is_decided():
    probe, rule = Pipeline(), Rule(after=20)
    _, (samples,) = figures.throughput(
        probe, OVERLAPPED, batch=8, spread=0.0, rule=rule, state=lambda: {"reasons": 4.0}
    )
    assert probe.windows == 20
    assert list(samples.blocks) == rule.blocks
    assert rule.blocks[0].state == {"reasons": 4.0}


@pytest.mark.parametrize(("rule", "most_s"), [(Rule(1000, wants_after=10), 10.0), (Rule(1000), 0.1)])
def test_throughput_ends_where_more_windows_do_not_help(rule, most_s):
    probe = Pipeline()
    figures.throughput(probe, OVERLAPPED, batch=8, spread=0.0, rule=rule, max_time_s=most_s)
    assert probe.windows == 10


def test_throughput_without_a_budget_has_a_few_windows():
    probe = Pipeline()
    figures.throughput(probe, OVERLAPPED, batch=8, spread=0.0)
    assert probe.windows == stats.LOOKS[0]


def test_queries_in_turn_have_the_throughput_of_the_latency():
    found, windows = figures.throughput(Pipeline(), IN_TURN, batch=8, spread=0.0)
    assert (found.value, found.low, found.high) == pytest.approx((4000, 8000 / 2.1, 8000 / 1.9))
    assert windows == ()


def test_throughput_has_too_few_samples_if_the_latency_has():
    early = {"ms": Estimate(2000.0, 1990.0, 2010.0, 3, needs_s=6.0)}
    assert figures.throughput(Pipeline(), early, batch=1, spread=0.0)[0].needs_s == 6.0


def test_openings_have_an_interval_only_if_there_are_several():
    opening = Block({"load_s": (0.5,), "first_ms": (20.0,)}, 0.52)
    assert figures.from_openings([opening])["load_s"] == Estimate.exact(0.5)
    several = figures.from_openings([opening] * 4)["first_ms"]
    assert several.low < 20 < several.high
    assert several.samples == 4
