"""Measure blocks in live probes: the block source of every measurement."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from pytest_trt.core.records import Block
from pytest_trt.measure.engine_probe import EngineProbe, Subject
from pytest_trt.measure.probe.client import Probe
from pytest_trt.measure.probe.factory import ProbeFactory
from pytest_trt.measure.sampler import side_order
from pytest_trt.measure.stopwatch import Stopwatch


class ProbeSource:
    """A block source with one probe for each side (see `sampler.BlockSource`).

    Use it as a context manager, or close it: the last probes stay open until then.

    The probes of a turn are opened one after the other, in the turn's order: two CUDA contexts that are made at the
    same time would share out the memory by chance. All of them are forked first, so that the next probe can wake the
    driver while one is opened.

    Args:
        sides: For each side, the server that forks its probes, and what they open.
        state: Reads the state of the GPU or host after each block (`read` of `GpuState` or of `host_state`).
        stopwatch: Times the parts of the measurement.
        reverse_opening: Whether to open the probes of every turn in the opposite order.
    """

    levels = ("block", "probe")

    def __init__(
        self,
        sides: Sequence[tuple[ProbeFactory, Subject]],
        state: Callable[[], Mapping[str, float]] | None = None,
        stopwatch: Stopwatch | None = None,
        *,
        reverse_opening: bool = False,
    ) -> None:
        self._sides, self._state, self._stopwatch = sides, state, stopwatch or Stopwatch()
        self._reverse_opening = reverse_opening
        self._turn = 0
        self._probes: dict[int, EngineProbe] = {}
        self._open()

    def _open(self) -> None:
        forked: dict[int, Probe] = {}
        try:
            order = side_order(self._turn, self.sides)
            for side in reversed(order) if self._reverse_opening else order:
                forked[side] = self._sides[side][0].fork()
            for side in tuple(forked):
                self._probes[side] = EngineProbe(*self._sides[side], self._stopwatch, forked.pop(side))
        except BaseException:
            for probe in forked.values():
                probe.close(kill=True)
            self.close()
            raise

    @property
    def probes(self) -> tuple[EngineProbe, ...]:
        """The probes that are open, by side."""
        return tuple(self._probes[side] for side in sorted(self._probes))

    @property
    def sides(self) -> int:
        """The number of sides."""
        return len(self._sides)

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        """Measure the next block of a side, with the state after it unless it is not `kept`."""
        block = self._probes[side].block()
        if self._state is None or not kept:
            return block
        self._stopwatch.lap("sampling")
        state = self._state()
        self._stopwatch.lap("state")
        return dataclasses.replace(block, state=state)

    def release_all_but(self, side: int) -> None:
        """Let the other sides' probes exit while this side's continues; `close` waits for them."""
        for other in set(self._probes) - {side}:
            self._probes[other].disconnect()

    def renew(self) -> None:
        """Replace the probes of all sides by fresh ones, opened in the next turn's order."""
        self._stopwatch.lap("sampling")
        self.close()
        self._stopwatch.lap("end")
        self._turn += 1
        self._open()

    def close(self) -> None:
        """End all probes, and wait until they have exited."""
        for probe in self.probes:
            probe.disconnect()  # so that all of them free their memory at the same time
        while self._probes:
            self._probes.popitem()[1].close()

    def __enter__(self) -> ProbeSource:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
