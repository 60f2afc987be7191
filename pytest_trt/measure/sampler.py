"""Drives a block source until a rule says stop.

    sampling = sample(source, rule, Limits(min_time_s=0.1, max_time_s=10.0))
    new, old = sampling.sides                 # each a tuple of Samples, one a probe; a single side: (new,)

Side 0 is what is judged, side 1 what it is compared with. The sampler does not know what a source is: a probe, two
probes that take turns, or a recorded trace. A rule is anything with the verbs of `stopping.Rule`; it sees numbers only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

from pytest_trt.core.noise_levels import first_side
from pytest_trt.core.nvtx import span
from pytest_trt.core.records import Block, Samples
from pytest_trt.measure.stopping import Rule, Steady


class BlockSource(Protocol):
    """Where blocks come from. `sides` is 1 or 2; `levels` names its levels of noise, from inside out: `("block",)` or
    `("block", "probe")`."""

    @property
    def sides(self) -> int: ...

    @property
    def levels(self) -> tuple[str, ...]: ...

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        """The next block of this side, measured now. Of one that is not `kept`, a warm-up's, only the times count."""
        ...

    def renew(self) -> None:
        """Puts fresh probes in place of all sides', opened in the next turn's order (first_side): of probes
        that are open at once, each finds the memory of those before it taken. Called only where `levels` has the probe
        level."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How long to sample, in seconds of blocks. `warm_up_s` bounds each warm-up (0: none); `probes` bounds how many
    probes a side may use (None: 6, and one for every 2 s from 12 s on), and `figure` is what the warm-up watches."""

    min_time_s: float = 0.1
    max_time_s: float = 10.0
    warm_up_s: float = 0.0
    probes: int | None = None
    figure: str = "ms"

    @property
    def most_probes(self) -> int:
        return max(6, int(self.max_time_s / 2)) if self.probes is None else self.probes


@dataclasses.dataclass(frozen=True)
class Sampling:
    """What was sampled: a tuple of Samples a side, one for each probe in turn. `why` says what ended it, `finished`
    whether that was the rule (else a limit). `warm_up_s` is the first probes' warm-up, `steady` whether every
    warm-up ended because the blocks had become steady."""

    sides: tuple[tuple[Samples, ...], ...]
    why: str
    finished: bool
    seconds: float
    warm_up_s: float = 0.0
    steady: bool = True

    @property
    def blocks(self) -> int:
        return sum(len(samples.blocks) for side in self.sides for samples in side)


def sample(source: BlockSource, rule: Rule, limits: Limits) -> Sampling:
    """Takes blocks, the sides in balanced order, until `rule` has finished and the minimum time has passed, or the
    maximum time has. Errors of the source pass through."""
    run = _Run(source, limits)
    rule.start(source.sides)
    steady, warm_up_s = run.warm_up()
    turn = 0
    while True:
        for side in order(turn, source.sides):
            block = run.take(side)
            rule.add(side, run.probe, block)
        turn += 1
        why = rule.finished() if run.seconds >= limits.min_time_s else ""
        limit = f"time limit of {limits.max_time_s:g} s" if run.seconds >= limits.max_time_s else ""
        if not why and not limit and rule.wants_probe() and "probe" in source.levels:
            if run.probe + 1 < limits.most_probes:
                run.renew()
                steady = run.warm_up()[0] and steady
            elif run.probe and run.seconds >= limits.min_time_s:  # more blocks of this probe would tell little
                limit = f"limit of {limits.most_probes} probes a side"
        if why or limit:
            return Sampling(run.sides(), why or limit, bool(why), run.seconds, warm_up_s, steady)


def order(turn: int, sides: int) -> Sequence[int]:
    """The order of the sides in the given turn, in which a drift cancels (first_side)."""
    first = first_side(turn)
    return (0,) if sides == 1 else (first, 1 - first)


class _Run:
    """The blocks of one sampling, probe by probe."""

    def __init__(self, source: BlockSource, limits: Limits) -> None:
        self._source, self._limits = source, limits
        self._blocks: list[list[list[Block]]] = [[[]] for _ in range(source.sides)]
        self.probe = 0
        self.seconds = 0.0

    def take(self, side: int) -> Block:
        block = self._source.next_block(side)
        self.seconds += block.seconds
        self._blocks[side][-1].append(block)
        return block

    def renew(self) -> None:
        self.probe += 1
        self._source.renew()
        for probes in self._blocks:
            probes.append([])

    def warm_up(self) -> tuple[bool, float]:
        """Takes turns until both sides are steady; whether that was reached, and the seconds that it took."""
        with span("warm-up"):
            return self._warm_up()

    def _warm_up(self) -> tuple[bool, float]:
        seconds, watches = 0.0, [Steady() for _ in self._blocks]
        while self._limits.warm_up_s > 0 and not all(watch.is_steady() for watch in watches):
            if seconds >= self._limits.warm_up_s:
                return False, seconds
            for side, watch in enumerate(watches):
                block = self._source.next_block(side, kept=False)
                seconds += block.seconds
                watch.add(block.times[self._limits.figure])
        return True, seconds

    def sides(self) -> tuple[tuple[Samples, ...], ...]:
        return tuple(
            tuple(Samples(tuple(blocks), probe=number) for number, blocks in enumerate(probes))
            for probes in self._blocks
        )
