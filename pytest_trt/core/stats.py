"""Confidence intervals and percentiles: pure functions on arrays.

Neighbouring samples are not independent. The unit of an interval is therefore the median of a block, or the log ratio
of two blocks that were measured in turn. A stopping rule may call `interval` after every unit: the interval still holds
with the promised probability. docs/background/statistics.md gives the reasons.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_trt.core.distributions import quantile_ranks, t_quantile

Array = NDArray[np.float64]

LOOKS = (6, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128, 192, 256, 384, 512)
"""The numbers of units after which `interval` computes a new interval ("looks").

After the last of them, there is a look whenever the number of units has doubled. Each look gets a part of the error,
and the parts add up to no more than the whole. All looks together therefore err at most as often as promised, however
they depend on each other (Bonferroni). Many questions are decided by 20 to 80 units: there the looks are close
together, and each gets twice the part of another look. The looks beyond the last share one part: the first gets half of
it, the next a quarter, and so on.
"""

_DENSE = (20, 80)
"""The first and the last look that gets twice the part of another."""

_PARTS = len(LOOKS) + sum(_DENSE[0] <= look <= _DENSE[1] for look in LOOKS) + 1
"""The number of parts of the error."""

MAX_BATCHES = 32
"""The largest number of batches; MAX_PAIR_BATCHES for pairs. A longer series of units is averaged in batches.

There are enough batches for a small t quantile. The batches grow with the series, so that the dependence between
neighbouring units averages out within a batch (Ibragimov and Müller 2010).
"""

MAX_PAIR_BATCHES = 64
"""The largest number of batches of pairs, whose neighbours are hardly alike."""

MEASURED_FROM = 20
"""The number of batches of pairs from which their dependence is taken as measured."""

DEPENDENT_FROM = 1.25
"""The autocorrelation, in standard errors, from which pairs count as dependent. Independent ones reach it in one of ten
series."""

CLIP = 3.0
"""Units farther from the median than this many robust standard deviations are moved to that distance (winsorised)."""

STEP_BLOCKS = 16
"""The number of blocks from which the step of a timer is read. The first blocks are enough to see it."""

MEDIAN_ERROR = 0.005
"""The error of each end of the interval of the median, which widens the interval of the mean if the two disagree."""

ALPHA = 0.001
"""The default error of each end of an interval."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """A location with its confidence interval.

    Attributes:
        center: The estimate of the location.
        low: The lower end: P(truth < low) is at most alpha. It is minus infinity if there are too few units.
        high: The upper end: P(truth > high) is at most beta. It is infinity if there are too few units.
    """

    center: float
    low: float
    high: float

    def widened(self, below: float, above: float) -> Interval:
        """Return this interval with its lower end moved down by `below` and its upper end moved up by `above`."""
        return Interval(self.center, self.low - below, self.high + above)


def interval(
    units: Sequence[float] | Array, alpha: float = ALPHA, beta: float | None = None, *, pairs: bool = False
) -> Interval:
    """Return the confidence interval of the location of `units`, as of the last look.

    The interval is a t interval of batch means of winsorised units. A t test keeps its level for independent normal
    batches of unequal variances, and hence for mixtures of normal distributions: heavy tails and changing noise
    (Bakirov and Székely 2005; Ibragimov and Müller 2010 use it in this way). Three corrections make it wider:

    - Winsorising (Dixon and Tukey 1968): k winsorised units out of n multiply the standard error by
      (n - 1) / (n - k - 1) and reduce the degrees of freedom in proportion.
    - The dependence that remains between batches: see `dependence`.
    - The median: with two levels of noise, or a tail on one side, the median may lie beyond an end. That end moves to
      the end of the interval of the median (order statistics, at MEDIAN_ERROR).

    Args:
        units: The values in the order of measurement, shape (n,), in any unit. Values after the last look (see LOOKS)
            are ignored.
        alpha: The error of the lower end, shared by all looks.
        beta: The error of the upper end, shared by all looks. The default is `alpha`.
        pairs: Whether the units are ratios of blocks that were measured in turn: what makes neighbouring blocks of one
            side alike cancels in them (see `dependence`).

    Returns:
        The interval, in the unit of `units`. Its ends are infinite for fewer than six units.
    """
    values = np.asarray(units, dtype=np.float64)
    count, share = last_look(len(values))
    if not count:
        center = median(values.tolist()) if len(values) else math.nan
        return Interval(center, -math.inf, math.inf)
    values = values[:count]
    clipped = winsorise(values)
    kept = (len(values) - 1 - int(np.count_nonzero(clipped != values))) / (len(values) - 1)
    means = batch_means(clipped, MAX_PAIR_BATCHES if pairs else MAX_BATCHES)
    center = float(means.mean())
    error = float(means.std(ddof=1)) / math.sqrt(len(means)) / kept * dependence(means, pairs=pairs)
    freedom = max(int((len(means) - 1) * kept), 1)
    low, high = (t_quantile(share * error_of_end, freedom) for error_of_end in (alpha, alpha if beta is None else beta))
    first, last = _median_ranks(count)
    ordered = np.sort(values)
    ends = min(center - low * error, float(ordered[first])), max(center + high * error, float(ordered[last]))
    return Interval(center, *ends)


def dependence(means: Array, *, pairs: bool = False, trend: bool = False) -> float:
    """Return the factor by which dependence between `means`, shape (n,), increases the standard error of their mean.

    The factor is sqrt((1 + r) / (1 - r)), as for an autoregression of order one, and at least 1. Here r is the
    autocorrelation at lag one, corrected for its bias (Marriott and Pope 1954) and raised by half a standard error
    (Bartlett 1946), so that doubt widens the interval.

    Neighbours are assumed alike unless they are the means of `pairs` and at least MEASURED_FROM: then r is not raised,
    and below DEPENDENT_FROM standard errors the factor is 1. Residues of a line (`trend`) have a larger bias, and the
    error of a slope depends more on slow changes: then r is raised by a whole standard error.
    """
    count = len(means)
    residues = means - means.mean()
    total = float(residues @ residues)
    if total == 0:
        return 1.0
    observed = float(residues[1:] @ residues[:-1]) / total
    r, error = observed + (1 + 3 * max(observed, 0.0)) / count, 1 / math.sqrt(count)
    if trend:
        r = observed + (2 + 4 * max(observed, 0.0)) / count + error
    elif not pairs or count < MEASURED_FROM:
        r += error / 2
    elif r < DEPENDENT_FROM * error:
        return 1.0
    r = min(r, 0.95)
    return math.sqrt((1 + r) / (1 - r)) if r > 0 else 1.0


def is_look(n: int) -> bool:
    """Return whether there is a look after n units: only then does `interval` differ from that of n - 1 units."""
    return n > 0 and last_look(n)[0] == n


def last_look(n: int) -> tuple[int, float]:
    """Return the number of units at the last look among n units, and the share of the error that this look gets.

    The number is 0 if n is smaller than the first look.
    """
    doublings = (n // LOOKS[-1]).bit_length() - 1
    if doublings > 0:
        return LOOKS[-1] << doublings, 1 / _PARTS / 2**doublings
    index = bisect.bisect_right(LOOKS, n)
    look = LOOKS[index - 1] if index else 0
    return look, (1 + (_DENSE[0] <= look <= _DENSE[1])) / _PARTS


def winsorise(values: Array) -> Array:
    """Return the values, shape (n,), with outliers moved to CLIP robust standard deviations from the median.

    The robust standard deviation is 1.4826 times the median absolute deviation (Hampel 1974). If it is 0, because more
    than half of the values are equal, the values are returned unchanged.
    """
    center = median(values.tolist())
    scale = 1.4826 * median(np.abs(values - center).tolist())
    return np.clip(values, center - CLIP * scale, center + CLIP * scale) if scale > 0 else values


def batch_means(values: Array, most: int = MAX_BATCHES) -> Array:
    """Return the means of batches of consecutive values.

    The size of a batch is the smallest power of two that gives at most `most` batches. Values at the end that do
    not fill a batch are ignored.
    """
    size = 1
    while len(values) // size > most:
        size *= 2
    count = len(values) // size
    means: Array = values[: count * size].reshape(count, size).mean(axis=1)
    return means


def percentile(samples: Sequence[float] | Array, percent: float) -> float:
    """Return the percentile by trtexec's definition: element n - 1 - int((1 - percent / 100) n) of n sorted samples."""
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    return float(ordered[_trtexec_index(len(ordered), percent)])


def _trtexec_index(count: int, percent: float) -> int:
    return max(count - 1 - int((1 - percent / 100) * count), 0)


@dataclasses.dataclass(frozen=True)
class PercentileInterval:
    """A percentile with its confidence interval.

    Attributes:
        value: The percentile of the samples.
        low: The lower end. It is minus infinity if there are too few samples.
        high: The upper end. It is infinity if there are too few samples.
        needed: The number of samples that both ends need.
    """

    value: float
    low: float
    high: float
    needed: int


def percentile_interval(
    blocks: Sequence[Sequence[float] | Array], percent: float, alpha: float = ALPHA
) -> PercentileInterval:
    """Return the confidence interval of a percentile of samples that are dependent within a block.

    The ends are order statistics: samples whose ranks a binomial count exceeds with probability `alpha` at each end
    (David and Nagaraja, Order Statistics, 7.1). The binomial count is that of the effective number of independent
    samples. This is n divided by the design effect of the share of samples beyond the percentile (Woodruff 1952; Kish
    1965, 8.2) and by the effect of dependence between neighbouring blocks (`dependence`). If the dependence between
    blocks alone leaves no valid rank, the fastest or slowest sample is the end.

    Args:
        blocks: The samples of each block, in any unit.
        percent: The percentile, above 0 and below 100.
        alpha: The error of each end.

    Returns:
        The percentile and its interval, in the unit of the samples.
    """
    ordered = np.sort(np.concatenate([np.asarray(block, dtype=np.float64) for block in blocks]))
    count, share = len(ordered), percent / 100
    value = float(ordered[_trtexec_index(count, percent)])
    sizes = np.array([len(block) for block in blocks], dtype=np.float64)
    above = np.array([np.count_nonzero(np.asarray(block) > value) for block in blocks], dtype=np.float64)
    effect = _design_effect(above, sizes, 1 - share)
    effective = max(int(count / effect / dependence(above / sizes) ** 2), 1)
    needed = math.ceil(effect * math.log(alpha) / math.log(max(share, 1 - share)))
    low, high = quantile_ranks(effective, share, alpha)
    scale, beyond = count / effective, (0.0 if count >= needed else math.inf)
    first = 0 if low is None else int(low * scale)
    last = count - 1 if high is None else min(math.ceil((high + 1) * scale) - 1, count - 1)
    return PercentileInterval(
        value,
        float(ordered[first]) - (beyond if low is None else 0.0),
        float(ordered[last]) + (beyond if high is None else 0.0),
        needed,
    )


def _design_effect(above: Array, sizes: Array, share: float) -> float:
    """Return how many dependent samples carry the information of one independent sample; at least 1.

    This is the variance of the share of samples above the percentile between blocks, divided by the variance that
    independent samples would have.

    Args:
        above: The number of samples above the percentile in each block, shape (blocks,).
        sizes: The number of samples in each block, shape (blocks,).
        share: The expected share of samples above the percentile.
    """
    if len(sizes) < 2:
        return 1.0
    residues = above - sizes * above.sum() / sizes.sum()
    between = float((residues**2).sum()) * len(sizes) / (len(sizes) - 1)
    return max(between / (float(sizes.sum()) * share * (1 - share)), 1.0)


@functools.cache
def _median_ranks(count: int) -> tuple[int, int]:
    """Return the ranks that enclose the median at MEDIAN_ERROR, or the first and last rank if there are too few."""
    low, high = quantile_ranks(count, 0.5, MEDIAN_ERROR)
    return 0 if low is None else low, count - 1 if high is None else high


def timer_step(blocks: Sequence[Sequence[float]]) -> float:
    """Return the resolution of the timer, as a share of the samples: the smallest step between two samples.

    The result is 0 if no two samples are equal: the timer is finer than the scatter of the samples. The result is 1 if
    all samples are equal: they may be a single tick of the timer. Samples that differ by less than 1e-6 count as equal,
    because the difference is a rounding error.
    """
    ordered = np.sort(np.fromiter(itertools.chain.from_iterable(blocks), float))
    with np.errstate(divide="ignore", invalid="ignore"):  # a sample may be 0
        steps = np.diff(ordered) / ordered[:-1]
    coarse = steps[steps > 1e-6]
    if len(coarse) == len(steps):
        return 0.0
    return float(coarse.min()) if len(coarse) else 1.0


def median(samples: Sequence[float]) -> float:
    """Return the median of a block or of the units of an interval, in the unit of `samples`.

    They are few, so that sorting is faster than numpy, whose median also imports its masked arrays.
    """
    ordered = sorted(samples)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
