"""The noise that probes, runs and builds add to an interval, and the effect of the order of opening."""

import math
import statistics

import numpy as np
import pytest

from pytest_trt.core import noise_levels, stats
from pytest_trt.core.distributions import t_quantile
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


PATTERN = np.array([1.0, -3.0, 2.0, -1.0, 4.0, -5.0, 3.0, -2.0, 5.0, -4.0, 6.0, -6.0]) * 1e-5
"""Twelve units with a median of 0."""


def margin(squares, spread, error, count, freedom):
    """Return Student's t times the pooled scatter: 8 degrees of the spread, and those of the probes."""
    prior = spread / t_quantile(error, 8)
    return t_quantile(error, 8 + freedom) * math.sqrt((8 * prior**2 + squares) / (8 + freedom) / count)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize(
    ("medians", "effect", "center", "squares", "count", "freedom"),
    [
        ((0.001, 0.002, 0.004), 0.0, 0.007 / 3, 42e-6 / 9, 3, 2),  # residues of -4/3, -1/3 and 5/3
        ((0.01, -0.008, -0.01, 0.008), 0.02, 0.0, 4e-6, 4, 2),  # AB BA BA AB: means of 0.009 and -0.009
        ((0.01, -0.008, -0.01), 0.02, 0.0005, 2e-6, 8 / 3, 1),  # one pair weighs as much as the other two
        # 0.0095 from the center, of which the order explains 0.004: residues of 0.0055, -0.0045, -0.0065
        ((0.01, -0.008, -0.01), 0.004, 0.0005, 0.0055**2 + 0.0045**2 + 0.0065**2, 8 / 3, 2),
    ],
)
def test_interval_of_several_probes_is_that_of_their_units_and_a_margin(
    medians, effect, center, squares, count, freedom, pairs
):
    probes = [(m + PATTERN).tolist() for m in medians]
    together = [center + unit for unit in PATTERN for _ in medians]
    probes[1] += [9.0]  # beyond the shortest probe: its units have no neighbours
    probes.append([7.0] * 5)  # too short
    inner = stats.interval(together, 0.001, 0.01, pairs=pairs)
    found = noise_levels.location_interval(probes, 0.003, 0.001, 0.01, open_order_effect=effect, pairs=pairs)
    assert found.center == pytest.approx(inner.center, abs=1e-12)
    assert inner.low - found.low == pytest.approx(margin(squares, 0.003, 0.001, count, freedom))
    assert found.high - inner.high == pytest.approx(margin(squares, 0.003, 0.01, count, freedom))


def test_interval_of_several_probes_without_a_spread_has_no_margin():
    six = [[0.001, -0.001, 0.002, -0.002, 0.003, -0.003], [0.101, 0.099, 0.102, 0.098, 0.103, 0.097]]
    found = noise_levels.location_interval(six)
    together = stats.interval([0.05 + unit for unit in six[0] for _ in six])
    assert (found.center, found.low, found.high) == pytest.approx((together.center, together.low, together.high))


def test_one_probe_is_widened_by_the_spread_and_the_order_effect():
    units = np.random.default_rng(0).normal(size=64).tolist()
    inner = stats.interval(units, 0.001, 0.01)
    assert noise_levels.location_interval([units], 0.0, 0.001, 0.01) == inner
    found = noise_levels.location_interval([units[:5], units], 0.25, 0.001, 0.01, open_order_effect=0.5)
    assert (inner.low - found.low, found.high - inner.high) == pytest.approx((0.75, 0.75))
    assert noise_levels.location_interval([units], pairs=True) == stats.interval(units, pairs=True)
    few = noise_levels.location_interval([units[:3], units[3:6]])
    assert few == stats.interval(units[:6])


@pytest.mark.parametrize(
    ("lengths", "caught_up"),
    [((6,), False), ((6, 5), False), ((6, 6), True), ((8, 6, 5), False), ((8, 6, 6), True), ((6, 8, 7), True)],
)
def test_last_probe_catches_up_with_the_shortest_earlier_one(lengths, caught_up):
    assert noise_levels.last_probe_caught_up([[0] * length for length in lengths]) is caught_up


def test_margin_pools_the_spread_with_the_scatter_of_the_values():
    assert noise_levels.level_margin([0.31, 0.33], 0.004, 0.01) == pytest.approx(margin(2e-4, 0.004, 0.01, 2, 1))
    assert noise_levels.level_margin([0.31, 0.33], 0.004) == pytest.approx(margin(2e-4, 0.004, 0.001, 2, 1))


@pytest.mark.parametrize("sign", [1, -1])
def test_calibrations_give_the_spread_and_the_order_effect_by_students_t(sign):
    differences = [sign * 0.01, sign * 0.02, sign * 0.06]
    spread = t_quantile(0.01, 2) * statistics.stdev(differences)
    assert noise_levels.calibrated_spread(differences, 0.01) == pytest.approx(spread)
    effect = 0.03 + spread / math.sqrt(3)
    assert noise_levels.calibrated_open_order_effect(differences, 0.01) == pytest.approx(effect)


def test_estimate_of_a_median_is_the_exponential_of_the_interval_of_logarithms():
    rows = np.exp(0.1 + PATTERN[:8, None] * 100 + np.array([-1e-6, 0.0, 1e-6]))
    expected = stats.interval(0.1 + PATTERN[:8] * 100, 0.01)
    found = noise_levels.estimate("ms", [blocks(rows)], 0.002, 0.01)
    ends = (expected.center, expected.low - 0.002, expected.high + 0.002)
    assert (found.value, found.low, found.high) == pytest.approx(tuple(math.exp(end) for end in ends))
    assert (found.samples, found.needs_s) == (24, 0.0)


def test_estimate_of_too_few_blocks_has_their_extremes_as_ends():
    found = noise_levels.estimate("ms", [blocks([[1.0, 1.1, 1.3], [2.0, 2.2, 2.3]], seconds=0.25)])
    assert (found.low, found.high, found.needs_s) == pytest.approx((1.1, 2.2, 4 * 0.25))
    one = noise_levels.estimate("ms", [blocks([[1.0, 1.1, 1.3]], seconds=0.25)])
    assert (one.low, one.high, one.needs_s) == pytest.approx((1.1, 1.1, 5 * 0.25))


def test_interval_of_wildly_scattered_blocks_reaches_no_further_than_a_million():
    """In an earlier version, a baseline of such figures ended the run with an internal error."""
    scattered = blocks([[10.0**exponent] for exponent in (-9, 9, -9, 9, -9, 9)])
    found = noise_levels.estimate("ms", [scattered])
    assert found.low == pytest.approx(found.value / noise_levels.WIDEST)
    assert found.high == pytest.approx(found.value * noise_levels.WIDEST)


def test_timer_step_is_read_from_the_first_16_blocks():
    rows = [[1 + 1e-4 * n] for n in range(17)] + [[1.01], [1.01]]
    fine, later = (noise_levels.estimate("ms", [blocks(some)]) for some in (rows[:16], rows))
    assert (later.low, later.high) == (fine.low, fine.high)
    assert noise_levels.estimate("ms", [blocks([*rows[:15], rows[14]])]).high > fine.high


@pytest.mark.parametrize(("figure", "percent"), [("p95_ms", 95.0), ("p99_ms", 99.0)])
def test_estimate_of_a_percentile_is_widened_by_the_margin_of_the_probes(figure, percent):
    generator = np.random.default_rng(0)
    rows = generator.exponential(size=(16, 100)) + 1
    alone = noise_levels.estimate(figure, [blocks(rows)], 0.0, 0.01)
    plain = stats.percentile_interval(rows, percent, 0.01 / 29)  # 16 blocks are a look with one part of 29
    assert (alone.value, alone.low, alone.high) == (plain.value, plain.low, plain.high)
    assert (alone.samples, alone.needs_s) == (1600, 0.0)
    found = noise_levels.estimate(figure, [blocks(rows[:8]), blocks([]), blocks(rows[8:])], 0.003, 0.01)
    medians = [statistics.median(math.log(np.median(row)) for row in half) for half in (rows[:8], rows[8:])]
    factor = math.exp(noise_levels.level_margin(medians, 0.003, 0.01))
    assert (found.low, found.high) == pytest.approx((alone.low / factor, alone.high * factor))


def test_percentile_of_too_few_samples_needs_the_time_of_the_missing_ones():
    rows = np.random.default_rng(0).exponential(size=(4, 10)) + 1
    found = noise_levels.estimate("p95_ms", [blocks(rows, seconds=0.5)], 0.0, 0.01)
    needed = stats.percentile_interval(rows, 95, 0.01 / 29).needed
    assert found.needs_s == pytest.approx((needed - 40) * 2.0 / 40)
    assert (found.low, found.high) == (found.low, rows.max())
    share = stats.last_look(6)[1]
    needed = math.ceil(math.log(0.01 * share) / math.log(0.95))
    for missing in (1, 2):
        times = np.linspace(1, 2, needed - missing)[None, :]
        found = noise_levels.estimate("p95_ms", [blocks(times, seconds=0.5)], 0.0, 0.01)
        assert found.needs_s == pytest.approx(missing * 0.5 / (needed - missing))
    few = noise_levels.estimate("p95_ms", [blocks(rows[:1, :3], seconds=0.5)], 0.0, 0.01)
    assert (few.low, few.high) == (rows[0, :3].min(), rows[0, :3].max())


def test_limits_of_percentiles_and_of_intervals_are_those_of_the_documentation():
    assert (noise_levels.MIN_PERCENTILE_S, noise_levels.WIDEST) == (4.8, 1e6)
