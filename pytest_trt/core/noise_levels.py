"""The levels of noise above the block: probes, runs, builds, and what they add to an interval.

Blocks of one probe say nothing of the next one, whose memory lies elsewhere. Where an engine lies has a part that
depends on the order: of two probes that are open at once the second finds the first one's memory taken, and is slower
or faster for it every time. Probes are therefore opened in turns, `first_side`, and what the place gives is told from
what is chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pytest_trt.core import stats
from pytest_trt.core.records import Block, Estimate, Samples
from pytest_trt.core.stats import ALPHA, Interval

FREEDOM = 8
"""For how many degrees of freedom a calibrated spread counts."""


def first_side(turn: int) -> int:
    """Which of two sides comes first in a turn: Thue and Morse's order, AB BA BA AB ..., in which a linear drift
    cancels in every two turns and a quadratic one in every four."""
    return turn.bit_count() % 2


def location_interval(
    probes: Sequence[Sequence[float]],
    spread: float = 0.0,
    alpha: float = ALPHA,
    beta: float | None = None,
    *,
    open_order_effect: float = 0.0,
) -> Interval:
    """The interval of the location of units that come from several probes (or runs), each of which counts alike.

    Their scatter within a probe gives an inner interval, which is widened by what the probes may add. `spread` is as
    for `level_margin`; 0: there is no such level. `place` is how far the place alone may move a pair of probes that are
    opened in the order of `first_side`. It is in the interval of a single pair; it cancels between pairs of both
    orders. Both are shares at a confidence of 1 - `alpha`.
    """
    kept = [units for units in probes if len(units) >= stats.LOOKS[0]]  # a probe that has only begun does not count
    if len(kept) < 2:
        units = kept[0] if kept else [unit for units in probes for unit in units]
        return stats.interval(units, alpha, beta).widened(spread + open_order_effect, spread + open_order_effect)
    shortest = min(map(len, kept))
    medians = [float(np.median(units[:shortest])) for units in kept]
    residues, center, count, freedom = _apart(medians, open_order_effect)
    alike = [[unit - median + center for unit in units] for units, median in zip(kept, medians, strict=True)]
    inner = stats.interval([unit for turn in zip(*alike, strict=False) for unit in turn], alpha, beta)
    # a probe's share of its own blocks' scatter is in the margin too, and the margins are added, not their squares:
    # that pays for looking again with each new probe
    below, above = (
        _margin(residues, spread, error, count, freedom) if spread else 0.0
        for error in (alpha, alpha if beta is None else beta)
    )
    return inner.widened(below, above)


def last_probe_caught_up(probes: Sequence[Sequence[object]]) -> bool:
    """Whether the last of several probes has as many blocks as the shortest before it: as `location` counts them alike,
    more of its blocks would tell nothing."""
    *earlier, blocks = map(len, probes)
    return bool(earlier) and blocks >= min(earlier)


def _apart(medians: Sequence[float], open_order_effect: float) -> tuple[list[float], float, float, int]:
    """What is left of each probe's median without the place it had; the middle of all; how many probes that middle is
    worth; and the degrees of freedom of what is left. A difference between the orders that is more than the place can
    make is left: it is one odd probe's."""
    orders = [[m for turn, m in enumerate(medians) if first_side(turn) == first] for first in (0, 1)]
    if not open_order_effect:
        orders = [list(medians)]
    means = [sum(order) / len(order) for order in orders]
    center = sum(means) / len(means)
    apart = [mean - center for mean in means]
    odd = [
        by - min(max(by, -open_order_effect), open_order_effect) for by in apart
    ]  # 0, and not nearly, where the place explains it
    residues = [m - mean + rest for order, mean, rest in zip(orders, means, odd, strict=True) for m in order]
    worth = len(orders) ** 2 / sum(1 / len(order) for order in orders)
    return residues, center, worth, len(medians) - (1 if any(odd) else len(orders))


def level_margin(values: Sequence[float], spread: float, alpha: float = ALPHA) -> float:
    """How far the mean of `values`, one for each probe (or run, or build), may lie from the truth at that level.

    `spread` is what calibrations give for a single one, at a confidence of 1 - `alpha`, and counts as FREEDOM degrees
    of freedom; what `values` themselves show is pooled with it (a normal variance with its conjugate prior, Gelman et
    al., Bayesian Data Analysis, 2.6). With one value the margin is `spread`.
    """
    center = sum(values) / len(values)
    return _margin([value - center for value in values], spread, alpha, len(values), len(values) - 1)


def _margin(residues: Sequence[float], spread: float, alpha: float, count: float, freedom: int) -> float:
    prior = spread / stats.t_quantile(alpha, FREEDOM)
    pooled = (FREEDOM * prior**2 + sum(r * r for r in residues)) / (FREEDOM + freedom)
    return stats.t_quantile(alpha, FREEDOM + freedom) * math.sqrt(pooled / count)


def calibrated_spread(differences: Sequence[float], alpha: float = ALPHA) -> float:
    """The `spread` that A/A calibrations show: how far two probes of one plan differ but for their place, at a
    confidence of 1 - `alpha`, from the log ratios of the first opened to the second, of two pairs or more. Few
    calibrations give a wide one."""
    center, freedom = sum(differences) / len(differences), len(differences) - 1
    scatter = math.sqrt(sum((d - center) ** 2 for d in differences) / freedom)
    return stats.t_quantile(alpha, freedom) * scatter


def calibrated_open_order_effect(differences: Sequence[float], alpha: float = ALPHA) -> float:
    """The `place` that the same calibrations show: how far being opened first moves a probe against the second."""
    center = sum(differences) / len(differences)
    return abs(center) + calibrated_spread(differences, alpha) / math.sqrt(len(differences))


PERCENTILES = {"p95_ms": 95.0, "p99_ms": 99.0}
"""Figures that are percentiles of `ms`: each sample tells them better, of whichever probe it is."""


def estimate(figure: str, probes: Sequence[Samples], spread: float = 0.0, alpha: float = ALPHA) -> Estimate:
    """A figure of records.FIGURES from the blocks of one side, one Samples a probe.

    `p95_ms` and `p99_ms` are percentiles of `ms`, `max_ms` its slowest sample; any other figure is the median of its
    own series. `spread` is the relative spread between probes. Raises KeyError where the blocks lack the series.
    """
    percent = PERCENTILES.get(figure)
    series = figure if percent is None and figure != "max_ms" else "ms"
    blocks = [block for samples in probes for block in samples.blocks]
    times = [block.times[series] for block in blocks]
    if figure == "max_ms":
        return Estimate.exact(max(map(max, times)))
    if min(map(min, times)) <= 0:  # what did not happen, such as a copy, has no scatter
        return Estimate.exact(stats.median([stats.median(block) for block in times]))
    units = [[math.log(stats.median(block.times[series])) for block in samples.blocks] for samples in probes]
    if percent is not None:
        medians = [stats.median(of_probe) for of_probe in units if of_probe]
        margin = level_margin(medians, spread, alpha) if spread else 0.0
        return _estimate_percentile(percent, blocks, times, margin, alpha)
    step = stats.timer_step(times[: stats.STEP_BLOCKS])
    found = location_interval(units, spread, alpha).widened(step, step)
    seen = [unit for of_probe in units for unit in of_probe]
    supported = math.isfinite(found.low)
    ends = (found.low, found.high) if supported else (min(seen), max(seen))
    needs_s = 0.0 if supported else (stats.LOOKS[0] - len(blocks)) * blocks[0].seconds
    value, low, high = (math.exp(x) for x in (found.center, *ends))
    return Estimate(value, low, high, sum(map(len, times)), needs_s)


def _estimate_percentile(
    percent: float, blocks: Sequence[Block], times: Sequence[Sequence[float]], margin: float, alpha: float
) -> Estimate:
    found = stats.percentile_interval(times, percent, alpha * stats.last_look(max(len(blocks), stats.LOOKS[0]))[1])
    count = sum(map(len, times))
    seconds = sum(block.seconds for block in blocks)
    supported = math.isfinite(found.low) and math.isfinite(found.high)
    low = found.low if math.isfinite(found.low) else min(map(min, times))
    high = found.high if math.isfinite(found.high) else max(map(max, times))
    needs_s = 0.0 if supported else max(found.needed - count, 1) * seconds / count
    return Estimate(found.value, low * math.exp(-margin), high * math.exp(margin), count, needs_s)
