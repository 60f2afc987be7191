"""Other methods in common use: each returns `regressed` or `ok` from one stored run and one new run of a trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from replay import REFERENCE, Array, Trace

Method = Callable[[Array, Array], str]


def mean_of_ten(new: Array, old: Array) -> str:
    """Compare the means of ten inferences, with a threshold of 5 %."""
    return "regressed" if new[0, :10].mean() > 1.05 * old[0, :10].mean() else "ok"


def mean_five_percent(new: Array, old: Array) -> str:
    """Compare as pytest-benchmark's --benchmark-compare-fail=mean:5% does, with rounds from the whole run."""
    return "regressed" if new.mean() > 1.05 * old.mean() else "ok"


def mann_whitney(new: Array, old: Array) -> str:
    """Apply a one-sided Mann-Whitney test at 0.05 to one round of each side.

    It uses the normal approximation with ties (Mann and Whitney 1947). Google Benchmark's compare.py offers this test.
    """
    ours, theirs = new[0], old[0]
    ranks, ties = _ranks(np.concatenate([ours, theirs]))
    n, m = len(ours), len(theirs)
    u = ranks[:n].sum() - n * (n + 1) / 2
    total = n + m
    deviation = math.sqrt(n * m / 12 * (total + 1 - float((ties**3 - ties).sum()) / (total * (total - 1))))
    return "regressed" if deviation and (u - n * m / 2) / deviation > 1.6449 else "ok"


def _ranks(values: Array) -> tuple[Array, Array]:
    """Return the mid-ranks, from 1, and the sizes of the groups of equal values."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + 1 + ends) / 2)[inverse], counts.astype(np.float64)


METHODS: Mapping[str, Method] = {
    "5 % on the mean of 10": mean_of_ten,
    "pytest-benchmark mean:5%": mean_five_percent,
    "Mann-Whitney at 0.05": mann_whitney,
}


def trial(
    method: Method, trace: Trace, engine: str, generator: np.random.Generator, rounds: int = 5
) -> tuple[str, float]:
    """Return one verdict, and the GPU time in seconds of the samples that it could use.

    The two sides come from different stretches of `rounds` rounds.
    """
    new, old = trace.engines[engine], trace.engines[REFERENCE]
    start = int(generator.integers(len(new)))
    old_start = start + rounds + int(generator.integers(max(len(old) - 2 * rounds, 0) + 1))
    ours = new[(start + np.arange(rounds)) % len(new)]
    theirs = old[(old_start + np.arange(rounds)) % len(old)]
    return method(ours, theirs), float(ours.sum() + theirs.sum()) / 1000
