"""Quantiles and intervals: pure functions on arrays, for whoever measures or judges.

The unit of every interval of a location is a block's median, or the log ratio of two blocks that were taken in turn,
since neighbouring samples are not independent. `interval` may be asked after every unit, as a stopping rule does, and
still holds with the promised probability; docs/background/statistics.md gives the reasons.
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

Array = NDArray[np.float64]

LOOKS = (6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""After how many units `interval` looks; beyond them, whenever their number has doubled. Each of these looks gets an
equal part of the error, and those beyond share one such part, halved from one to the next: all of them together err no
oftener than promised (Bonferroni). They lie a factor of 1.4 apart, where neighbours share little and that is cheap."""

MAX_BATCHES = 32
"""Units beyond this number are averaged in batches: enough batches for a narrow t, and batches that grow, so that what
one unit shares with the next is averaged out within them (Ibragimov and Müller 2010)."""

CLIP = 3.0
"""Units farther than this many robust standard deviations from the median are drawn in to there (winsorised)."""

STEP_BLOCKS = 16
"""Blocks from which a timer's step is read: it shows in the first ones."""

MEDIAN_ERROR = 0.005
"""The error of each end of the median's own interval, which is there to disagree where the mean tells another story."""

ALPHA = 0.001
"""The default error of each end of an interval."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """A location with its ends: P(truth < low) and P(truth > high) are at most the alpha and beta asked for. An end is
    infinite where too few units support it."""

    center: float
    low: float
    high: float

    def widened(self, below: float, above: float) -> Interval:
        return Interval(self.center, self.low - below, self.high + above)


def interval(units: Sequence[float] | Array, alpha: float = ALPHA, beta: float | None = None) -> Interval:
    """The interval of the location of `units`, shape (n,), in their own unit, as it stood at the last of LOOKS.

    A t interval of batch means of winsorised units, each end at its share of `alpha` (the low one) and `beta` (the high
    one). A t test keeps its size for independent normal batches of unequal variances, hence for mixtures of normals:
    heavy tails and changing noise (Bakirov and Székely 2005; used so by Ibragimov and Müller 2010). Winsorising is paid
    for as Dixon and Tukey (1968) do: k units drawn in make the error (n - 1) / (n - k - 1) times larger and take their
    part of the degrees of freedom. What batches still share is paid for by `dependence`. Where the median may lie
    beyond an end, as with noise that has two levels or tails on one side, that end is moved out to where it may lie
    (order statistics, at MEDIAN_ERROR). Fewer than six units give infinite ends.
    """
    values = np.asarray(units, dtype=np.float64)
    count, part = last_look(len(values))
    if not count:
        center = float(np.median(values)) if len(values) else math.nan
        return Interval(center, -math.inf, math.inf)
    values = values[:count]
    drawn = winsorise(values)
    kept = (len(values) - 1 - int(np.count_nonzero(drawn != values))) / (len(values) - 1)
    means = batch_means(drawn)
    center = float(means.mean())
    error = float(means.std(ddof=1)) / math.sqrt(len(means)) / kept * dependence(means)
    freedom = max(int((len(means) - 1) * kept), 1)
    low, high = (t_quantile(part * error_of_end, freedom) for error_of_end in (alpha, alpha if beta is None else beta))
    first, last = _median_ranks(count)
    ordered = np.sort(values)
    ends = min(center - low * error, float(ordered[first])), max(center + high * error, float(ordered[last]))
    return Interval(center, *ends)


def dependence(means: Array) -> float:
    """By what factor the standard error of the mean of `means`, shape (n,), is larger than if they were independent.

    sqrt((1 + r) / (1 - r)), as for an autoregression of order one, where r is the autocorrelation at lag one, corrected
    for its bias (Marriott and Pope 1954) and raised by half a standard error (Bartlett 1946), so that doubt widens the
    interval; never below 1.
    """
    count = len(means)
    residues = means - means.mean()
    total = float(residues @ residues)
    if total == 0:
        return 1.0
    seen = float(residues[1:] @ residues[:-1]) / total
    r = seen + (1 + 3 * max(seen, 0.0)) / count + 0.5 / math.sqrt(count)
    return math.sqrt((1 + min(r, 0.95)) / (1 - min(r, 0.95))) if r > 0 else 1.0


def is_look(n: int) -> bool:
    """Whether `interval` of n units differs from that of n - 1."""
    return n > 0 and last_look(n)[0] == n


def last_look(n: int) -> tuple[int, float]:
    """After how many of n units `interval` looked last, 0 where not yet, and that look's share of the error."""
    part = 1 / (len(LOOKS) + 1)
    doublings = (n // LOOKS[-1]).bit_length() - 1
    if doublings > 0:
        return LOOKS[-1] << doublings, part / 2**doublings
    at = bisect.bisect_right(LOOKS, n)
    return (LOOKS[at - 1] if at else 0), part


def winsorise(values: Array) -> Array:
    """The values, shape (n,), those beyond CLIP robust standard deviations (1.4826 times the median absolute deviation,
    Hampel 1974) drawn in to there. Where more than half of the values are one and the same, nothing is drawn in."""
    center = np.median(values)
    scale = 1.4826 * float(np.median(np.abs(values - center)))
    return np.clip(values, center - CLIP * scale, center + CLIP * scale) if scale > 0 else values


def batch_means(values: Array) -> Array:
    """Means of consecutive values in batches of 1, 2, 4, ..., the smallest that leaves at most MAX_BATCHES of them;
    the last values that fill no batch are left out."""
    size = 1
    while len(values) // size > MAX_BATCHES:
        size *= 2
    count = len(values) // size
    means: Array = values[: count * size].reshape(count, size).mean(axis=1)
    return means


@functools.cache
def t_quantile(tail: float, freedom: int) -> float:
    """The t that Student's distribution with `freedom` degrees exceeds with probability `tail` (0 < tail < 0.5)."""
    low, high = 0.0, 1.0
    while _t_tail(high, freedom) > tail:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_tail(middle, freedom) > tail else (low, middle)
    return high


def _t_tail(t: float, freedom: int) -> float:
    """P(T > t), by the finite series for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(freedom))
    sine, square = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0 if freedom == 1 else term
    for k in range(2 + odd, freedom - 1, 2):
        term *= square * (k - 1) / k
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return (1 - inside) / 2


def percentile(samples: Sequence[float] | Array, percent: float) -> float:
    """The percentile by trtexec's definition: of n sorted samples, the one at n - 1 - int((1 - percent / 100) n)."""
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    return float(ordered[_trtexec_index(len(ordered), percent)])


def _trtexec_index(count: int, percent: float) -> int:
    return max(count - 1 - int((1 - percent / 100) * count), 0)


@dataclasses.dataclass(frozen=True)
class PercentileInterval:
    """A percentile with its ends. `needed` is how many samples would support both ends; below it, an end that is not
    supported is infinite."""

    value: float
    low: float
    high: float
    needed: int


def percentile_interval(
    blocks: Sequence[Sequence[float] | Array], percent: float, alpha: float = ALPHA
) -> PercentileInterval:
    """The interval of a percentile of samples that depend on one another within a block.

    By order statistics: the ends are samples whose ranks a binomial count leaves with probability `alpha` at each end
    (David and Nagaraja, Order Statistics, 7.1), for as many independent samples as the blocks are worth: n divided by
    the design effect of the share of samples beyond the percentile (Woodruff 1952; Kish 1965, 8.2), and by what
    neighbouring blocks have of it in common (`dependence`). Where that leaves no rank, though there were samples
    enough but for the neighbours, the slowest sample, or the fastest, is the end.
    """
    ordered = np.sort(np.concatenate([np.asarray(block, dtype=np.float64) for block in blocks]))
    count, share = len(ordered), percent / 100
    value = float(ordered[_trtexec_index(count, percent)])
    sizes = np.array([len(block) for block in blocks], dtype=np.float64)
    above = np.array([np.count_nonzero(np.asarray(block) > value) for block in blocks], dtype=np.float64)
    effect = _design_effect(above, sizes, 1 - share)
    effective = max(int(count / effect / dependence(above / sizes) ** 2), 1)
    needed = math.ceil(effect * math.log(alpha) / math.log(max(share, 1 - share)))
    low, high = _ranks(effective, share, alpha)
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
    """How many dependent samples are worth one: the variance between blocks of the share of samples `above`, over that
    of independent samples; never below 1. Both arrays have one number for each block."""
    if len(sizes) < 2:
        return 1.0
    residues = above - sizes * above.sum() / sizes.sum()
    between = float((residues**2).sum()) * len(sizes) / (len(sizes) - 1)
    return max(between / (float(sizes.sum()) * share * (1 - share)), 1.0)


def _ranks(count: int, share: float, alpha: float) -> tuple[int | None, int | None]:
    """The ranks (from 0) of `count` sorted independent samples that enclose the quantile `share`, each failing with
    probability alpha at most; None where no sample does."""
    below = np.cumsum(_binomial(count, share))
    low = int(np.searchsorted(below, alpha, side="right")) - 1
    high = int(np.searchsorted(below, 1 - alpha))
    return (low if low >= 0 else None), (high if high < count else None)


@functools.cache
def _median_ranks(count: int) -> tuple[int, int]:
    """The ranks that enclose the median at MEDIAN_ERROR, or else the first and the last."""
    low, high = _ranks(count, 0.5, MEDIAN_ERROR)
    return 0 if low is None else low, count - 1 if high is None else high


def _binomial(count: int, share: float) -> Array:
    """The probabilities of 0 to `count` successes, shape (count + 1,)."""
    k = np.arange(count + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    weights: Array = np.exp(
        logs[count] - logs[k] - logs[count - k] + k * math.log(share) + (count - k) * math.log1p(-share)
    )
    return weights


def timer_step(blocks: Sequence[Sequence[float]]) -> float:
    """The resolution of the timer, as a share of the samples: the smallest step between two samples. 0 for a timer that
    is finer than the samples' scatter: then no two of them are alike. 1 where all are: that may be the timer's first
    tick. Steps below 1e-6 are rounding."""
    ordered = sorted(sample for block in blocks for sample in block)
    steps = [(b - a) / a for a, b in itertools.pairwise(ordered)]
    coarse = [step for step in steps if step > 1e-6]
    if len(coarse) == len(steps):
        return 0.0
    return min(coarse, default=1.0)


def median(samples: Sequence[float]) -> float:
    """The median of a block, in the unit of `samples`. Blocks are short tuples, for which sorting beats an array."""
    ordered = sorted(samples)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
