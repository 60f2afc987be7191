"""Test when enough processes have loaded an engine."""

from __future__ import annotations

from pytest_trt.core.records import Block
from pytest_trt.core.repeats import MOST_VALUES
from pytest_trt.judge.repeats import RepeatsRule


def openings_needed(rule, values):
    rule.start(1)
    for count, value in enumerate(values, 1):
        rule.add(0, count - 1, Block({"load_s": (value,), "first_ms": (1.0,)}, 0.1))
        if rule.finished():
            return count
    return None


def test_one_opening_is_enough_far_from_the_limit():
    assert openings_needed(RepeatsRule({"load_s": 1.0}), [0.4]) == 1
    assert openings_needed(RepeatsRule({"load_s": 1.0}), [2.1] * 3) == 3


def test_a_single_slow_opening_does_not_exceed_a_budget():
    """Its file was not in the page cache."""
    assert openings_needed(RepeatsRule({"load_s": 1.0}), [2.1, 0.7, 0.7, 0.7] * 3) == MOST_VALUES
    assert openings_needed(RepeatsRule({"load_s": 1.0}), [2.1, 2.1]) is None


def test_openings_near_the_limit_are_repeated():
    assert 2 < openings_needed(RepeatsRule({"load_s": 1.0}), [0.7, 0.71, 0.69] * 4) < MOST_VALUES


def test_openings_at_the_limit_end():
    rule = RepeatsRule({"load_s": 1.0, "first_ms": 10.0})
    assert openings_needed(rule, [1.0] * 20) == MOST_VALUES
    assert rule.finished() == "12 values"
    assert not rule.wants_probe()


def test_other_budgets_are_ignored():
    assert openings_needed(RepeatsRule({"ms": 1.0, "load_s": 1.0}), [0.1]) == 1
