"""Rules that decide when a sampling stops.

    rule = AllOf((Resolution("ms", 0.005), LimitRule(limits), PairedRule(question)))

A rule sees numbers only. `Resolution` stops when an interval is narrow enough. The rules that stop when a verdict is
decided belong to the judge (`judge.budgets.LimitRule`, `judge.regression.paired.PairedRule`) and follow the same
protocol.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from pytest_trt.core import drift, stats
from pytest_trt.core.records import Block


class Rule(Protocol):
    """What every stopping rule can do. Side 0 is the side that is judged; side 1 is what it is compared with."""

    def start(self, sides: int) -> None:
        """Forget an earlier sampling and prepare for one of so many sides."""
        ...

    def add(self, side: int, probe: int, block: Block) -> None:
        """Add one block of the probe with this number, counted from 0, on this side."""
        ...

    def finished(self) -> str:
        """Return the reason to stop; empty while more blocks are needed."""
        ...

    def wants_probe(self) -> bool:
        """Return whether only fresh probes can decide, because the spread between probes is too wide."""
        ...


class Resolution:
    """Stop when the interval of side 0's median is narrow enough.

    Narrow enough is `resolution` to either side, or the timer's step if that is coarser: more blocks cannot improve on
    the timer's step.

    Args:
        figure: The figure whose median is estimated, such as `ms`.
        resolution: The widest half-width that is accepted, as a share of the median.
        alpha: The error of the interval.

    Attributes:
        half_width: The half-width of the interval at the last look, as a share; infinite before the first look.
    """

    def __init__(self, figure: str, resolution: float, *, alpha: float = stats.ALPHA) -> None:
        self._figure, self._resolution, self._alpha = figure, resolution, alpha
        self.start(1)

    def start(self, sides: int) -> None:
        """Forget an earlier sampling."""
        self._log_medians: list[float] = []
        self._first_blocks: list[Sequence[float]] = []
        self._step = 0.0
        self.half_width = math.inf

    def add(self, side: int, probe: int, block: Block) -> None:
        """Add one block; blocks of side 1 are ignored."""
        if side == 0:
            self._log_medians.append(math.log(stats.median(block.times[self._figure])))
            if len(self._first_blocks) < stats.STEP_BLOCKS:
                self._first_blocks.append(block.times[self._figure])
                if len(self._log_medians) >= stats.LOOKS[0]:  # before the first look, the step decides nothing
                    self._step = stats.timer_step(self._first_blocks)
            if stats.is_look(len(self._log_medians)):
                found = stats.interval(self._log_medians, self._alpha)
                self.half_width = math.expm1((found.high - found.low) / 2)

    def finished(self) -> str:
        """Return the reason to stop; empty while the interval is too wide."""
        if self.half_width > max(self._resolution, self._step):
            return ""
        if self._step == 1:
            return "every sample is the same"
        reached = "resolution of" if self._step <= self._resolution else "the timer's step,"
        return f"{reached} {100 * max(self._resolution, self._step):.2g} %"

    def wants_probe(self) -> bool:
        """Return False: the spread between probes is not part of this interval."""
        return False


class AllOf:
    """Stop when every one of several rules has finished.

    Args:
        rules: The rules, each of which sees every block.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = tuple(rules)

    def start(self, sides: int) -> None:
        """Start every rule."""
        for rule in self._rules:
            rule.start(sides)

    def add(self, side: int, probe: int, block: Block) -> None:
        """Add one block to every rule."""
        for rule in self._rules:
            rule.add(side, probe, block)

    def finished(self) -> str:
        """Return the reasons of all rules, each named once; empty while any rule needs more blocks."""
        reasons = [rule.finished() for rule in self._rules]
        return "; ".join(dict.fromkeys(reasons)) if all(reasons) else ""

    def wants_probe(self) -> bool:
        """Return whether every unfinished rule needs fresh probes."""
        unfinished = [rule for rule in self._rules if not rule.finished()]
        return bool(unfinished) and all(rule.wants_probe() for rule in unfinished)


class IfSampled:
    """A rule that counts only if the first block has the samples that it needs.

    Args:
        has_samples: Returns whether a block has them.
        rule: The rule.
    """

    def __init__(self, has_samples: Callable[[Block], bool], rule: Rule) -> None:
        self._has_samples, self._rule = has_samples, rule
        self._counts: bool | None = None

    def start(self, sides: int) -> None:
        """Start the rule."""
        self._counts = None
        self._rule.start(sides)

    def add(self, side: int, probe: int, block: Block) -> None:
        """Add one block to the rule, if it counts."""
        if self._counts is None:
            self._counts = self._has_samples(block)
        if self._counts:
            self._rule.add(side, probe, block)

    def finished(self) -> str:
        """Return the rule's reason to stop; `not sampled` if the rule does not count."""
        return "not sampled" if self._counts is False else self._rule.finished()

    def wants_probe(self) -> bool:
        """Return whether the rule counts and needs fresh probes."""
        return bool(self._counts) and self._rule.wants_probe()


class FixedTime:
    """Stop after a fixed time: for measurements that no verdict depends on.

    Args:
        seconds: How long to sample, in seconds of blocks of all sides together.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.start(1)

    def start(self, sides: int) -> None:
        """Forget an earlier sampling."""
        self._left_s = self._seconds

    def add(self, side: int, probe: int, block: Block) -> None:
        """Add one block."""
        self._left_s -= block.seconds

    def finished(self) -> str:
        """Return the time as the reason to stop; empty before it has passed."""
        return "" if self._left_s > 0 else f"{self._seconds:g} s of blocks"

    def wants_probe(self) -> bool:
        """Return False: fresh probes would not end it sooner."""
        return False


class Steady:
    """Detect the end of a warm-up: all blocks, or the newer half of them, show no drift.

    A drift is a slope that the scatter does not explain (`drift.slope`). It is looked for after 8, 12, 16, ... blocks,
    so that a slow drift is seen once there are enough of them.

    Args:
        hidden: The largest drift that the scatter may hide, as a share a second. Only more blocks can exclude it.
    """

    WINDOW = 8
    """The least number of blocks that are looked at."""

    NEAR = 0.0005
    """The slope below which a drift does not matter, as a share a second."""

    UNSEEN = 2.0
    """The number of standard errors that the slope of a drift may have without being seen."""

    def __init__(self, hidden: float = math.inf) -> None:
        self._hidden = hidden
        self._log_medians: list[float] = []
        self._seconds = 0.0
        self._capped = self._steady = False

    @property
    def looks_next(self) -> bool:
        """Whether the next block is followed by a look, which needs the state of the GPU too."""
        return stats.is_look(len(self._log_medians) + 1)

    def add(self, samples: Sequence[float], seconds: float = 0.01, *, capped: bool = False) -> None:
        """Add one block.

        Args:
            samples: The samples of the block.
            seconds: How long the block lasted.
            capped: Whether the GPU was at its power cap.
        """
        self._log_medians.append(math.log(stats.median(samples)))
        self._seconds += seconds
        self._capped = self._capped or capped
        if stats.is_look(len(self._log_medians)):
            self._steady = self._shows_no_drift()

    def _shows_no_drift(self) -> bool:
        """Return whether all blocks show no drift, or the newer half shows that the drift has ended."""
        last = self._log_medians[-self.WINDOW :]
        if abs(last[-1] - last[0]) > self.NEAR and last in (sorted(last), sorted(last, reverse=True)):
            return False  # Each block was slower (or faster) than the one before: a curve that no line fits.
        count, most = len(self._log_medians), self._hidden
        spacing = self._seconds / count
        for newest in (count, count // 2):
            if newest < self.WINDOW or (self._capped and newest * spacing < drift.CAPPED_S):
                return False
            found = drift.slope([self._log_medians[-newest:]], spacing)
            bound = abs(found.rise) + self.UNSEEN * found.error
            if abs(found.rise) <= max(drift.SEEN * found.error, self.NEAR) and bound < most:
                return True
            # Fewer blocks hide a drift that all of them show.
            most = min(self._hidden, max(abs(found.rise) / 2, self.NEAR))
        return False

    def is_steady(self) -> bool:
        """Return whether there was no drift at the last look; False before there are `WINDOW` blocks."""
        return self._steady
