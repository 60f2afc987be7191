"""Timing that does not disturb: a whole block is put into the streams before anything waits, with events in between."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping

from pytest_trt.core.nvtx import span
from pytest_trt.engine.backends import cuda
from pytest_trt.pipeline.lane import Lane

LEAD = 2
"""Inferences ahead of a block that are not counted: the first after a pause is a fifth slower."""

CORRECTED_BELOW_MS = 1.0
"""An engine slower than this pays less than 0.2 % for its events, which is lost in the noise of its power cap."""

_CALIBRATIONS, _REPLAYS = 5, 24


class BlockTimer:
    """Times blocks of inferences in a lane. Each stage has a pass of its own, so that none disturbs another: computing,
    copying in and copying out between two events on the device, then all of it in turn by the host's clock.

    The copies wait for the computations before them, and are given while these still run: a copy of a few microseconds
    that the device took up at once would end before the host has said what comes next, and the time between its events
    would be the host's.
    A time stamp between two graphs keeps the second from starting while the first ends (some 1.5 us on an H200). What
    that costs this very graph is found once by `calibrate`, and taken off `gpu_ms`: `event_cost_ms`.
    `flush` is memory to overwrite before each computation, so that it finds the level-2 cache cold.
    """

    def __init__(self, lane: Lane, flush: cuda.DeviceBuffer | None) -> None:
        self._lane, self._flush = lane, flush
        self._events: dict[str, list[cuda.Event]] = {}
        self.event_cost_ms: float | None = None

    def block(self, count: int) -> Mapping[str, tuple[float, ...]]:
        """Samples in ms: `ms` (the sum of the stages), `gpu_ms`, `h2d_ms`, `d2h_ms`, `enqueue_ms`, `host_ms`."""
        lane = self._lane
        collecting = gc.isenabled()
        gc.disable()
        try:
            with span("compute"):
                times = {"enqueue_ms": self._compute(count)}
            if lane.transfers:
                entering = [[slot.input_copy()] for slot in lane.slots]
                leaving = [slot.output_copies() for slot in lane.slots]
                with span("copy in"):
                    self._copy("h2d_ms", lane.copy_in, entering, count, after=lane.compute)
                with span("copy out"):
                    self._copy("d2h_ms", lane.copy_out, leaving, count, after=lane.copy_in)
            lane.synchronize()
            times["gpu_ms"] = self._computed(count)
            for name in ("h2d_ms", "d2h_ms") if lane.transfers else ():
                times[name] = self._between(name, count)
            with span("one after another"):
                times["host_ms"] = self._round_trips(count)
        finally:
            if collecting:
                gc.enable()
        parts = [times[name] for name in ("h2d_ms", "gpu_ms", "d2h_ms") if name in times]
        times["ms"] = [sum(sample) for sample in zip(*parts, strict=True)]
        return {name: tuple(samples) for name, samples in times.items()}

    def calibrate(self) -> None:
        """Find what the events cost: pairs around each replay against replays timed as a whole, in turn. For graphs
        only, and a warm cache; a launch kernel by kernel, or a flush in between, hides it."""
        self.event_cost_ms = 0.0
        graph, compute = self._lane.slots[0].graph, self._lane.compute
        if graph is None or self._flush is not None:
            return
        began, ended = self._pairs("whole", 1)[0]
        found = []
        for _ in range(_CALIBRATIONS):
            self._compute(_REPLAYS)
            compute.synchronize()
            pair = statistics.median(self._computed(_REPLAYS))
            if pair > CORRECTED_BELOW_MS:
                return
            for number in range(LEAD + _REPLAYS):
                if number == LEAD:
                    began.record(compute)
                graph.launch(compute)
            ended.record(compute)
            compute.synchronize()
            found.append(pair - ended.ms_since(began) / _REPLAYS)
        self.event_cost_ms = max(0.0, statistics.median(found))

    def _pairs(self, stage: str, count: int) -> list[tuple[cuda.Event, cuda.Event]]:
        """Events of a stage, made once and kept."""
        events = self._events.setdefault(stage, [])
        while len(events) < 2 * count:
            events.append(cuda.Event())
        return list(zip(events[: 2 * count : 2], events[1 : 2 * count : 2], strict=True))

    def _between(self, stage: str, count: int) -> list[float]:
        """The ms between the events of each of a stage's last `count` samples, which are done."""
        return [ended.ms_since(began) for began, ended in self._pairs(stage, LEAD + count)[LEAD:]]

    def _computed(self, count: int) -> list[float]:
        cost = self.event_cost_ms or 0.0
        return [ms - cost for ms in self._between("gpu_ms", count)]

    def _compute(self, count: int) -> list[float]:
        """Give each computation between two events; the ms of each launch call."""
        compute, flush, clock = self._lane.compute, self._flush, time.perf_counter_ns
        launches = [slot.compute_commands.run for slot in self._lane.slots]
        pairs, launched = self._pairs("gpu_ms", LEAD + count), []
        for number, (began, ended) in enumerate(pairs):
            if flush is not None:
                compute.fill(flush.address, flush.nbytes)
            began.record(compute)
            started = clock()
            launches[number % len(launches)]()
            launched.append((clock() - started) / 1e6)
            ended.record(compute)
        return launched[LEAD:]

    def _copy(
        self, stage: str, stream: cuda.Stream, copies: list[list[tuple[int, int, int]]], count: int, after: cuda.Stream
    ) -> None:
        """Give each slot's copies between two events, slots taking turns, once what `after` has been given is done."""
        pairs = self._pairs(stage, LEAD + count)
        pairs[0][0].record(after)
        stream.wait(pairs[0][0])
        for number, (began, ended) in enumerate(pairs):
            began.record(stream)
            for copy in copies[number % len(copies)]:
                stream.copy(*copy)
            ended.record(stream)

    def _round_trips(self, count: int) -> list[float]:
        """One inference after another, from giving it to having its result."""
        compute, flush, clock = self._lane.compute, self._flush, time.perf_counter_ns
        submit, wait = self._round_trip()
        times = []
        for _ in range(count):
            if flush is not None:
                compute.fill(flush.address, flush.nbytes)
                compute.synchronize()
            started = clock()
            submit()
            wait()
            times.append((clock() - started) / 1e6)
        return times

    def _round_trip(self) -> tuple[Callable[[], None], Callable[[], None]]:
        """How one inference by itself is given and waited for: in one stream, so that nothing is handed over."""
        lane, slot = self._lane, self._lane.slots[0]
        calls = cuda.Commands()
        if lane.transfers:
            calls.copy(lane.compute, *slot.input_copy())
        calls.extend(slot.compute_commands)
        if lane.transfers:
            for copy in slot.output_copies():
                calls.copy(lane.compute, *copy)
        if lane.spin:
            return calls.run, lane.compute.synchronize
        calls.record(slot.buffers.computed, lane.compute)
        return calls.run, slot.buffers.computed.synchronize

    def close(self) -> None:
        while self._events:
            for event in self._events.popitem()[1]:
                event.close()
