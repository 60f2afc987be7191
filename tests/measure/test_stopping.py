"""Test the rules that end the sampling, and the end of the warm-up."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pytest_trt.core.records import Block
from pytest_trt.measure.stopping import AllOf, FixedTime, Resolution, Steady


def feed(rule, medians, side=0, seconds=0.01):
    for value in medians:
        rule.add(side, 0, Block({"ms": (value,)}, seconds))


def test_resolution_stops_at_the_half_width():
    rule = Resolution("ms", 0.005)
    noise = np.random.default_rng(0).normal(1.0, 0.004, size=512)
    feed(rule, noise[:6])
    assert rule.finished() == ""
    feed(rule, noise[6:])
    assert rule.finished() == "resolution of 0.5 %"
    assert rule.half_width <= 0.005


def test_resolution_stops_at_the_timers_step():
    rule, late = Resolution("ms", 0.005), np.random.default_rng(0).random(64) < 0.5
    for tick in late:
        rule.add(0, 0, Block({"ms": (0.0100, 0.0102 if tick else 0.0100, 0.0102)}, 0.01))
    assert rule.half_width > 0.005
    assert rule.finished() == "the timer's step, 2 %"
    rule.start(1)
    feed(rule, [1.0] * 6)
    assert rule.finished() == "every sample is the same"


def test_resolution_uses_only_side_0_and_can_restart():
    rule = Resolution("ms", 0.005)
    feed(rule, [1.0] * 12, side=1)
    assert not rule.finished()
    feed(rule, [1.0] * 6)
    assert rule.finished()
    rule.start(1)
    assert not rule.finished()


class Scripted:
    def __init__(self, finished, wants=False):
        self.reason, self.wants = finished, wants
        self.calls = []

    def start(self, sides):
        self.calls.append("start")

    def add(self, side, probe, block):
        self.calls.append("add")

    def finished(self):
        return self.reason

    def wants_probe(self):
        return self.wants


def test_all_of_waits_for_every_rule_and_names_each_reason_once():
    assert AllOf([Scripted("a"), Scripted("")]).finished() == ""
    assert AllOf([Scripted("a"), Scripted("b"), Scripted("a")]).finished() == "a; b"
    parts = [Scripted("a"), Scripted("b")]
    rule = AllOf(parts)
    rule.start(1)
    feed(rule, [1.0])
    assert [part.calls for part in parts] == [["start", "add"]] * 2


def test_probe_is_requested_only_if_every_unfinished_rule_requests_one():
    assert AllOf([Scripted("done"), Scripted("", wants=True)]).wants_probe()
    assert not AllOf([Scripted("", wants=False), Scripted("", wants=True)]).wants_probe()
    assert not AllOf([Scripted("done", wants=True)]).wants_probe()


def test_fixed_time_counts_the_seconds_of_blocks():
    rule = FixedTime(0.025)
    feed(rule, [1.0, 1.0])
    assert rule.finished() == ""
    feed(rule, [1.0])
    assert rule.finished() == "0.025 s of blocks"


def steady_after(medians):
    steady = Steady()
    for count, value in enumerate(medians, 1):
        steady.add((value,))
        if steady.is_steady():
            return count
    return None


def test_steady_needs_a_whole_window():
    assert steady_after([1.0] * 20) == Steady.WINDOW


@pytest.mark.parametrize("slope", [-0.01, 0.01])
def test_trend_is_not_steady(slope):
    assert steady_after([1.0 + slope * n for n in range(50)]) is None


def test_series_is_steady_after_a_ramp():
    count = steady_after([2.0 - 0.05 * n for n in range(15)] + [1.3] * 20)
    assert 15 < count <= 15 + Steady.WINDOW


def test_noise_without_a_trend_is_steady_soon():
    generator = np.random.default_rng(0)
    counts = [steady_after(generator.normal(1.0, 0.01, size=40).tolist()) for _ in range(200)]
    assert np.mean(counts) < Steady.WINDOW + 1


def test_chance_of_a_trend_is_the_documented_one():
    """The Mann-Kendall score of 8 values reaches CHANCE in 6 % of all their orders."""
    reached = total = 0
    for order in itertools.islice(itertools.permutations(range(8)), 0, None, 7):
        score = sum((b > a) - (b < a) for a, b in itertools.combinations(order, 2))
        reached += abs(score) >= Steady.CHANCE
        total += 1
    assert 0.055 < reached / total < 0.068


def rising(score):
    """Return 8 values whose count of rising over falling pairs is `score`, and whose halves differ by far."""
    for order in itertools.permutations(range(8)):
        if sum((b > a) - (b < a) for a, b in itertools.combinations(order, 2)) == score:
            return [1.0 + 0.1 * value for value in order]
    raise AssertionError(score)


@pytest.mark.parametrize(("score", "steady"), [(14, True), (16, False), (-14, True), (-16, False)])
def test_a_trend_begins_at_the_documented_count(score, steady):
    assert (steady_after(rising(score)) is not None) is steady


@pytest.mark.parametrize(("share", "steady"), [(0.00049, True), (0.00051, False), (-0.00049, True), (-0.00051, False)])
def test_a_trend_below_the_documented_difference_does_not_matter(share, steady):
    """The values rise or fall throughout; the medians of the halves differ by `share`."""
    step = share / 4
    assert (steady_after([math.exp(step * n) for n in range(8)]) is not None) is steady


def test_only_the_last_window_counts():
    assert Steady.WINDOW == 8
    assert steady_after([1.0 + 0.1 * n for n in range(12)] + [2.1] * 7) == 17
