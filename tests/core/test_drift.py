"""Test the bounds of a drift."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_trt.core import drift, stats
from pytest_trt.core.distributions import t_quantile


def units(count=100, *, rise=0.0, scatter=0.001, seed=0):
    generator = np.random.default_rng(seed)
    return (rise * 0.01 * np.arange(count) + generator.normal(0, scatter, count)).tolist()


def line(units, seconds):
    """Return the least-squares slope of units, its standard error, and the degrees of freedom, from a design matrix."""
    times = seconds * np.arange(len(units))
    design = np.stack([np.ones(len(units)), times], axis=1)
    found, (residual,), *_ = np.linalg.lstsq(design, np.array(units), rcond=None)
    freedom = len(units) - 2
    return found[1], math.sqrt(residual / freedom * np.linalg.inv(design.T @ design)[1, 1]), freedom


def test_slope_is_that_of_least_squares():
    alternating = [0.001 * n + (-1) ** n * 1e-4 for n in range(24)]  # neighbours are not alike, so no factor applies
    found = drift.slope([alternating], 0.02)
    rise, error, freedom = line(alternating, 0.02)
    assert (found.rise, found.error, found.freedom) == pytest.approx((rise, error, freedom))


def test_slope_of_several_probes_ignores_their_levels():
    """Two probes of the same units have the same slope, half the variance and twice the degrees of freedom."""
    alternating = [0.001 * n + (-1) ** n * 1e-4 for n in range(24)]
    rise, error, freedom = line(alternating, 0.02)
    found = drift.slope([alternating, [unit + 3 for unit in alternating], [1.0, 2.0, 5.0]], 0.02)
    assert (found.rise, found.error) == pytest.approx((rise, error / math.sqrt(2)))
    assert found.freedom == 2 * freedom


def test_slope_of_many_units_is_that_of_their_batches():
    alternating = [0.001 * n + (-1) ** (n // 4) * 1e-4 for n in range(128)]
    means = np.array(alternating).reshape(32, 4).mean(axis=1)
    rise, error, freedom = line(means.tolist(), 4 * 0.02)
    found = drift.slope([alternating], 0.02)
    assert (found.rise, found.error, found.freedom) == pytest.approx((rise, error, freedom))
    assert drift.slope([[*alternating, 9.0]], 0.02) == found  # a unit after the last look


def test_dependent_units_increase_the_error():
    walk = np.convolve(np.random.default_rng(0).normal(0, 0.001, 47), np.ones(20) / 20, "valid")
    rise, error, _ = line(walk.tolist(), 0.01)
    rest = walk - walk.mean() - rise * 0.01 * (np.arange(28) - 13.5)
    assert drift.slope([walk.tolist()], 0.01).error == pytest.approx(stats.dependence(rest, trend=True) * error)
    assert stats.dependence(rest, trend=True) > stats.dependence(rest) > 2


def test_factor_of_several_probes_is_weighted_by_their_degrees_of_freedom():
    walk = np.convolve(np.random.default_rng(0).normal(0, 0.001, 47), np.ones(20) / 20, "valid").tolist()
    short = [(-1) ** n * 0.002 for n in range(12)]
    parts = [line(units, 0.01) for units in (walk, short)]
    one = drift.slope([walk], 0.01).error / parts[0][1]
    squares = [((np.arange(n) - (n - 1) / 2) ** 2).sum() * 1e-4 for n in (28, 12)]
    residual = sum(error**2 * freedom * square for (_, error, freedom), square in zip(parts, squares, strict=True))
    error = (26 * one + 10 * 1.0) / 36 * math.sqrt(residual / 36 / sum(squares))
    assert drift.slope([walk, short], 0.01).error == pytest.approx(error)


def test_too_few_units_have_no_slope():
    assert drift.slope([[1.0] * 5, []], 0.01) == drift.Slope(0.0, math.inf, 0)
    assert drift.margins([[1.0] * 5], 0.01) == (math.inf, math.inf)
    assert math.isfinite(max(drift.margins([[1.0, 1.1] * 8], 0.01)))


def test_upper_end_of_a_slope_is_a_t_interval():
    slope = drift.Slope(0.01, 0.002, 10)
    assert slope.most(1, 0.05) == pytest.approx(0.01 + 1.8125 * 0.002, rel=1e-4)
    assert slope.most(-1, 0.001) == pytest.approx(-0.01 + 4.1437 * 0.002, rel=1e-4)


@pytest.mark.parametrize(("capped", "constant_s", "error"), [(False, 5.0, 0.0001), (True, 2.0, 0.001)])
def test_hidden_drift_goes_on_for_its_time_constant(capped, constant_s, error):
    """The slope is 2 standard errors, so it is not seen. The newer half is too short to show less."""
    scatter = [(-1) ** n * 1e-5 for n in range(8)]
    found = [x + 2 * drift.slope([scatter], 0.1).error * 0.1 * n for n, x in enumerate(scatter)]
    slope = drift.slope([found], 0.1)
    assert 1 < slope.rise / slope.error < drift.SEEN
    below, above = drift.margins([found], 0.1, capped=capped)
    assert below == pytest.approx(constant_s * (-slope.rise + t_quantile(error, 6) * slope.error))
    assert above == pytest.approx(constant_s * (slope.rise + t_quantile(error, 6) * slope.error))


def test_hidden_drift_is_at_most_a_tenth():
    assert drift.margins([[(-1) ** n * 0.01 for n in range(8)]], 0.1) == (0.1, 0.1)


def test_drift_that_is_seen_goes_on_for_longer_and_only_in_its_direction():
    found = [5e-4 * n + (-1) ** n * 1e-4 for n in range(48)]
    above = 30 * drift.slope([found], 0.1).rise
    assert drift.margins([found], 0.1) == pytest.approx((0, above))
    assert drift.margins([[-unit for unit in found]], 0.1) == pytest.approx((above, 0))


def test_gpu_is_watched_for_a_second_at_its_power_cap():
    assert drift.CAPPED_S == 1


@pytest.mark.parametrize(("count", "noise", "constant_s"), [(64, 1e-4, 5.0), (32, 8e-4, 30.0)])
def test_drift_that_has_ended_leaves_what_its_newer_half_may_hide(count, noise, constant_s):
    """The level is that of the newer half. Its slope counts for 30 s if the whole shows a drift, as that of 32 does."""
    ended = [(-1) ** n * noise - 0.01 * max(1 - n / 16, 0) for n in range(count)]
    newer = ended[count // 2 :]
    moved, whole, half = (
        stats.median(newer) - stats.median(ended),
        drift.slope([ended], 0.1),
        drift.slope([newer], 0.1),
    )
    assert (whole.rise > drift.SEEN * whole.error) is (count == 32)
    above = moved + constant_s * half.most(1, 0.0001)
    assert drift.margins([ended], 0.1)[1] == pytest.approx(above)
    assert drift.margins([[], ended], 0.1) == drift.margins([ended], 0.1)
    higher, both = [unit + 1 for unit in ended], drift.slope([newer] * 2, 0.1)
    if count == 64:
        assert drift.margins([higher, ended], 0.1)[1] == pytest.approx(moved + constant_s * both.most(1, 0.0001))


def test_margins_without_a_drift_shrink_with_time():
    short, long = (max(drift.margins([units(count)], 0.05)) for count in (12, 96))
    assert long < short / 8


def test_within_the_first_moments_any_hidden_drift_is_possible():
    quiet = [(-1) ** n * 1e-6 for n in range(64)]
    assert drift.margins([quiet], 0.69 / 64) == (0.1, 0.1)
    assert max(drift.margins([quiet], 0.71 / 64)) < 0.001
    assert drift.margins([quiet[:32], quiet[:32]], 0.69 / 64) == (0.1, 0.1)
    rising = [x + 0.01 * n for n, x in enumerate(quiet)]
    assert drift.margins([rising], 0.69 / 64)[0] == 0.1


def test_power_cap_is_a_bit_of_the_reasons():
    assert drift.is_power_capped({"reasons": 5.0})
    assert not drift.is_power_capped({"reasons": 9.0})
    assert not drift.is_power_capped({})
