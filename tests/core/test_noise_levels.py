"""The noise that probes, runs and builds add to an interval, and the effect of the order of opening."""

import numpy as np
import pytest

from pytest_trt.core import noise_levels
from pytest_trt.core.records import Block, Samples


def test_opening_order_cancels_drift_and_order_effect():
    order = [noise_levels.first_side(turn) for turn in range(8)]
    assert order == [0, 1, 1, 0, 1, 0, 0, 1]


def test_order_effect_widens_one_pair_and_cancels_between_both_orders():
    noise = np.random.default_rng(0).normal(0, 1e-5, size=(4, 12))
    signs = np.array([1, -1, -1, 1])[:, None]
    pairs = (0.011 * signs + 0.003 + noise).tolist()
    one = noise_levels.location_interval(pairs[:1], spread=0.001, open_order_effect=0.02)
    assert one.low < 0.003 - 0.001
    for count in (2, 3, 4):
        found = noise_levels.location_interval(pairs[:count], spread=0.001, open_order_effect=0.02)
        assert found.center == pytest.approx(0.003, abs=1e-4)
        assert found.high - found.low < 0.002


def test_scatter_beyond_the_order_effect_widens_the_interval():
    noise = np.random.default_rng(0).normal(0, 1e-5, size=(4, 12))
    scattered = (np.array([0.01, 0.002, -0.004, -0.008])[:, None] + noise).tolist()
    assert noise_levels.location_interval(scattered, spread=0.001).high > 0.008
    assert noise_levels.location_interval(scattered, spread=0.001, open_order_effect=0.02).high > 0.005


def test_order_effect_is_limited_to_its_calibrated_size():
    """A larger difference between the two orders counts as scatter: a single probe may be an outlier."""
    noise = np.random.default_rng(0).normal(0, 1e-5, size=(2, 12))
    within, beyond = ((np.array([apart, -apart])[:, None] + noise).tolist() for apart in (0.0199, 0.3))
    assert noise_levels.location_interval(within, spread=0.001, open_order_effect=0.02).high < 0.002
    for place in (0.001, 0.02):
        found = noise_levels.location_interval(beyond, spread=0.001, open_order_effect=place)
        assert found.high > 0.3
        assert found.low < -0.3


def test_interval_width_does_not_depend_on_its_location():
    """A rounding error once counted as an unexplained effect, which changed the degrees of freedom."""
    probes = np.random.default_rng(0).normal(0, 1e-3, size=(3, 12))
    found = [
        noise_levels.location_interval((probes + by).tolist(), spread=0.001, open_order_effect=0.02)
        for by in np.linspace(-1e-3, 1e-3, 50)
    ]
    widths = [interval.high - interval.low for interval in found]
    assert widths == pytest.approx([widths[0]] * len(widths), rel=1e-9)


def test_probes_have_equal_weight_and_short_ones_are_ignored():
    long, short = [0.0] * 64, [0.01] * 8
    assert noise_levels.location_interval([long, short], spread=0.001).center == pytest.approx(0.005)
    assert noise_levels.location_interval([long, short[:3]], spread=0.001) == noise_levels.location_interval(
        [long], spread=0.001
    )


def test_calibrations_separate_order_effect_from_scatter():
    generator = np.random.default_rng(0)
    differences = (0.01 + generator.normal(0, 0.0005, size=24)).tolist()
    assert noise_levels.calibrated_spread(differences) < 0.003
    assert 0.01 < noise_levels.calibrated_open_order_effect(differences) < 0.011


def test_margin_is_the_spread_for_one_probe_and_smaller_for_more():
    assert noise_levels.level_margin([0.3], 0.002) == pytest.approx(0.002)
    assert noise_levels.level_margin([0.3] * 4, 0.002) < 0.001
    assert noise_levels.level_margin([0.29, 0.3, 0.31, 0.3], 0.002) > 0.005


def test_calibrated_spread_bounds_the_difference_of_two_probes():
    generator = np.random.default_rng(0)
    draws = generator.normal(0, 0.001, size=(800, 11))
    trials = [(noise_levels.calibrated_spread(row[1:].tolist(), 0.02), row[0]) for row in draws]
    assert sum(difference > spread for spread, difference in trials) <= 0.03 * 800
    few, many = ([0.001, -0.001] * n for n in (1, 5))
    assert noise_levels.calibrated_spread(few, 0.02) > noise_levels.calibrated_spread(many, 0.02) > 0.002


def test_probe_margin_widens_the_interval():
    units = np.random.default_rng(0).normal(0, 1e-5, size=16).tolist()
    alone, with_probe = noise_levels.location_interval([units]), noise_levels.location_interval([units], spread=0.002)
    assert alone.low - with_probe.low == pytest.approx(0.002)
    assert with_probe.high - alone.high == pytest.approx(0.002)


def blocks(rows, seconds=0.02):
    return Samples(tuple(Block({"ms": tuple(map(float, row))}, seconds) for row in rows))


def test_estimate_is_the_median_with_its_interval():
    rows = np.random.default_rng(0).normal(2.0, 0.01, size=(16, 30))
    found = noise_levels.estimate("ms", [blocks(rows)], spread=0.0)
    assert found.low < 2.0 < found.high
    assert found.value == pytest.approx(2.0, rel=0.002)
    assert (found.samples, found.needs_s) == (480, 0.0)
    assert noise_levels.estimate("ms", [blocks(rows)], spread=0.01).high > found.high * 1.009


def test_estimate_reports_how_much_longer_it_needs():
    rows = np.random.default_rng(0).normal(2.0, 0.01, size=(4, 30))
    assert noise_levels.estimate("ms", [blocks(rows)]).needs_s == pytest.approx(0.04)
    found = noise_levels.estimate("p99_ms", [blocks(rows)])
    assert found.needs_s > 0.1
    assert found.low <= found.value <= found.high == rows.max()


def test_estimate_interval_includes_the_timer_step():
    blocks = tuple(Block({"ms": (0.05, 0.05, 0.051)}, 0.01) for _ in range(12))
    estimate = noise_levels.estimate("ms", [Samples(blocks)])
    assert (estimate.low, estimate.high) == pytest.approx((0.049, 0.051), rel=0.001)


def test_equal_samples_may_all_be_one_timer_tick():
    found = noise_levels.estimate("ms", [Samples((Block({"ms": (2.0,) * 20}, 0.04),) * 16)])
    assert found.value == 2.0
    assert found.low < 1.0 < 4.0 < found.high


def test_slowest_sample_and_absent_copies_are_exact():
    samples = [Samples((Block({"ms": (1.0, 3.0), "h2d_ms": (0.0, 0.0)}, 0.1),))]
    assert noise_levels.estimate("max_ms", samples).value == 3.0
    assert noise_levels.estimate("h2d_ms", samples).high == 0.0
