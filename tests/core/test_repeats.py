"""Test the estimates of times that occur once in a process."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_trt.core.distributions import t_quantile
from pytest_trt.core.repeats import ASSUMED_SPREAD, MOST_VALUES, estimate_repeats


@pytest.mark.parametrize(
    ("figure", "factor"),
    [
        ("build_s", 1.5),
        ("load_s", 2.0),
        ("first_ms", 2.0),
        ("energy_mj", math.exp(0.02)),
        ("power_w", math.exp(0.02)),
        ("net_energy_mj", math.exp(0.06)),
    ],
)
def test_single_value_has_the_assumed_interval(figure, factor):
    found = estimate_repeats(figure, [3.0])
    assert (found.value, found.samples) == (pytest.approx(3.0), 1)
    assert (found.low, found.high) == pytest.approx((3.0 / factor, 3.0 * factor))


def test_each_number_of_values_has_its_share_of_the_error():
    """The assumed variance counts as 8 values. The values 1 and 4 lie a factor of 2 from their mean."""
    assert len(ASSUMED_SPREAD) == 6
    found = estimate_repeats("load_s", [1.0, 4.0])
    prior = math.log(2) / t_quantile(0.001 / 12, 8)
    pooled = (8 * prior**2 + 2 * math.log(2) ** 2) / (8 + 1)
    margin = t_quantile(0.001 / 12, 9) * math.sqrt(pooled / 2)
    assert (found.value, found.low, found.high) == pytest.approx((2, 2 * math.exp(-margin), 2 * math.exp(margin)))


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
