"""Bound how far the latency of one engine may still drift away from what was measured of it.

A device that warms up becomes slower, and the rest of such a drift is its slope times its time constant. Two engines in
turn cancel a drift; a figure of one engine contains it. At the power cap, the clock of a GPU swings too.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from pytest_trt.core import stats
from pytest_trt.core.clock_reasons import decode_reasons
from pytest_trt.core.distributions import t_quantile

CAPPED_S = 1.0
"""How long a GPU is watched at its power cap before one engine's latency counts as known, in seconds. On the recorded
H200, the latency was 2 % low for the first 0.8 s, and then swung with a period of 0.8 s."""

SEEN = 3.0
"""The number of standard errors from which a slope is seen."""

SEEN_S = 30.0
"""The longest time constant of a drift that is seen, in seconds."""

UNSEEN_S = 5.0
"""The longest time constant of a drift that the scatter may hide, in seconds. A slower one would take more time to
exclude than a test has, if blocks scatter by 1 %."""

UNSEEN_CAPPED_S = 2.0
"""The same at the power cap. There the clock follows the power within a second, which is waited for (`CAPPED_S`)."""

UNSEEN_ERROR = stats.ALPHA / 10
"""The error of the slope that the scatter may hide. It is looked at about ten times, as long as the blocks are few."""

UNSEEN_CAPPED_ERROR = stats.ALPHA
"""The same at the power cap, where the first second of blocks is not looked at."""

WATCHED_S = 0.7
"""How long one engine is watched before its scatter shows how large a hidden drift may be, in seconds: neighbouring
blocks may be alike for a tenth of it. After 0.5 s, 0.17 % of drifts of 5 s were missed; none was after 0.65 s."""

MOST_UNSEEN = 0.1
"""The largest rest of a drift that is assumed unseen, as a log ratio. On the H200, a cold start moved it by 3 %."""


def is_power_capped(state: Mapping[str, float]) -> bool:
    """Return whether a state of the GPU shows the power cap (see `Block.state`)."""
    return "power cap" in decode_reasons(state.get("reasons", 0))


@dataclasses.dataclass(frozen=True)
class Slope:
    """The slope of a series, per second.

    Attributes:
        rise: The slope.
        error: Its standard error; infinite if there are too few units.
        freedom: The degrees of freedom of the error.
    """

    rise: float
    error: float
    freedom: int

    def most(self, sign: int, alpha: float) -> float:
        """Return the upper end of the interval of `sign` times the slope, at an error of `alpha`."""
        if math.isinf(self.error):
            return math.inf
        return sign * self.rise + t_quantile(alpha, self.freedom) * self.error


def slope(probes: Sequence[Sequence[float]], seconds: float) -> Slope:
    """Return the common slope of several series, per second.

    It is that of least squares through the batch means of winsorised units. Dependence between the batches increases
    the error, as in `stats.interval`.

    Args:
        probes: The units of each probe, such as log medians of blocks, in the order of measurement. A probe with fewer
            units than the first look (`stats.LOOKS`) is ignored.
        seconds: The time from one unit to the next.
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
        factors += (len(means) - 2) * stats.dependence(rest, trend=True)
    if not squares:
        return Slope(0.0, math.inf, 0)
    return Slope(covariance / squares, factors / freedom * math.sqrt(residual / freedom / squares), freedom)


def margins(probes: Sequence[Sequence[float]], seconds: float, *, capped: bool = False) -> tuple[float, float]:
    """Return how far below and above the location of the units the level after a drift may lie.

    An exponential drift goes on by its slope times its time constant. The scatter may hide a slope up to the end of its
    interval; one that is seen may have a longer time constant. If the newer half of the units shows that a drift has
    ended, its own slope counts, from its own level. Within `WATCHED_S`, any hidden drift is possible.

    Args:
        probes: The units of each probe; see `slope`.
        seconds: The time from one unit to the next.
        capped: Whether the GPU was at its power cap.
    """
    newer = [units[len(units) // 2 :] for units in probes]
    kept = [(stats.median(half), stats.median(units)) for half, units in zip(newer, probes, strict=True) if half]
    moved = sum(half - whole for half, whole in kept) / max(len(kept), 1)
    whole, half = slope(probes, seconds), slope(newer, seconds)
    hidden_s, alpha = (UNSEEN_CAPPED_S, UNSEEN_CAPPED_ERROR) if capped else (UNSEEN_S, UNSEEN_ERROR)
    least = MOST_UNSEEN if seconds * sum(map(len, probes)) < WATCHED_S else 0.0

    def margin(sign: int) -> float:
        hidden = min(hidden_s * whole.most(sign, alpha), MOST_UNSEEN)
        if sign * whole.rise <= SEEN * whole.error:
            return max(min(hidden, sign * moved + hidden_s * half.most(sign, alpha)), least)
        return max(min(max(SEEN_S * sign * whole.rise, hidden), sign * moved + SEEN_S * half.most(sign, alpha)), least)

    return (math.inf, math.inf) if math.isinf(whole.error) else (margin(-1), margin(1))
