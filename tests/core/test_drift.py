"""Test the bounds of a drift."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_trt.core import drift


def units(count=100, *, rise=0.0, scatter=0.001, seed=0):
    generator = np.random.default_rng(seed)
    return (rise * 0.01 * np.arange(count) + generator.normal(0, scatter, count)).tolist()


def test_slope_is_per_second():
    rise, error = drift.slope([units(rise=0.05)], 0.01)
    assert rise == pytest.approx(0.05, abs=3 * error)
    assert 0.0002 < error < 0.001


def test_slope_of_several_probes_ignores_their_levels():
    shifted = [[unit + level for unit in units(rise=0.05, seed=level)] for level in range(4)]
    one, many = drift.slope(shifted[:1], 0.01), drift.slope(shifted, 0.01)
    assert many[0] == pytest.approx(0.05, abs=3 * many[1])
    assert many[1] < 0.7 * one[1]


def test_dependent_units_increase_the_error():
    walk = np.convolve(np.random.default_rng(0).normal(0, 0.001, 119), np.ones(20) / 20, "valid").tolist()
    shuffled = np.random.default_rng(1).permutation(walk).tolist()
    assert drift.slope([walk], 0.01)[1] > 2 * drift.slope([shuffled], 0.01)[1]


def test_too_few_units_have_no_slope():
    assert drift.slope([[1.0] * 5, []], 0.01) == (0.0, math.inf)
    assert drift.margins([[1.0] * 5], 0.01) == (math.inf, math.inf)


def test_margins_lie_in_the_direction_of_the_drift():
    below, above = drift.margins([units(rise=0.05)], 0.01)
    assert below == 0
    assert above == pytest.approx(0.05 * drift.SEEN_S, rel=0.1)
    assert drift.margins([units(rise=-0.05)], 0.01) == pytest.approx((above, 0), rel=0.1)


def test_margins_without_a_drift_shrink_with_time():
    short, long = (max(drift.margins([units(count)], 0.01)) for count in (12, 96))
    assert long < short / 8


def test_drift_that_has_ended_leaves_a_small_margin():
    faded = [unit - 0.03 * math.exp(-n / 20) for n, unit in enumerate(units(768))]
    ending = [unit - 0.03 * math.exp(-n / 2000) for n, unit in enumerate(units(768))]
    assert max(drift.margins([faded], 0.01)) < 0.005
    assert max(drift.margins([ending], 0.01)) > 0.01


def test_power_cap_is_a_bit_of_the_reasons():
    assert drift.is_power_capped({"reasons": 5.0})
    assert not drift.is_power_capped({"reasons": 9.0})
    assert not drift.is_power_capped({})
