"""Compare two estimates of a figure, and sample until such a comparison is decided.

Percentiles and throughput have one estimate for each side. Unlike the medians of blocks, the estimates of both sides
cannot be compared block by block.
"""

from __future__ import annotations

import math

from pytest_trt.core import noise_levels, stats
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Block, Estimate, Samples, Status, Verdict
from pytest_trt.judge.regression.question import RegressionQuestion, judge_exact, verdict_from_interval


def judge_estimates(
    question: RegressionQuestion, new: Estimate, old: Estimate, between: float, detail: str = ""
) -> Verdict:
    """Return the verdict of a figure from the estimates of both sides.

    The margins of independent estimates add by their squares: those of both sides, and the one between them. Without
    any margin, the two values are compared as they are.

    Args:
        question: The question to answer.
        new: The figure of the side that is judged, in its own unit.
        old: The figure of the side that it is compared with.
        between: How far the two sides may differ although the engine is the same, as a share.
        detail: The first detail of a verdict that has an interval.
    """
    name = question.figure
    if new.low == new.high and old.low == old.high and not between:
        return judge_exact(name, new.value, old.value, question.tolerance)
    if (needs_s := max(new.needs_s, old.needs_s)) > 0:
        text = f"{FIGURES[name].title} inconclusive: too few samples, needs {needs_s:.2g} s more"
        return Verdict("inconclusive", "baseline", name, text, tolerance=question.tolerance)
    if min(new.low, old.low) <= 0:
        text = f"{FIGURES[name].title} inconclusive: there is no ratio, since an interval reaches 0"
        return Verdict("inconclusive", "baseline", name, text)
    center = math.log(new.value / old.value)
    below = math.hypot(math.log(new.value / new.low), math.log(old.high / old.value), between)
    above = math.hypot(math.log(new.high / new.value), math.log(old.value / old.low), between)
    details = (detail,) if detail else ()
    return verdict_from_interval(question, stats.Interval(center, center - below, center + above), details)


class EstimateRule:
    """A stopping rule (`measure.stopping.Rule`): stop when a figure's estimates are decided.

    Args:
        question: The question to decide.
        between: How far the two sides may differ although the engine is the same, as a share.
        old: The stored figure; None to estimate it from the blocks of side 1.
    """

    def __init__(self, question: RegressionQuestion, between: float, old: Estimate | None = None) -> None:
        self._question, self._between, self._old = question, between, old
        self.start(2)

    def start(self, sides: int) -> None:
        """Forget an earlier sampling."""
        self._blocks: tuple[list[list[Block]], list[list[Block]]] = ([], [])
        self._seconds = 0.0
        self._status: Status = "inconclusive"
        self._probes_decide = False

    def add(self, side: int, probe: int, block: Block) -> None:
        """Add one block of either side."""
        for probes in self._blocks:
            while len(probes) <= probe:
                probes.append([])
        self._blocks[side][probe].append(block)
        self._seconds += block.seconds if side == 0 else 0.0
        new, old = (len(probes[-1]) for probes in self._blocks)
        if (new == old or self._old is not None) and stats.is_look(new):
            self._look()

    def _look(self) -> None:
        spread, figure = self._question.spread, self._question.figure
        sides = [[Samples(tuple(blocks)) for blocks in probes if blocks] for probes in self._blocks]
        new = noise_levels.estimate(figure, sides[0], spread)
        old = self._old or noise_levels.estimate(figure, sides[1], spread)
        self._status = judge_estimates(self._question, new, old, self._between).status
        alone = noise_levels.estimate(figure, sides[0])
        whole = math.hypot(_log_width(new), _log_width(old), 2 * self._between)
        self._probes_decide = alone.needs_s == 0 and _log_width(alone) < whole / 4

    def finished(self) -> str:
        """Return the reason to stop; empty while more blocks are needed.

        Against a stored figure, the sampling also stops when more blocks would not make the interval narrower.
        """
        if self._question.figure in noise_levels.PERCENTILES and self._seconds < noise_levels.MIN_PERCENTILE_S:
            return ""
        if self._status != "inconclusive":
            return f"decided: {self._status}"
        return "the spread between runs decides" if self._old is not None and self._probes_decide else ""

    def wants_probe(self) -> bool:
        """Return whether only a fresh pair of probes can decide."""
        return self._probes_decide and not self.finished()


def _log_width(estimate: Estimate) -> float:
    return math.log(estimate.high / estimate.low) if estimate.low > 0 else math.inf
