"""Compare the energy of two engines from windows that were measured in turn, and decide when there are enough."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_trt.core import noise_levels, repeats, stats
from pytest_trt.core.records import Block, Status, Verdict
from pytest_trt.judge.regression.question import RegressionQuestion, status_of, verdict_from_interval


def compare_windows(question: RegressionQuestion, new: Sequence[Block], old: Sequence[Block]) -> stats.Interval:
    """Return the interval of log(new / old) from windows in turn: each pair of them is one value.

    The interval holds after any number of pairs up to `repeats.MOST_VALUES`, since each has its share of the error.

    Args:
        question: The figure, with its errors, and with how far two probes of one plan differ.
        new: The windows of the side that is judged, with one value each.
        old: As many windows of the other side.
    """
    name = question.figure
    ratios = [math.log(n.times[name][0] / o.times[name][0]) for n, o in zip(new, old, strict=True)]
    center, spread = sum(ratios) / len(ratios), repeats.ASSUMED_SPREAD[name]
    below, above = (
        noise_levels.level_margin(ratios, spread, error / repeats.MOST_VALUES) + question.spread
        for error in (question.alpha, question.beta)
    )
    return stats.Interval(center, center - below, center + above)


def judge_windows(question: RegressionQuestion, new: Sequence[Block], old: Sequence[Block]) -> Verdict:
    """Return the verdict of a figure from windows in turn. The arguments are those of `compare_windows`."""
    detail = f"judged engine against engine: {len(new)} windows each, in turns"
    return verdict_from_interval(question, compare_windows(question, new, old), (detail,))


class WindowRule:
    """A stopping rule (`measure.stopping.Rule`): stop when the windows of both sides decide a question.

    Args:
        question: The question to decide.
    """

    def __init__(self, question: RegressionQuestion) -> None:
        self._question = question
        self.start(2)

    def start(self, sides: int) -> None:
        """Forget an earlier measurement."""
        self._windows: tuple[list[Block], list[Block]] = ([], [])

    def add(self, side: int, probe: int, block: Block) -> None:
        """Add one window of either side."""
        self._windows[side].append(block)

    def finished(self) -> str:
        """Return the reason to stop; empty while more windows may decide."""
        new, old = self._windows
        if min(block.times.get(self._question.figure, (0.0,))[0] for block in (*new, *old)) <= 0:
            return "not comparable"
        status: Status = status_of(self._question, compare_windows(self._question, new, old))
        return "" if status == "inconclusive" else f"decided: {status}"

    def wants_probe(self) -> bool:
        """Return False: the windows of a pair of probes decide."""
        return False
