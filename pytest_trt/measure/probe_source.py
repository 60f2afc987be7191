"""Blocks from probes: the block source of every live measurement."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_trt.core.records import Block
from pytest_trt.measure.engine_probe import Clock, EngineProbe, Subject
from pytest_trt.measure.probe.client import Probe
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.measure.sampler import side_order

if TYPE_CHECKING:
    pass


class ProbeSource:
    """One probe a side, replaced together on `renew`. Close it: the probes of the last turn stay open until then.

    They are opened one after the other, in the order of their turn: two CUDA contexts that were made at once would
    share out the memory by chance. All are forked before that: while one is opened, the next wakes the driver.
    """

    levels = ("block", "probe")

    def __init__(
        self,
        sides: Sequence[tuple[ProbeServer, Subject]],
        state: Callable[[], Mapping[str, float]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`state` reads the state after each block (`read` of gpu_state.GpuState, or of host_state)."""
        self._sides, self._state, self._clock = sides, state, clock or Clock()
        self._turn = 0
        self._probes: dict[int, EngineProbe] = {}
        self._open()

    def _open(self) -> None:
        forked: dict[int, Probe] = {}
        try:
            for side in side_order(self._turn, self.sides):
                forked[side] = self._sides[side][0].fork()
            for side in tuple(forked):
                self._probes[side] = EngineProbe(*self._sides[side], self._clock, forked.pop(side))
        except BaseException:
            for probe in forked.values():
                probe.close(kill=True)
            self.close()
            raise

    @property
    def probes(self) -> tuple[EngineProbe, ...]:
        """The probes that are open, side by side."""
        return tuple(self._probes[side] for side in sorted(self._probes))

    @property
    def sides(self) -> int:
        return len(self._sides)

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        block = self._probes[side].block()
        if self._state is None or not kept:
            return block
        self._clock.ended("sampling")
        state = self._state()
        self._clock.ended("state")
        return dataclasses.replace(block, state=state)

    def release_all_but(self, side: int) -> None:
        """Let the other sides' probes end while this one goes on; `close` waits for them."""
        for other in set(self._probes) - {side}:
            self._probes[other].hang_up()

    def renew(self) -> None:
        self._clock.ended("sampling")
        self.close()
        self._clock.ended("end")
        self._turn += 1
        self._open()

    def close(self) -> None:
        for probe in self.probes:
            probe.hang_up()  # all of them free what they hold at once
        while self._probes:
            self._probes.popitem()[1].close()

    def __enter__(self) -> ProbeSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
