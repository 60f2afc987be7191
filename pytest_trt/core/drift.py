"""Bound how far the latency of one engine may still drift away from what was measured of it.

A device that warms up becomes slower, and the rest of such a drift is its slope times its time constant. Two engines in
turn cancel a drift; a figure of one engine contains it. At the power cap, the clock of a GPU swings too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from pytest_trt.core import stats
from pytest_trt.core.clock_reasons import decode_reasons

CAPPED_S = 1.0
"""How long a GPU is watched at its power cap before one engine's latency counts as known, in seconds. On the recorded
H200, the latency was 2 % low for the first 0.8 s, and then swung with a period of 0.8 s."""

SEEN = 3.0
"""The number of standard errors from which a slope is seen."""

SEEN_S = 10.0
"""The longest time constant of a drift that is seen, in seconds."""

UNSEEN = 2.0
"""The number of standard errors that the slope of a drift may have without being seen."""

UNSEEN_S = 2.0
"""The longest time constant of a drift that is not seen, in seconds: a slower one moves the latency by so little in a
short measurement that no scatter would hide it less."""


def is_power_capped(state: Mapping[str, float]) -> bool:
    """Return whether a state of the GPU shows the power cap (see `Block.state`)."""
    return "power cap" in decode_reasons(state.get("reasons", 0))


def slope(probes: Sequence[Sequence[float]], seconds: float) -> tuple[float, float]:
    """Return the common slope of several series, per second, and its standard error.

    It is that of least squares through the batch means of winsorised units. Dependence between the batches increases
    the error, as in `stats.interval`.

    Args:
        probes: The units of each probe, such as log medians of blocks, in the order of measurement. A probe with fewer
            units than the first look (`stats.LOOKS`) is ignored.
        seconds: The time from one unit to the next.

    Returns:
        The slope and its error; the error is infinite if every probe was ignored.
    """
    covariance = squares = residual = 0.0
    freedom, factors = 0, 0.0
    for units in probes:
        count = stats.last_look(len(units))[0]
        if not count:
            continue
        means = stats.batch_means(stats.winsorise(np.asarray(units[:count], dtype=np.float64)))
        times = np.arange(len(means)) * (count // len(means) * seconds)
        times -= times.mean()
        xy, xx = float(times @ means), float(times @ times)
        rest = means - means.mean() - xy / xx * times
        covariance, squares, residual = covariance + xy, squares + xx, residual + float(rest @ rest)
        freedom += len(means) - 2
        factors += (len(means) - 2) * stats.dependence(rest)
    if not squares:
        return 0.0, math.inf
    return covariance / squares, factors / freedom * math.sqrt(residual / freedom / squares)


def margins(probes: Sequence[Sequence[float]], seconds: float) -> tuple[float, float]:
    """Return how far below and above the location of the units the level after a drift may lie.

    A drift that is seen goes on for `SEEN_S`, at its own slope, or from the level of the newer half of the units at the
    slope that these may still have: a drift that has ended leaves no slope there.

    Args:
        probes: The units of each probe; see `slope`.
        seconds: The time from one unit to the next.
    """
    rise, error = slope(probes, seconds)
    newer = [units[len(units) // 2 :] for units in probes]
    newer_rise, newer_error = slope(newer, seconds)
    kept = [(stats.median(half), stats.median(units)) for half, units in zip(newer, probes, strict=True) if half]
    moved = sum(half - whole for half, whole in kept) / max(len(kept), 1)

    def margin(sign: int) -> float:
        unseen = UNSEEN_S * (sign * rise + UNSEEN * error)
        at_its_slope = SEEN_S * (sign * rise - SEEN * error)
        from_newer = sign * moved + SEEN_S * (sign * newer_rise + UNSEEN * newer_error)
        return max(unseen, min(at_its_slope, from_newer), 0.0)

    return margin(-1), margin(1)
