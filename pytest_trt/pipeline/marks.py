"""Timing that does not disturb: a whole block is put into the streams before anything waits, with events in between."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping
from typing import Any

from pytest_trt import cuda
from pytest_trt.pipeline.lane import Lane, Slot

LEAD = 2
"""Inferences ahead of a block that are not counted: the first after a pause is a fifth slower."""


class Marks:
    """The events of one inference: start and end of each stage."""

    def __init__(self) -> None:
        self._parts: list[cuda.Event] = []
        try:
            self.entering, self.entered, self.computing, self.computed, self.leaving, self.left = (
                self._keep() for _ in range(6)
            )
        except BaseException:
            self.close()
            raise

    def _keep(self) -> cuda.Event:
        self._parts.append(cuda.Event())
        return self._parts[-1]

    def close(self) -> None:
        while self._parts:
            self._parts.pop().close()


class BlockTimer:
    """Times blocks of inferences in a lane, stage by stage, by events on the device; and, in a second pass, one after
    another by the host's clock. Events are made once and kept.

    `flush` is memory to overwrite before each computation, so that it finds the level-2 cache cold.
    """

    def __init__(self, lane: Lane, flush: cuda.DeviceBuffer | None) -> None:
        self._lane, self._flush = lane, flush
        self._marks: list[Marks] = []

    def block(self, count: int) -> Mapping[str, tuple[float, ...]]:
        """Samples in ms: `ms` (the sum of the stages), `gpu_ms`, `h2d_ms`, `d2h_ms`, `enqueue_ms`, `host_ms`."""
        while len(self._marks) < count + LEAD:
            self._marks.append(Marks())
        collecting = gc.isenabled()
        gc.disable()
        try:
            launched = self._device_pass(count + LEAD)
            host = self._host_pass(count)
        finally:
            if collecting:
                gc.enable()
        marks = self._marks[LEAD : count + LEAD]
        gpu = [m.computed.ms_since(m.computing) for m in marks]
        times = {"gpu_ms": gpu, "enqueue_ms": [ns / 1e6 for ns in launched[LEAD:]], "host_ms": host, "ms": gpu}
        if self._lane.transfers:
            times["h2d_ms"] = [m.entered.ms_since(m.entering) for m in marks]
            times["d2h_ms"] = [m.left.ms_since(m.leaving) for m in marks]
            times["ms"] = [sum(parts) for parts in zip(times["h2d_ms"], gpu, times["d2h_ms"], strict=True)]
        return {name: tuple(samples) for name, samples in times.items()}

    def _device_pass(self, total: int) -> list[int]:
        """Give all inferences, each stage between two events, and wait once. Returns each launch's nanoseconds.

        Every stage has a stream of its own, so that what starts the computation's clock has already waited for the
        copy, and the hand-over between the copy engine and the multiprocessors counts to neither.
        """
        lane, slots, marks, clock = self._lane, self._lane.slots, self._marks, time.perf_counter_ns
        copy_in, compute, copy_out, transfers = lane.copy_in, lane.compute, lane.copy_out, lane.transfers
        flush = self._flush
        entering = [slot.entering() for slot in slots]
        leaving = [slot.leaving() for slot in slots]
        launched, depth = [0] * total, len(slots)
        for i in range(total):
            turn, mark = i % depth, marks[i]
            before = marks[i - depth] if i >= depth else None
            if transfers:
                if before is not None:
                    copy_in.wait(before.computed)
                    compute.wait(before.left)
                mark.entering.record(copy_in)
                copy_in.copy(*entering[turn])
                mark.entered.record(copy_in)
                compute.wait(mark.entered)
            if flush is not None:
                compute.fill(flush.address, flush.nbytes)
            mark.computing.record(compute)
            started = clock()
            slots[turn].launch.run()
            launched[i] = clock() - started
            mark.computed.record(compute)
            if transfers:
                copy_out.wait(mark.computed)
                mark.leaving.record(copy_out)
                for copy in leaving[turn]:
                    copy_out.copy(*copy)
                mark.left.record(copy_out)
        lane.synchronize()
        return launched

    def _host_pass(self, count: int) -> list[float]:
        slot, clock, flush = self._lane.slots[0], time.perf_counter_ns, self._flush
        submit, wait = _round_trip(self._lane, slot)
        times = [0.0] * count
        for i in range(count):
            if flush is not None:
                self._lane.compute.fill(flush.address, flush.nbytes)
                self._lane.compute.synchronize()
            started = clock()
            submit()
            wait()
            times[i] = (clock() - started) / 1e6
        return times

    def close(self) -> None:
        while self._marks:
            self._marks.pop().close()


def _round_trip(lane: Lane, slot: Slot) -> tuple[Any, Any]:
    """How one inference by itself is given and waited for: all on one stream, so that nothing is handed over twice."""
    calls = cuda.Commands()
    if lane.transfers:
        calls.copy(lane.compute, *slot.entering())
    calls.extend(slot.launch)
    if lane.transfers:
        for copy in slot.leaving():
            calls.copy(lane.compute, *copy)
    if lane.spin:
        return calls.run, lane.compute.synchronize
    calls.record(slot.buffers.computed, lane.compute)
    return calls.run, slot.buffers.computed.synchronize
