"""Estimate figures that have few values: costs that occur once in a process or in a build, and windows of energy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pytest_trt.core import noise_levels, stats
from pytest_trt.core.records import Estimate

ASSUMED_SPREAD: Mapping[str, float] = {
    "build_s": math.log(1.5),
    "load_s": math.log(2),
    "first_ms": math.log(2),
    "energy_mj": 0.02,
    "power_w": 0.02,
    "net_energy_mj": 0.06,
}
"""How far a single value of these figures may be from their median, as a log ratio, until several values show it."""

MOST_VALUES = 12
"""The most values that are measured to decide a budget."""


def estimate_repeats(figure: str, values: Sequence[float]) -> Estimate:
    """Return the estimate of a figure of `ASSUMED_SPREAD` from a few values of it.

    The interval holds after any number of values up to `MOST_VALUES`, since each number has its share of the error.

    Args:
        figure: The figure's name.
        values: The values, which are positive: one for each process, build or window.
    """
    logs = [math.log(value) for value in values]
    center = sum(logs) / len(logs)
    margin = noise_levels.level_margin(logs, ASSUMED_SPREAD[figure], stats.ALPHA / MOST_VALUES)
    return Estimate(math.exp(center), math.exp(center - margin), math.exp(center + margin), len(values))
