"""Decide when there are enough values of figures that have few: openings of an engine, and windows of energy."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_trt.core import repeats
from pytest_trt.core.records import Block
from pytest_trt.judge import budgets

FEWEST_EXCEEDING = 3
"""The least values that may exceed a budget. A single one may be slow for a reason of its own, such as a file that is
not in the page cache."""


class RepeatsRule:
    """A stopping rule (`measure.stopping.Rule`) whose blocks have one value of each figure.

    Such a block is the opening of an engine in a fresh process, or a window of energy.

    Args:
        limits: The budgets by figure. Those of figures that a block has no value of are ignored.
    """

    def __init__(self, limits: Mapping[str, float]) -> None:
        self._limits = limits
        self.start(1)

    def start(self, sides: int) -> None:
        """Forget an earlier sampling."""
        self._values: dict[str, list[float]] = {}
        self._count = 0

    def add(self, side: int, probe: int, block: Block) -> None:
        """Add one block of side 0; those of side 1 are ignored."""
        if side:
            return
        self._count += 1
        for name in self._limits.keys() & block.times.keys():
            self._values.setdefault(name, []).append(block.times[name][0])

    def finished(self) -> str:
        """Return the reason to stop; empty while a budget is undecided and more values may decide it."""
        if self._count >= repeats.MOST_VALUES:
            return f"{repeats.MOST_VALUES} values"
        statuses = {
            budgets.judge(name, repeats.estimate_repeats(name, values), self._limits[name]).status
            for name, values in self._values.items()
        }
        doubtful = "over_budget" in statuses and self._count < FEWEST_EXCEEDING
        return "" if doubtful or "inconclusive" in statuses else "budgets decided"

    def wants_probe(self) -> bool:
        """Return False: an opening has a fresh probe, and more windows need none."""
        return False
