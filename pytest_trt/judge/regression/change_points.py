"""Where in a series of runs the level changes.

The candidate is found as by E-divisive (Matteson and James 2014, "A nonparametric approach for multiple change point
analysis of multivariate data"), significance by a t test instead of permutations, as in Hunter (Fleming, Kołaczkowski,
Kumar, Das, McCarthy, Pattabhiraman and Ingo 2023, "Hunter: using change point detection to hunt for performance
regressions", ICPE): the same answer on every call, and points at the ends of a series are found too. Runs are few (ten
to a thousand), so that the series is split again and again as a whole, without Hunter's sliding windows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_trt.core import stats

ALPHA = 0.001
"""The error of one test, as Hunter's default."""

LEAST_CHANGE = 0.005
"""A change of level by a smaller share than this is not worth a mark."""

LONGEST = 2000
"""More runs than this are not looked at."""


def change_points(values: Sequence[float], alpha: float = ALPHA, least: float = LEAST_CHANGE) -> tuple[int, ...]:
    """The indices, in order, at which a new level begins. Raises ValueError for more than 2000 values.

    Values are compared as logs, so that a change is a share of the level; all of them must be above 0.
    """
    if len(values) > LONGEST:
        raise ValueError(f"{len(values)} runs: at most {LONGEST} are looked at")
    series = np.log(np.asarray(values, dtype=np.float64))
    found = _split(series, 0, alpha / 2)
    return tuple(_kept(series, found, alpha / 2, least))


def _split(series: NDArray[np.float64], offset: int, tail: float) -> list[int]:
    at = _candidate(series)
    if at is None or not _differ(series[:at], series[at:], tail):
        return []
    return [*_split(series[:at], offset, tail), offset + at, *_split(series[at:], offset + at, tail)]


def _kept(series: NDArray[np.float64], points: list[int], tail: float, least: float) -> list[int]:
    """The points whose levels still differ between their neighbours, the weakest dropped first, as Hunter does: a
    point found early may have been explained by those found after it."""
    points = list(points)
    while points:
        ends = [0, *points, len(series)]
        sides = [(series[a:b], series[b:c]) for a, b, c in zip(ends, ends[1:], ends[2:], strict=False)]
        changes = [abs(float(right.mean() - left.mean())) for left, right in sides]
        weak = [change if _differ(*side, tail) else -1.0 for change, side in zip(changes, sides, strict=True)]
        lowest = int(np.argmin(weak))
        if weak[lowest] >= np.log1p(least):
            break
        del points[lowest]
    return points


def _candidate(series: NDArray[np.float64]) -> int | None:
    """Where the energy statistic between both parts is largest: E-divisive's Q with exponent 1, for every split at
    once, from sums of the matrix of distances."""
    count = len(series)
    if count < 4:
        return None
    distances = np.abs(series[:, None] - series[None, :])
    total = distances.cumsum(axis=0).cumsum(axis=1)
    m = np.arange(2, count - 1)
    n = count - m
    within_left = total[m - 1, m - 1]
    left_to_all = total[m - 1, -1]
    between = left_to_all - within_left
    within_right = total[-1, -1] - 2 * left_to_all + within_left
    energy = m * n / count * (2 * between / (m * n) - within_left / (m * (m - 1)) - within_right / (n * (n - 1)))
    best = int(np.argmax(energy))
    return int(m[best]) if energy[best] > 0 else None


def _differ(left: NDArray[np.float64], right: NDArray[np.float64], tail: float) -> bool:
    """Student's two-sample t test with a common variance, as Hunter's."""
    freedom = len(left) + len(right) - 2
    if freedom < 2:
        return False
    squares = float(((left - left.mean()) ** 2).sum() + ((right - right.mean()) ** 2).sum())
    gap = abs(float(left.mean() - right.mean()))
    error = float(np.sqrt(squares / freedom * (1 / len(left) + 1 / len(right))))
    return gap > stats.t_quantile(tail, freedom) * error and gap > 0
