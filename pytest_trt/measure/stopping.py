"""When to stop: small classes that see numbers only, in three verbs.

    rule = AllOf((Resolution("ms", 0.005), budgets.LimitRule(limits), compare.PairedRule(question)))

`Resolution` stops when an interval is narrow enough. Rules that stop when a verdict is decided belong to the judge, and
have the same verbs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from pytest_trt.core import stats
from pytest_trt.core.records import Block


class Rule(Protocol):
    """Says when to stop. `start` forgets an earlier sampling; `add` hands over one block; `finished` gives the
    reason to stop, or nothing; `wants_probe` is whether the spread between probes is what is in the way."""

    def start(self, sides: int) -> None: ...

    def add(self, side: int, probe: int, block: Block) -> None: ...

    def finished(self) -> str: ...

    def wants_probe(self) -> bool: ...


class Resolution:
    """Stops when the interval of side 0's median of `figure` is at most `resolution` (a share) to either side, or the
    timer's step where that is coarser: no number of blocks would tell more."""

    def __init__(self, figure: str, resolution: float, *, alpha: float = stats.ALPHA) -> None:
        self._figure, self._resolution, self._alpha = figure, resolution, alpha
        self.start(1)

    def start(self, sides: int) -> None:
        self._units: list[float] = []
        self._first: list[Sequence[float]] = []
        self._step = 0.0
        self.half_width = math.inf

    def add(self, side: int, probe: int, block: Block) -> None:
        if side == 0:
            self._units.append(math.log(stats.median(block.times[self._figure])))
            if len(self._first) < stats.STEP_BLOCKS:
                self._first.append(block.times[self._figure])
                self._step = stats.timer_step(self._first)
            if stats.is_look(len(self._units)):
                found = stats.interval(self._units, self._alpha)
                self.half_width = math.expm1((found.high - found.low) / 2)

    def finished(self) -> str:
        if self.half_width > max(self._resolution, self._step):
            return ""
        if self._step == 1:
            return "every sample is the same"
        what = "resolution of" if self._step <= self._resolution else "the timer's step,"
        return f"{what} {100 * max(self._resolution, self._step):.2g} %"

    def wants_probe(self) -> bool:
        return False


class AllOf:
    """Stops when each of its rules has finished."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)

    def start(self, sides: int) -> None:
        for rule in self._rules:
            rule.start(sides)

    def add(self, side: int, probe: int, block: Block) -> None:
        for rule in self._rules:
            rule.add(side, probe, block)

    def finished(self) -> str:
        reasons = [rule.finished() for rule in self._rules]
        return "; ".join(dict.fromkeys(reasons)) if all(reasons) else ""

    def wants_probe(self) -> bool:
        unfinished = [rule for rule in self._rules if not rule.finished()]
        return bool(unfinished) and all(rule.wants_probe() for rule in unfinished)


class FixedTime:
    """Stops after so many seconds of blocks: for a measurement that answers no question."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.start(1)

    def start(self, sides: int) -> None:
        self._left = self._seconds

    def add(self, side: int, probe: int, block: Block) -> None:
        self._left -= block.seconds

    def finished(self) -> str:
        return "" if self._left > 0 else f"{self._seconds:g} s of blocks"

    def wants_probe(self) -> bool:
        return False


class Steady:
    """Whether a warm-up is over: the medians of the last WINDOW blocks show no trend.

    No trend: Mann and Kendall's count of rising over falling pairs lies within what chance gives (Mann 1945), or the
    newer half of the window differs from the older by less than NEAR.
    """

    WINDOW = 8
    NEAR = 0.0005
    CHANCE = 16  # of the 28 pairs of 8 values: without any trend reached in 6 % of all cases

    def __init__(self) -> None:
        self._medians: list[float] = []

    def add(self, samples: Sequence[float]) -> None:
        self._medians.append(stats.median(samples))

    def is_steady(self) -> bool:
        last = self._medians[-self.WINDOW :]
        if len(last) < self.WINDOW:
            return False
        half = self.WINDOW // 2
        if abs(math.log(stats.median(last[half:]) / stats.median(last[:half]))) < self.NEAR:
            return True
        rising = sum((b > a) - (b < a) for i, a in enumerate(last) for b in last[i + 1 :])
        return abs(rising) < self.CHANCE
