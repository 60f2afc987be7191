"""Test the estimates of times that occur once in a process."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_trt.core.repeats import ASSUMED_SPREAD, MOST_VALUES, estimate_repeats


@pytest.mark.parametrize("figure", ASSUMED_SPREAD)
def test_single_value_has_the_assumed_interval(figure):
    found = estimate_repeats(figure, [3.0])
    assert (found.value, found.samples) == (pytest.approx(3.0), 1)
    assert math.log(found.high / 3.0) == pytest.approx(ASSUMED_SPREAD[figure])
    assert math.log(3.0 / found.low) == pytest.approx(ASSUMED_SPREAD[figure])


def test_more_values_narrow_the_interval_and_their_scatter_widens_it():
    one, calm = estimate_repeats("load_s", [1.0]), estimate_repeats("load_s", [1.0] * 6)
    wild = estimate_repeats("load_s", [0.5, 2.0] * 3)
    assert calm.high < one.high
    assert wild.high > calm.high


def test_interval_rarely_misses_the_median_after_any_number_of_values():
    generator = np.random.default_rng(0)
    missed = 0
    for _ in range(300):
        values = np.exp(generator.normal(0, 0.1, MOST_VALUES)).tolist()
        found = [estimate_repeats("load_s", values[:count]) for count in range(1, MOST_VALUES + 1)]
        missed += any(not estimate.low < 1 < estimate.high for estimate in found)
    assert missed <= 1
