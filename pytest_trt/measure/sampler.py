"""Sample blocks from a source until a rule says stop.

    sampling = sample(source, rule, Limits(min_time_s=0.1, max_time_s=10.0))
    new, old = sampling.sides  # each a tuple of Samples, one for each probe; with a single side: (new,)

Side 0 is the side that is judged; side 1 is what it is compared with. The sampler does not know what its source is:
one probe, two probes in turn, or a recorded trace. The rule follows `stopping.Rule`, and sees numbers only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

from pytest_trt.core.drift import is_power_capped
from pytest_trt.core.noise_levels import first_side
from pytest_trt.core.nvtx import span
from pytest_trt.core.records import Block, Samples
from pytest_trt.measure.stopping import Rule, Steady


class BlockSource(Protocol):
    """Where blocks come from."""

    @property
    def sides(self) -> int:
        """The number of sides: 1 or 2."""
        ...

    @property
    def levels(self) -> tuple[str, ...]:
        """The levels of noise, from the innermost: `("block",)` or `("block", "probe")`."""
        ...

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        """Measure the next block of a side.

        Args:
            side: The side's number.
            kept: Whether the block's state is used. Of most blocks of the warm-up, only the times are.
        """
        ...

    def renew(self) -> None:
        """Replace the probes of all sides by fresh ones, opened in the next turn's order (`noise_levels.first_side`).

        The order matters: of probes that are open at once, each finds the memory of the earlier ones in use. The
        sampler calls this only if `levels` has the probe level.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How long to sample.

    Attributes:
        min_time_s: The least time, in seconds of blocks of all sides together.
        max_time_s: The most time, in seconds of blocks of all sides together.
        warm_up_s: The most time of each warm-up, in seconds of blocks; 0 for no warm-up.
        probes: The most probes of a side; None for 6, and from 12 s on one for every 2 s of `max_time_s`.
        figure: The figure that the warm-up watches.
        hidden_drift: The largest drift that may remain unseen after the warm-up of a single side, as a share a second.
            Two sides in turn cancel a drift.
    """

    min_time_s: float = 0.1
    max_time_s: float = 10.0
    warm_up_s: float = 0.0
    probes: int | None = None
    figure: str = "ms"
    hidden_drift: float = math.inf

    @property
    def most_probes(self) -> int:
        """The most probes of a side, with the default resolved."""
        return max(6, int(self.max_time_s / 2)) if self.probes is None else self.probes


@dataclasses.dataclass(frozen=True)
class Sampling:
    """What was sampled.

    Attributes:
        sides: For each side, the samples of each of its probes, in turn.
        stop_reason: Why the sampling ended.
        finished: Whether the rule ended it, rather than a limit.
        seconds: The time of all blocks, in seconds.
        warm_up_s: The time of the first probes' warm-up, in seconds of blocks.
        steady: Whether every warm-up ended because the blocks had become steady.
    """

    sides: tuple[tuple[Samples, ...], ...]
    stop_reason: str
    finished: bool
    seconds: float
    warm_up_s: float = 0.0
    steady: bool = True

    @property
    def blocks(self) -> int:
        """The number of blocks of all sides and probes together."""
        return sum(len(samples.blocks) for side in self.sides for samples in side)


def sample(source: BlockSource, rule: Rule, limits: Limits) -> Sampling:
    """Sample blocks, the sides in balanced order, until the rule or a limit ends it.

    The rule cannot end it before the minimum time, nor while a single side drifts: a slow drift is seen only after the
    warm-up. Errors of the source pass through.

    Args:
        source: Where the blocks come from.
        rule: Decides when there are enough blocks, and whether fresh probes are needed.
        limits: The least and the most time, and the most probes.
    """
    run = _Run(source, limits)
    rule.start(source.sides)
    steady, warm_up_s = run.warm_up()
    turn = 0
    while True:
        for side in side_order(turn, source.sides):
            block = run.sample_block(side)
            rule.add(side, run.probe, block)
        turn += 1
        finished = rule.finished() if run.seconds >= limits.min_time_s and not run.drifts() else ""
        limit = f"time limit of {limits.max_time_s:g} s" if run.seconds >= limits.max_time_s else ""
        if not finished and not limit and rule.wants_probe() and "probe" in source.levels:
            if run.probe + 1 < limits.most_probes:
                run.renew()
                steady = run.warm_up()[0] and steady
            elif run.probe and run.seconds >= limits.min_time_s:  # more blocks of this probe would add little
                limit = f"limit of {limits.most_probes} probes a side"
        if finished or limit:
            return Sampling(run.sides(), finished or limit, bool(finished), run.seconds, warm_up_s, steady)


def side_order(turn: int, sides: int) -> Sequence[int]:
    """Return the order of the sides in a turn, which cancels a drift over several turns (`noise_levels.first_side`)."""
    first = first_side(turn)
    return (0,) if sides == 1 else (first, 1 - first)


class _Run:
    """The blocks of one sampling, probe by probe.

    Attributes:
        probe: The number of the current probes, counted from 0.
        seconds: The time of all blocks so far, without those of warm-ups.
    """

    def __init__(self, source: BlockSource, limits: Limits) -> None:
        self._source, self._limits = source, limits
        self._blocks: list[list[list[Block]]] = [[[]] for _ in range(source.sides)]
        self._watch = Steady()
        self.probe = 0
        self.seconds = 0.0

    def sample_block(self, side: int) -> Block:
        block = self._source.next_block(side)
        self.seconds += block.seconds
        self._blocks[side][-1].append(block)
        if self._alone:
            self._watch.add(block.times[self._limits.figure], block.seconds, capped=is_power_capped(block.state))
        return block

    @property
    def _alone(self) -> bool:
        """Whether a single side is warmed up and watched. Two sides in turn cancel a drift."""
        return len(self._blocks) == 1 and self._limits.warm_up_s > 0

    def drifts(self) -> bool:
        """Return whether a single side has drifted since the newer half of its blocks began, the warm-up included."""
        return self._alone and not self._watch.is_steady()

    def renew(self) -> None:
        self.probe += 1
        self._source.renew()
        for probes in self._blocks:
            probes.append([])

    def warm_up(self) -> tuple[bool, float]:
        """Sample blocks in turn until every side is steady.

        Returns:
            Whether every side became steady within the limit, and the time of the blocks in seconds.
        """
        with span("warm-up"):
            return self._warm_up()

    def _warm_up(self) -> tuple[bool, float]:
        seconds, watches = 0.0, [Steady(self._limits.hidden_drift if self._alone else math.inf) for _ in self._blocks]
        self._watch = watches[0]
        while self._limits.warm_up_s > 0 and not all(watch.is_steady() for watch in watches):
            if seconds >= self._limits.warm_up_s:
                return False, seconds
            for side, watch in enumerate(watches):
                block = self._source.next_block(side, kept=self._alone and watch.looks_next)
                seconds += block.seconds
                capped = self._alone and is_power_capped(block.state)
                watch.add(block.times[self._limits.figure], block.seconds, capped=capped)
        return True, seconds

    def sides(self) -> tuple[tuple[Samples, ...], ...]:
        return tuple(
            tuple(Samples(tuple(blocks), probe=number) for number, blocks in enumerate(probes))
            for probes in self._blocks
        )
