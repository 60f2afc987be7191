import itertools
import math
import statistics

import numpy as np
import pytest

from pytest_trt.core import stats
from pytest_trt.core.distributions import t_quantile


def test_percentile_uses_the_index_of_trtexec():
    samples = [float(n) for n in range(1, 101)]
    assert stats.percentile(samples, 99) == 99.0
    assert stats.percentile(samples, 95) == 95.0
    assert stats.percentile(np.arange(1000.0), 75) == 749.0
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
    assert looks[:11] == [6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56]
    assert looks[11:] == [64, 80, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096, 8192, 16384]
    assert 0.99 < sum(stats.last_look(n)[1] for n in looks) < 1
    assert [stats.last_look(n)[0] for n in (5, 6, 1023, 1024, 5000)] == [0, 6, 512, 1024, 4096]
    parts = {n: round(29 * stats.last_look(n)[1], 3) for n in (6, 16, 20, 48, 80, 96, 512, 1024, 2048)}
    assert parts == {6: 1, 16: 1, 20: 2, 48: 2, 80: 2, 96: 1, 512: 1, 1024: 0.5, 2048: 0.25}
    units = np.random.default_rng(0).normal(size=4096)
    few, many = stats.interval(units[:512]), stats.interval(units)
    assert (many.high - many.low) < (few.high - few.low) / 2


def lag_one_factor(means):
    """Return the factor of dependence of one side, written out: r, its bias, and half of a standard error."""
    mean, count = statistics.fmean(means), len(means)
    neighbours = sum((a - mean) * (b - mean) for a, b in itertools.pairwise(means))
    observed = neighbours / sum((m - mean) ** 2 for m in means)
    r = observed + 1 / count + (3 * observed / count if observed > 0 else 0) + 1 / (2 * math.sqrt(count))
    return math.sqrt((1 + r) / (1 - r)) if r > 0 else 1.0


@pytest.mark.parametrize(
    ("units", "clipped", "outliers"),
    [
        ([0.0, 3.0, 1.0, 5.0, 2.0, 4.0], None, 0),  # opposed neighbours: no dependence
        ([0.0, 2.0, 1.0, 3.0, 5.0, 4.0], None, 0),  # alike
        ([0.0, 1.0, 20.0, 2.0, 4.0, 5.0], [0.0, 1.0, 3 + 3 * 1.4826 * 2, 2.0, 4.0, 5.0], 1),
        (
            [-30.0, 5.0, 30.0, 1.0, 4.0, 2.0, 6.0, 3.0],
            [3.5 - 3 * 1.4826 * 2, 5, 3.5 + 3 * 1.4826 * 2, 1, 4, 2, 6, 3],
            2,
        ),
    ],
)
def test_interval_of_few_units_is_students_with_its_three_corrections(units, clipped, outliers):
    used, count = clipped or units, len(units)
    kept = (count - 1 - outliers) / (count - 1)
    error = statistics.stdev(used) / math.sqrt(count) / kept * lag_one_factor(used)
    found = stats.interval(units)
    t = t_quantile(0.001 / 29, count - 1 - outliers)  # 6 and 8 units are the first looks, each with one part of 29
    assert found.center == pytest.approx(statistics.fmean(used))
    assert found.low == pytest.approx(found.center - t * error)
    assert found.high == pytest.approx(found.center + t * error)


def test_interval_of_many_units_is_that_of_their_batch_means():
    units = np.random.default_rng(3).triangular(-1, 0, 1, size=130).tolist()
    means = [statistics.fmean(units[n : n + 4]) for n in range(0, 128, 4)]
    found = stats.interval(np.array(units), alpha=0.001, beta=0.002)
    error = statistics.stdev(means) / math.sqrt(32) * lag_one_factor(means)
    assert found.center == pytest.approx(statistics.fmean(means))
    assert found.center - found.low == pytest.approx(t_quantile(0.001 / 29, 31) * error)
    assert found.high - found.center == pytest.approx(t_quantile(0.002 / 29, 31) * error)


def test_an_end_moves_to_that_of_the_median_if_that_lies_beyond():
    """The 4th of 20 units is below the median except with a probability of 0.13 %, the 5th of 0.59 %."""
    units = [0.0, 10.0, 0.5, 10.0, 9.5] * 4
    units[::5] = [0.01, 0.02, 0.03, 0.04]
    low = stats.interval(units, alpha=0.4).low
    assert low == 0.04
    assert stats.interval([-unit for unit in units], alpha=0.4).high == -low
    few = [9.5, 10.0, 0.0, 10.0, 9.0, 10.5]  # all of them, to enclose the median
    assert stats.interval(few, alpha=0.4).low == 0.0
    assert stats.interval([-unit for unit in few], alpha=0.4).high == 0.0


def test_an_interval_is_widened_at_both_ends():
    assert stats.Interval(1.0, 0.0, 3.0).widened(0.5, 0.25) == stats.Interval(1.0, -0.5, 3.25)


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
    assert stats.batch_means(np.arange(33.0)).tolist() == [2 * n + 0.5 for n in range(16)]
    assert stats.batch_means(np.arange(48.0))[:2].tolist() == [0.5, 2.5]
    assert len(stats.batch_means(np.arange(65.0), stats.MAX_PAIR_BATCHES)) == 32
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


@pytest.mark.parametrize(("count", "doubted"), [(19, True), (20, False), (21, False)])
def test_dependence_of_pairs_counts_as_measured_from_20_batches(count, doubted):
    values = series_with_lag_one(count, 0.0)
    residues = values - values.mean()
    r = float(residues[1:] @ residues[:-1] / (residues @ residues))
    r += (1 + 3 * max(r, 0.0)) / count + 0.5 / math.sqrt(count)
    expected = math.sqrt((1 + r) / (1 - r)) if doubted else 1.0
    assert stats.dependence(values, pairs=True) == pytest.approx(expected)
    assert stats.dependence(values) == pytest.approx(math.sqrt((1 + r) / (1 - r)))


def test_dependence_is_limited():
    assert stats.dependence(np.arange(64.0)) == pytest.approx(math.sqrt(1.95 / 0.05))


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


def binomial_ranks(count, share, alpha):
    """Return the ranks, from 0, that enclose a quantile, by exact sums of binomial probabilities."""
    below = list(
        itertools.accumulate(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count))
    )
    low = max((k for k in range(count) if below[k] <= alpha), default=None)
    return low, min((k for k in range(count) if below[k] >= 1 - alpha), default=None)


@pytest.mark.parametrize("percent", [50.0, 75.0, 99.0])
def test_ends_of_a_percentile_of_independent_samples_are_order_statistics(percent):
    low, high = binomial_ranks(700, percent / 100, 0.001)
    found = stats.percentile_interval([np.arange(700.0)], percent)
    assert (found.low, found.high) == (low, high)
    assert found.value == stats.percentile(np.arange(700.0), percent)
    assert found.needed == math.ceil(math.log(0.001) / math.log(max(percent, 100 - percent) / 100))


def test_percentile_of_too_few_samples_has_no_lower_end():
    for count, alpha in ((5, 0.001), (1, 0.3)):
        found = stats.percentile_interval([np.arange(float(count))], 50, alpha)
        assert (found.low, found.high) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("sizes", "above", "effect"),
    [
        ((10, 10, 10, 10), (0, 0, 0, 2), 4 / 1.9),  # residues of 1/2, 1/2, 1/2, 3/2: their squares are 3, times 4/3
        ((20, 10, 10), (0, 0, 2), 5.25 / 1.9),  # residues of 1, 1/2, 3/2: their squares are 3.5, times 3/2
        ((20, 20), (2, 0), 4 / 1.9),  # residues of 1, 1: their squares are 2, times 2
        ((20, 20), (1, 1), 1.0),
    ],
)
def test_samples_that_a_block_shares_count_less(sizes, above, effect):
    """The 95th percentile of these 40 samples is 1. Two are above it; independent ones have a variance of 1.9."""
    blocks = [np.array([2.0] * k + [1.0] * (n - k)) for n, k in zip(sizes, above, strict=True)]
    found = stats.percentile_interval(blocks, 95)
    assert found.value == 1.0
    assert found.needed == math.ceil(effect * math.log(0.001) / math.log(0.95))


def test_ranks_of_dependent_samples_are_those_of_fewer_independent_ones():
    generator = np.random.default_rng(3)
    sizes = [20, 20, 50, 10] * 15
    blocks = [generator.normal() + generator.normal(size=size) for size in sizes]
    samples = np.concatenate(blocks)
    value = stats.percentile(samples, 75)
    above = [int((block > value).sum()) for block in blocks]
    share = sum(above) / len(samples)
    squares = sum((k - share * size) ** 2 for k, size in zip(above, sizes, strict=True))
    effect = squares * 60 / 59 / (1500 * 0.75 * 0.25)
    factor = lag_one_factor([k / size for k, size in zip(above, sizes, strict=True)])
    effective = int(1500 / effect / factor**2)
    assert effective < 400
    low, high = binomial_ranks(effective, 0.75, 0.001)
    ordered, scale = np.sort(samples), 1500 / effective
    found = stats.percentile_interval(blocks, 75)
    assert (found.low, found.high) == (ordered[int(low * scale)], ordered[math.ceil((high + 1) * scale) - 1])


@pytest.mark.parametrize(("count", "is_known"), [(43, True), (42, False)])
def test_slowest_sample_is_the_end_if_only_dependence_leaves_no_rank(count, is_known):
    """A p99 needs 688 samples: 43 blocks of 16. Six blocks in a row have one slow sample each."""
    blocks = [np.arange(16.0) + (np.arange(16) == 15) * (100.0 + n) * (10 <= n < 16) for n in range(count)]
    found = stats.percentile_interval(blocks, 99)
    assert found.needed == 688
    assert found.high == (130.0 if is_known else math.inf)
    assert math.isfinite(found.low)
    fast = [np.arange(16.0) - (np.arange(16) == 0) * (100.0 + n) * (10 <= n < 17) for n in range(count)]
    found = stats.percentile_interval(fast, 1)
    assert (found.value, found.needed) == (-110.0, 688)
    assert found.low == (-116.0 if is_known else -math.inf)
    assert math.isfinite(found.high)


def test_timer_step_is_detected():
    coarse = np.round(np.random.default_rng(0).normal(1, 0.01, size=(6, 20)), 3)
    assert stats.timer_step(coarse) == pytest.approx(0.001, rel=0.05)
    assert stats.timer_step(coarse + 1e-9 * np.arange(20)) == pytest.approx(0.001, rel=0.05)
    assert stats.timer_step(np.random.default_rng(0).normal(1, 0.01, size=(6, 20))) == 0.0
    assert stats.timer_step([[2.0, 2.0], [2.5, 2.5]]) == 0.25
    assert stats.timer_step([[1.0, 1.0], [2.0, 2.1]]) == pytest.approx(0.05)
    assert stats.timer_step([[2.0, 2.0]]) == 1.0
    assert stats.timer_step([[1.0, 1.0, 1 + 1.4e-6]]) == pytest.approx(1.4e-6, rel=1e-6)
    assert stats.timer_step([[1.0, 1 + 0.9e-6, 2.0]]) == pytest.approx(1.0, rel=1e-5)


def test_residues_of_a_line_are_more_alike_than_they_show():
    """The bias of their autocorrelation is (2 + 4 r) / n, and doubt counts a whole standard error."""
    means = np.array([0.0, 1.0, 3.0, 2.0, -1.0, -3.0, -2.0, 0.0])
    observed = float(means[1:] @ means[:-1]) / float(means @ means)
    r = observed + (2 + 4 * observed) / 8 + 1 / math.sqrt(8)
    assert observed > 0
    assert stats.dependence(means, trend=True) == pytest.approx(math.sqrt((1 + min(r, 0.95)) / (1 - min(r, 0.95))))
    apart = np.array([0.0, 1.0, -1.0, 2.0, -1.5, 0.5, 1.0, -2.0])
    negative = float(apart[1:] @ apart[:-1]) / float(apart @ apart)
    assert negative < -2 / 8 - 1 / math.sqrt(8)
    assert stats.dependence(apart, trend=True) == 1.0
    slight = np.array([0.0, 2.0, 1.0, -1.0, 0.5, 1.5, -2.0, -2.0])
    slight -= slight.mean()
    r = float(slight[1:] @ slight[:-1]) / float(slight @ slight)
    r += (2 + 4 * max(r, 0)) / 8 + 1 / math.sqrt(8)
    assert 0 < r < 0.95
    assert stats.dependence(slight, trend=True) == pytest.approx(math.sqrt((1 + r) / (1 - r)))
