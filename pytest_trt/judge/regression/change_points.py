"""Find the points in a series of runs at which the level changes.

Candidates are found as in E-divisive (Matteson and James 2014, "A nonparametric approach for multiple change point
analysis of multivariate data"). Their significance is tested by a t test instead of permutations, as in Hunter
(Fleming, Kołaczkowski, Kumar, Das, McCarthy, Pattabhiraman and Ingo 2023, "Hunter: using change point detection to hunt
for performance regressions", ICPE). So every call gives the same answer, and points near the ends of a series are found
too. There are few runs (ten to a thousand), so the series is split recursively as a whole, without Hunter's sliding
windows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_trt.core.distributions import t_quantile

ALPHA = 0.001
"""The error of one test, which is Hunter's default."""

LEAST_CHANGE = 0.005
"""The smallest change of level that is reported, as a share."""

LONGEST = 2000
"""The most runs in a series."""


def change_points(values: Sequence[float], alpha: float = ALPHA, least: float = LEAST_CHANGE) -> tuple[int, ...]:
    """Return the indices, in order, at which a new level begins.

    Args:
        values: The figure of each run, oldest first, all above 0. Their logs are compared, so that a change is a share
            of the level.
        alpha: The error of one test.
        least: The smallest change of level to report, as a share.

    Raises:
        ValueError: There are more than `LONGEST` values.
    """
    if len(values) > LONGEST:
        raise ValueError(f"there are {len(values)} runs: pass at most {LONGEST}, the last ones")
    if len(values) < 4 or max(values) < min(values) * (1 + least):  # no two levels can differ by so much
        return ()
    series = np.log(np.asarray(values, dtype=np.float64))
    found = _split(series, 0, alpha / 2)
    return tuple(_drop_weak(series, found, alpha / 2, least))


def _split(series: NDArray[np.float64], offset: int, tail: float) -> list[int]:
    at = _candidate(series)
    if at is None or not _differ(series[:at], series[at:], tail):
        return []
    return [*_split(series[:at], offset, tail), offset + at, *_split(series[at:], offset + at, tail)]


def _drop_weak(series: NDArray[np.float64], points: list[int], tail: float, least: float) -> list[int]:
    """Return the points whose levels still differ between their neighbours, dropping the weakest first.

    Hunter does the same: points that are found later may explain one that was found early.
    """
    points = list(points)
    while points:
        ends = [0, *points, len(series)]
        sides = [(series[a:b], series[b:c]) for a, b, c in zip(ends, ends[1:], ends[2:], strict=False)]
        changes = [abs(float(right.mean() - left.mean())) for left, right in sides]
        strengths = [change if _differ(*side, tail) else -1.0 for change, side in zip(changes, sides, strict=True)]
        lowest = int(np.argmin(strengths))
        if strengths[lowest] >= np.log1p(least):
            break
        del points[lowest]
    return points


def _candidate(series: NDArray[np.float64]) -> int | None:
    """Return the index at which the energy statistic between both parts is largest; None if there is no such split.

    The statistic is E-divisive's Q with exponent 1, computed for every split at once from sums of the distance matrix.
    """
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
    """Return whether two levels differ by Student's two-sample t test with a common variance, as in Hunter."""
    freedom = len(left) + len(right) - 2
    if freedom < 2:
        return False
    squares = float(((left - left.mean()) ** 2).sum() + ((right - right.mean()) ** 2).sum())
    gap = abs(float(left.mean() - right.mean()))
    error = float(np.sqrt(squares / freedom * (1 / len(left) + 1 / len(right))))
    return gap > t_quantile(tail, freedom) * error and gap > 0
