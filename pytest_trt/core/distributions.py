"""Quantiles of Student's t, and ranks of order statistics, without scipy."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray


@functools.cache
def t_quantile(tail: float, freedom: int) -> float:
    """Return the value that Student's t with `freedom` degrees exceeds with probability `tail` (0 < tail < 0.5)."""
    low, high = 0.0, 1.0
    while _t_tail(high, freedom) > tail:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_tail(middle, freedom) > tail else (low, middle)
    return high


def _t_tail(t: float, freedom: int) -> float:
    """Return P(T > t), by the finite series for integer degrees of freedom (Abramowitz and Stegun 26.7.3, 26.7.4)."""
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


def quantile_ranks(count: int, share: float, alpha: float) -> tuple[int | None, int | None]:
    """Return the ranks, from 0, of two sorted samples that enclose the quantile `share`.

    Each rank is wrong with a probability of at most `alpha` for `count` independent samples. A rank is None if no
    sample achieves that.
    """
    below = np.cumsum(_binomial(count, share))
    low = int(np.searchsorted(below, alpha, side="right")) - 1
    high = int(np.searchsorted(below, 1 - alpha))
    return (low if low >= 0 else None), (high if high < count else None)


def _binomial(count: int, share: float) -> NDArray[np.float64]:
    """Return the probabilities of 0 to `count` successes in `count` trials, shape (count + 1,)."""
    k = np.arange(count + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, count + 1)))])
    weights: NDArray[np.float64] = np.exp(
        logs[count] - logs[k] - logs[count - k] + k * math.log(share) + (count - k) * math.log1p(-share)
    )
    return weights
