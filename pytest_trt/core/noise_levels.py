"""Add the noise between probes, runs and builds to confidence intervals.

The blocks of one probe show nothing about other probes: the memory of the next probe lies elsewhere. A part of this
difference depends on the order of opening. If two probes are open at the same time, the second one finds the memory of
the first already allocated, and is slower, or faster, every time. Pairs of probes are therefore opened in an
alternating order (`first_side`), so that this open-order effect can be separated from chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_trt.core import stats
from pytest_trt.core.distributions import t_quantile
from pytest_trt.core.records import Block, Estimate, Samples
from pytest_trt.core.stats import ALPHA, Interval

FREEDOM = 8
"""The degrees of freedom that a calibrated spread counts as."""

PERCENTILES = {"p95_ms": 95.0, "p99_ms": 99.0}
"""The figures that are percentiles of `ms`. Every further sample narrows their interval, whichever probe it is from."""

MIN_PERCENTILE_S = 4.8
"""How long a percentile is sampled at least before it is decided, in seconds of blocks: no interval knows of slow
samples that have not occurred yet. Spells of slow samples that begin at random, once a second on average, are all
missed in 0.8 % of such samplings (exp(-4.8))."""

WIDEST = 1e6
"""The largest factor between a figure and an end of its interval. A wider interval says nothing more: it comes from few
blocks of a busy machine. Its ends might not be numbers that a file may contain."""


def first_side(turn: int) -> int:
    """Return the side, 0 or 1, that comes first in a turn, counted from 0.

    The order is the Thue-Morse sequence, AB BA BA AB ...: a linear drift cancels in every two turns and a quadratic
    drift in every four.
    """
    return turn.bit_count() % 2


def location_interval(
    probes: Sequence[Sequence[float]],
    spread: float = 0.0,
    alpha: float = ALPHA,
    beta: float | None = None,
    *,
    open_order_effect: float = 0.0,
    pairs: bool = False,
) -> Interval:
    """Return the interval of the location of units from several probes (or runs), each with the same weight.

    The scatter within the probes gives an inner interval. It is widened by a margin for the spread between probes.

    Args:
        probes: The units of each probe or pair of probes, such as logarithms of block medians or of their ratios. A
            probe with fewer units than the first look (`stats.LOOKS`) is ignored, unless there is no other.
        spread: The calibrated spread between probes, see `level_margin`, as a share. 0 means that there is no such
            level of noise.
        alpha: The error of the lower end.
        beta: The error of the upper end. The default is `alpha`.
        open_order_effect: How far the order of opening alone may move a pair of probes, as a share at a confidence of
            1 - `alpha`. The pairs are opened in the order of `first_side`. The effect widens the interval of a single
            pair, and cancels between pairs that were opened in both orders.
        pairs: Whether the units are ratios of blocks that were measured in turn (see `stats.dependence`).
    """
    kept = [units for units in probes if len(units) >= stats.LOOKS[0]]
    if len(kept) < 2:
        units = kept[0] if kept else [unit for units in probes for unit in units]
        return stats.interval(units, alpha, beta, pairs=pairs).widened(
            spread + open_order_effect, spread + open_order_effect
        )
    shortest = min(map(len, kept))
    medians = [stats.median(units[:shortest]) for units in kept]
    residues, center, count, freedom = _remove_order_effect(medians, open_order_effect)
    centered = [[unit - median + center for unit in units] for units, median in zip(kept, medians, strict=True)]
    inner = stats.interval([unit for turn in zip(*centered, strict=False) for unit in turn], alpha, beta, pairs=pairs)
    # The scatter of blocks is part of this margin too, and the two margins are added, rather than their squares. This
    # makes up for computing the interval again with each new probe.
    below, above = (
        _margin(residues, spread, error, count, freedom) if spread else 0.0
        for error in (alpha, alpha if beta is None else beta)
    )
    return inner.widened(below, above)


def last_probe_caught_up(probes: Sequence[Sequence[object]]) -> bool:
    """Return whether the last of several probes has at least as many blocks as the shortest earlier one.

    `location_interval` uses the same number of blocks of every probe. Once the last probe has caught up, further blocks
    of it do not narrow the interval.
    """
    *earlier, blocks = map(len, probes)
    return bool(earlier) and blocks >= min(earlier)


def _remove_order_effect(medians: Sequence[float], open_order_effect: float) -> tuple[list[float], float, float, int]:
    """Split the medians of the probes into a common center, the effect of the order of opening, and residues.

    A difference between the two orders that is larger than `open_order_effect` stays in the residues: it is more likely
    that a single probe is an outlier.

    Returns:
        The residue of each probe, the center, the number of probes that the precision of the center corresponds to,
        and the degrees of freedom of the residues.
    """
    orders = [[m for turn, m in enumerate(medians) if first_side(turn) == first] for first in (0, 1)]
    if not open_order_effect:
        orders = [list(medians)]
    means = [sum(order) / len(order) for order in orders]
    center = sum(means) / len(means)
    effects = [mean - center for mean in means]
    # Clipping gives exactly 0, without a rounding error, for an effect that the order of opening explains.
    unexplained = [effect - min(max(effect, -open_order_effect), open_order_effect) for effect in effects]
    residues = [m - mean + rest for order, mean, rest in zip(orders, means, unexplained, strict=True) for m in order]
    count = len(orders) ** 2 / sum(1 / len(order) for order in orders)
    return residues, center, count, len(medians) - (1 if any(unexplained) else len(orders))


def level_margin(values: Sequence[float], spread: float, alpha: float = ALPHA) -> float:
    """Return how far the mean of `values` may be from the truth because of the spread at one level of noise.

    The calibrated spread counts as FREEDOM degrees of freedom. The scatter of `values` is pooled with it (a normal
    variance with its conjugate prior, Gelman et al., Bayesian Data Analysis, 2.6). For one value the margin is
    `spread`.

    Args:
        values: One value for each probe (or run, or build), such as the logarithm of its median.
        spread: How far a single value may be from the truth according to calibrations, at a confidence of 1 - `alpha`.
        alpha: The error at each side.
    """
    center = sum(values) / len(values)
    return _margin([value - center for value in values], spread, alpha, len(values), len(values) - 1)


def _margin(residues: Sequence[float], spread: float, alpha: float, count: float, freedom: int) -> float:
    prior = spread / t_quantile(alpha, FREEDOM)
    pooled = (FREEDOM * prior**2 + sum(r * r for r in residues)) / (FREEDOM + freedom)
    return t_quantile(alpha, FREEDOM + freedom) * math.sqrt(pooled / count)


def calibrated_spread(differences: Sequence[float], alpha: float = ALPHA) -> float:
    """Return the spread that A/A calibrations show: how far two probes of the same plan differ by chance.

    The open-order effect is not part of it. Few calibrations give a wide spread.

    Args:
        differences: The log ratio of the probe opened first to the one opened second, for at least two pairs.
        alpha: The spread has a confidence of 1 - `alpha`.
    """
    center, freedom = sum(differences) / len(differences), len(differences) - 1
    scatter = math.sqrt(sum((d - center) ** 2 for d in differences) / freedom)
    return t_quantile(alpha, freedom) * scatter


def calibrated_open_order_effect(differences: Sequence[float], alpha: float = ALPHA) -> float:
    """Return the open-order effect that A/A calibrations show: how far opening a probe first changes its times.

    The arguments are those of `calibrated_spread`.
    """
    center = sum(differences) / len(differences)
    return abs(center) + calibrated_spread(differences, alpha) / math.sqrt(len(differences))


def estimate(figure: str, probes: Sequence[Samples], spread: float = 0.0, alpha: float = ALPHA) -> Estimate:
    """Estimate a figure from the blocks of one side of a comparison.

    `p95_ms` and `p99_ms` are percentiles of `ms`, and `max_ms` is its slowest sample. Any other figure is the median of
    the samples of that name.

    Args:
        figure: The name of the figure, a key of `figures.FIGURES`.
        probes: The samples of each probe.
        spread: The spread between probes, as a share.
        alpha: The error of each end of the interval.

    Raises:
        KeyError: The blocks have no samples for this figure.
    """
    percent = PERCENTILES.get(figure)
    series = figure if percent is None and figure != "max_ms" else "ms"
    blocks = [block for samples in probes for block in samples.blocks]
    times = [block.times[series] for block in blocks]
    if figure == "max_ms":
        return Estimate.exact(max(map(max, times)))
    if min(map(min, times)) <= 0:  # Something that did not happen, such as a copy, has no scatter and no logarithm.
        return Estimate.exact(stats.median([stats.median(block) for block in times]))
    units = [[math.log(stats.median(block.times[series])) for block in samples.blocks] for samples in probes]
    if percent is not None:
        medians = [stats.median(probe_units) for probe_units in units if probe_units]
        margin = level_margin(medians, spread, alpha) if spread else 0.0
        return _estimate_percentile(percent, blocks, times, margin, alpha)
    step = stats.timer_step(times[: stats.STEP_BLOCKS])
    found = location_interval(units, spread, alpha).widened(step, step)
    observed = [unit for probe_units in units for unit in probe_units]
    supported = math.isfinite(found.low)
    limits = (found.center - math.log(WIDEST), found.center + math.log(WIDEST))
    ends = (max(found.low, limits[0]), min(found.high, limits[1])) if supported else (min(observed), max(observed))
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
