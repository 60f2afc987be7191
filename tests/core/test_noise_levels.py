"""Probes, runs and builds: what each level adds to an interval, and what a place is told from."""

import numpy as np
import pytest

from pytest_trt.core import noise_levels
from pytest_trt.core.records import Block, Samples


def test_the_order_balances_drift_and_places():
    order = [noise_levels.first_side(turn) for turn in range(8)]
    assert order == [0, 1, 1, 0, 1, 0, 0, 1]


def test_a_place_is_in_the_interval_of_one_pair_and_cancels_between_pairs_of_both_orders():
    noise = np.random.default_rng(0).normal(0, 1e-5, size=(4, 12))
    signs = np.array([1, -1, -1, 1])[:, None]
    pairs = (0.011 * signs + 0.003 + noise).tolist()
    one = noise_levels.location_interval(pairs[:1], spread=0.001, open_order_effect=0.02)
    assert one.low < 0.003 - 0.001
    for count in (2, 3, 4):
        found = noise_levels.location_interval(pairs[:count], spread=0.001, open_order_effect=0.02)
        assert found.center == pytest.approx(0.003, abs=1e-4)
        assert found.high - found.low < 0.002


def test_pairs_that_differ_for_no_reason_of_place_widen_the_interval():
    noise = np.random.default_rng(0).normal(0, 1e-5, size=(4, 12))
    scattered = (np.array([0.01, 0.002, -0.004, -0.008])[:, None] + noise).tolist()
    assert noise_levels.location_interval(scattered, spread=0.001).high > 0.008
    assert noise_levels.location_interval(scattered, spread=0.001, open_order_effect=0.02).high > 0.005


def test_no_place_makes_more_than_it_may():
    """What is beyond it between the two orders is one odd probe's."""
    noise = np.random.default_rng(0).normal(0, 1e-5, size=(2, 12))
    within, beyond = ((np.array([apart, -apart])[:, None] + noise).tolist() for apart in (0.0199, 0.3))
    assert noise_levels.location_interval(within, spread=0.001, open_order_effect=0.02).high < 0.002
    for place in (0.001, 0.02):
        found = noise_levels.location_interval(beyond, spread=0.001, open_order_effect=place)
        assert found.high > 0.3
        assert found.low < -0.3


def test_the_width_of_an_interval_does_not_hang_on_where_it_lies():
    """Rounding made a place of what the place explains, and the interval narrower by a degree of freedom."""
    probes = np.random.default_rng(0).normal(0, 1e-3, size=(3, 12))
    found = [
        noise_levels.location_interval((probes + by).tolist(), spread=0.001, open_order_effect=0.02)
        for by in np.linspace(-1e-3, 1e-3, 50)
    ]
    widths = [interval.high - interval.low for interval in found]
    assert widths == pytest.approx([widths[0]] * len(widths), rel=1e-9)


def test_every_probe_counts_alike_and_one_that_has_only_begun_does_not():
    long, short = [0.0] * 64, [0.01] * 8
    assert noise_levels.location_interval([long, short], spread=0.001).center == pytest.approx(0.005)
    assert noise_levels.location_interval([long, short[:3]], spread=0.001) == noise_levels.location_interval(
        [long], spread=0.001
    )


def test_calibrations_tell_the_place_from_the_scatter():
    generator = np.random.default_rng(0)
    differences = (0.01 + generator.normal(0, 0.0005, size=24)).tolist()
    assert noise_levels.calibrated_spread(differences) < 0.003
    assert 0.01 < noise_levels.calibrated_open_order_effect(differences) < 0.011


def test_one_probe_has_the_calibrated_spread_and_more_have_less():
    assert noise_levels.level_margin([0.3], 0.002) == pytest.approx(0.002)
    assert noise_levels.level_margin([0.3] * 4, 0.002) < 0.001
    assert noise_levels.level_margin([0.29, 0.3, 0.31, 0.3], 0.002) > 0.005


def test_calibrations_bound_what_a_pair_of_probes_may_differ_by():
    generator = np.random.default_rng(0)
    draws = generator.normal(0, 0.001, size=(800, 11))
    trials = [(noise_levels.calibrated_spread(row[1:].tolist(), 0.02), row[0]) for row in draws]
    assert sum(difference > spread for spread, difference in trials) <= 0.03 * 800
    few, many = ([0.001, -0.001] * n for n in (1, 5))
    assert noise_levels.calibrated_spread(few, 0.02) > noise_levels.calibrated_spread(many, 0.02) > 0.002


def test_probes_widen_the_interval_by_their_margin():
    units = np.random.default_rng(0).normal(0, 1e-5, size=16).tolist()
    alone, with_probe = noise_levels.location_interval([units]), noise_levels.location_interval([units], spread=0.002)
    assert alone.low - with_probe.low == pytest.approx(0.002)
    assert with_probe.high - alone.high == pytest.approx(0.002)


def blocks(rows, seconds=0.02):
    return Samples(tuple(Block({"ms": tuple(map(float, row))}, seconds) for row in rows))


def test_an_estimate_has_the_median_with_its_interval():
    rows = np.random.default_rng(0).normal(2.0, 0.01, size=(16, 30))
    found = noise_levels.estimate("ms", [blocks(rows)], spread=0.0)
    assert found.low < 2.0 < found.high
    assert found.value == pytest.approx(2.0, rel=0.002)
    assert (found.samples, found.needs_s) == (480, 0.0)
    assert noise_levels.estimate("ms", [blocks(rows)], spread=0.01).high > found.high * 1.009


def test_an_estimate_says_how_long_it_would_need():
    rows = np.random.default_rng(0).normal(2.0, 0.01, size=(4, 30))
    assert noise_levels.estimate("ms", [blocks(rows)]).needs_s == pytest.approx(0.04)
    found = noise_levels.estimate("p99_ms", [blocks(rows)])
    assert found.needs_s > 0.1
    assert found.low <= found.value <= found.high == rows.max()


def test_an_estimate_is_known_no_better_than_to_the_timers_step():
    blocks = tuple(Block({"ms": (0.05, 0.05, 0.051)}, 0.01) for _ in range(12))
    estimate = noise_levels.estimate("ms", [Samples(blocks)])
    assert (estimate.low, estimate.high) == pytest.approx((0.049, 0.051), rel=0.001)


def test_samples_that_are_all_the_same_tell_no_more_than_that_they_may_be_the_timers_first_tick():
    found = noise_levels.estimate("ms", [Samples((Block({"ms": (2.0,) * 20}, 0.04),) * 16)])
    assert found.value == 2.0
    assert found.low < 1.0 < 4.0 < found.high


def test_the_slowest_sample_and_what_did_not_happen_are_exact():
    samples = [Samples((Block({"ms": (1.0, 3.0), "h2d_ms": (0.0, 0.0)}, 0.1),))]
    assert noise_levels.estimate("max_ms", samples).value == 3.0
    assert noise_levels.estimate("h2d_ms", samples).high == 0.0
