import math

import numpy as np
import pytest

from pytest_trt.core import stats
from pytest_trt.core.distributions import t_quantile


def test_percentile_uses_the_index_of_trtexec():
    samples = [float(n) for n in range(1, 101)]
    assert stats.percentile(samples, 99) == 99.0
    assert stats.percentile(samples, 95) == 95.0
    assert stats.percentile([3.0, 1.0, 2.0], 99) == 3.0
    assert stats.percentile([5.0], 50) == 5.0


def test_median_of_an_even_number_is_the_mean_of_the_middle_two():
    assert stats.median((4.0, 1.0, 3.0, 2.0)) == 2.5
    assert stats.median((3.0, 1.0, 2.0)) == 2.0


def test_interval_is_infinite_for_too_few_units():
    found = stats.interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.center, found.low, found.high) == (3.0, -math.inf, math.inf)
    assert math.isfinite(stats.interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).low)


def test_interval_shifts_and_scales_with_its_units():
    units = np.random.default_rng(0).normal(size=100)
    plain, moved = stats.interval(units), stats.interval(3 + 2 * units)
    for end in ("center", "low", "high"):
        assert getattr(moved, end) == pytest.approx(3 + 2 * getattr(plain, end))


def test_interval_does_not_change_between_looks():
    units = np.random.default_rng(0).normal(size=60)
    assert stats.interval(units[:47]) == stats.interval(units[:40])
    assert stats.interval(units[:48]) != stats.interval(units[:40])
    assert [n for n in range(20) if stats.is_look(n)] == [6, 8, 12, 16]


def test_looks_continue_for_any_number_of_units_and_share_the_error():
    looks = [n for n in range(1, 20000) if stats.is_look(n)]
    assert looks == [*stats.LOOKS, 1024, 2048, 4096, 8192, 16384]
    assert 0.99 < sum(stats.last_look(n)[1] for n in looks) < 1
    assert [stats.last_look(n)[0] for n in (5, 6, 1023, 1024, 5000)] == [0, 6, 512, 1024, 4096]
    parts = {n: round(29 * stats.last_look(n)[1], 3) for n in (6, 16, 20, 48, 80, 96, 512, 1024, 2048)}
    assert parts == {6: 1, 16: 1, 20: 2, 48: 2, 80: 2, 96: 1, 512: 1, 1024: 0.5, 2048: 0.25}
    units = np.random.default_rng(0).normal(size=4096)
    few, many = stats.interval(units[:512]), stats.interval(units)
    assert (many.high - many.low) < (few.high - few.low) / 2


def test_each_end_has_its_own_error():
    units = np.random.default_rng(0).normal(size=32)
    found = stats.interval(units, alpha=0.001, beta=0.05)
    assert found.center - found.low > found.high - found.center


def autoregression(generator, trials, count, coefficient):
    shocks = generator.normal(size=(trials, count)) * math.sqrt(1 - coefficient**2)
    shocks[:, 0] /= math.sqrt(1 - coefficient**2)
    for n in range(1, count):
        shocks[:, n] += coefficient * shocks[:, n - 1]
    return shocks


NOISES = {
    "normal": lambda g, t, n: g.normal(size=(t, n)),
    "heavy tails": lambda g, t, n: g.standard_t(2, size=(t, n)),
    "changing scale": lambda g, t, n: g.normal(size=(t, n)) * np.repeat(np.exp(g.normal(size=(t, n // 8))), 8, axis=1),
    "coarse timer": lambda g, t, n: np.round(g.normal(size=(t, n))),
    "neighbours alike": lambda g, t, n: autoregression(g, t, n, 0.2),
    "neighbours opposed": lambda g, t, n: autoregression(g, t, n, -0.6),
}


@pytest.mark.parametrize("noise", NOISES)
def test_looking_after_every_unit_keeps_the_promised_error(noise):
    series = NOISES[noise](np.random.default_rng(1), 600, 64)
    missed = sum(any(stats.interval(row[:n], 0.05).low > 0 for n in stats.LOOKS if n <= 64) for row in series)
    assert missed <= 0.05 * 600


def test_interval_without_shared_error_would_err_too_often():
    """The test above can fail: a plain t interval at the same looks misses in far more than 5 % of the series."""
    series = NOISES["normal"](np.random.default_rng(1), 600, 64)

    def low(units):
        return units.mean() - t_quantile(0.05, len(units) - 1) * units.std(ddof=1) / math.sqrt(len(units))

    assert sum(any(low(row[:n]) > 0 for n in stats.LOOKS if n <= 64) for row in series) > 0.08 * 600


def test_outlier_hardly_moves_the_interval():
    units = np.random.default_rng(0).normal(size=32)
    spoilt = units.copy()
    spoilt[5] = 1000
    plain, found = stats.interval(units), stats.interval(spoilt)
    assert abs(found.center - plain.center) < 0.2
    assert found.high - found.low < 1.3 * (plain.high - plain.low)


def test_interval_contains_the_interval_of_the_median():
    generator = np.random.default_rng(0)
    units = generator.normal(size=128) + np.where(np.arange(128) % 5 < 2, 30.0, 0.0)
    generator.shuffle(units)  # 60 % at 0 and 40 % at 30: the median is 1, and the mean is far above it.
    found = stats.interval(units)
    assert found.low < 0.967 < found.center - 1
    plain = stats.interval(generator.normal(size=128))
    assert plain.high - plain.low < 1.3  # Without such noise, the ends are those of the mean.


def test_winsorise_keeps_values_if_most_are_equal():
    values = np.array([1.0, 1.0, 1.0, 1.0, 2.0])
    assert stats.winsorise(values) is values


def test_batches_grow_so_that_at_most_32_remain_or_64_of_pairs():
    assert len(stats.batch_means(np.arange(32.0))) == 32
    assert stats.batch_means(np.arange(48.0))[:2].tolist() == [0.5, 2.5]
    assert len(stats.batch_means(np.arange(512.0))) == 32
    assert len(stats.batch_means(np.arange(64.0), stats.MAX_PAIR_BATCHES)) == 64
    units = np.random.default_rng(0).normal(size=64)
    alone, pairs = stats.interval(units), stats.interval(units, pairs=True)
    assert pairs.high - pairs.low < alone.high - alone.low


@pytest.mark.parametrize("pairs", [True, False])
def test_dependence_never_narrows_the_interval(pairs):
    alike, opposed = np.repeat([0.0, 1.0], 16), np.tile([0.0, 1.0], 16)
    assert stats.dependence(alike, pairs=pairs) > 3
    assert stats.dependence(opposed, pairs=pairs) == 1.0
    assert stats.dependence(np.ones(8), pairs=pairs) == 1.0


def test_possible_dependence_widens_independent_units_by_a_sixth():
    alone = np.tile([0.0, 0.0, 1.0, 1.0], 8)  # Neighbours are equal as often as not.
    assert stats.dependence(alone) == pytest.approx(7 / 6, abs=0.01)  # Twice the doubt misses 0.2 s at batch 1.


def series_with_lag_one(count, observed):
    """Return values whose observed autocorrelation at lag one is about `observed`."""
    generator = np.random.default_rng(5)
    while True:
        values = generator.normal(size=count)
        residues = values - values.mean()
        if abs(residues[1:] @ residues[:-1] / (residues @ residues) - observed) < 0.002:
            return values


@pytest.mark.parametrize(
    ("count", "observed", "pairs", "r"),
    [
        (36, 0.1, True, 0.0),  # 0.1 + 1.3 / 36 is within 1.25 standard errors of 1/6
        (36, 0.2, True, 0.2444),  # 0.2 + 1.6 / 36 is not
        (36, 0.1, False, 0.2194),  # one side: the estimate, and half a standard error
        (16, 0.0, True, 0.1875),  # too few pairs: 0 + 1 / 16 and half a standard error
    ],
)
def test_pairs_are_dependent_only_where_enough_of_them_show_it(count, observed, pairs, r):
    factor = stats.dependence(series_with_lag_one(count, observed), pairs=pairs)
    assert factor == pytest.approx(math.sqrt((1 + r) / (1 - r)), rel=0.006)


def test_percentile_interval_covers_the_percentile():
    generator, truth = np.random.default_rng(2), -math.log(0.05)
    found = [stats.percentile_interval(generator.exponential(size=(20, 40)), 95, alpha=0.025) for _ in range(300)]
    assert sum(f.low <= truth <= f.high for f in found) >= 0.94 * 300


def test_percentile_interval_of_dependent_samples_is_wider():
    generator = np.random.default_rng(3)
    shared = generator.normal(size=(40, 1))
    blocks = shared + 0.1 * generator.normal(size=(40, 50))
    single = np.random.default_rng(4).permutation(blocks.ravel()).reshape(40, 50)
    dependent, independent = stats.percentile_interval(blocks, 95), stats.percentile_interval(single, 95)
    assert dependent.needed > 5 * independent.needed
    assert dependent.high - dependent.low > 2 * (independent.high - independent.low)


def test_slow_samples_that_span_blocks_count_less():
    spell = np.repeat([0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0], 8)[:, None]  # Each spell is about eight blocks long.
    samples = np.random.default_rng(5).normal(size=(64, 40)) + 2 * spell
    mixed = np.random.default_rng(6).permutation(samples)
    lasting, single = stats.percentile_interval(samples, 95), stats.percentile_interval(mixed, 95)
    assert lasting.high - lasting.low > 2 * (single.high - single.low)
    assert lasting.needed == single.needed  # Otherwise a distant limit would never be decided if spells last long.


def test_percentile_of_too_few_samples_has_no_upper_end_and_reports_how_many_it_needs():
    samples = [np.random.default_rng(0).normal(size=100)]
    found = stats.percentile_interval(samples, 99, alpha=0.001)
    assert found.high == math.inf
    assert found.needed == math.ceil(math.log(0.001) / math.log(0.99)) == 688
    assert math.isfinite(stats.percentile_interval([np.arange(700.0)], 99, alpha=0.001).high)


def test_timer_step_is_detected():
    coarse = np.round(np.random.default_rng(0).normal(1, 0.01, size=(6, 20)), 3)
    assert stats.timer_step(coarse) == pytest.approx(0.001, rel=0.05)
    assert stats.timer_step(coarse + 1e-9 * np.arange(20)) == pytest.approx(0.001, rel=0.05)
    assert stats.timer_step(np.random.default_rng(0).normal(1, 0.01, size=(6, 20))) == 0.0
    assert stats.timer_step([[2.0, 2.0], [2.5, 2.5]]) == 0.25
    assert stats.timer_step([[2.0, 2.0]]) == 1.0
