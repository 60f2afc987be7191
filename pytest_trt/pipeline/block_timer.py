"""Time blocks of inferences with CUDA events without stalling the stream.

A whole block is enqueued, with events between the inferences, before the host waits for anything.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping

from pytest_trt.core.nvtx import span
from pytest_trt.engine.backends import cuda
from pytest_trt.pipeline.delay import StreamDelay
from pytest_trt.pipeline.lane import Lane

WARM_UP = 2
"""Inferences before a block that are not counted: the first one after a pause is a fifth slower."""

CORRECTED_BELOW_MS = 1.0
"""Engines slower than this are not corrected for the cost of events. It is less than 0.2 % of their time, which is lost
in the noise of the GPU's power cap."""

_CALIBRATIONS, _REPLAYS = 5, 24


class BlockTimer:
    """Times blocks of inferences in a lane.

    Each stage is timed in a pass of its own, so that the stages do not disturb each other: first computing, then
    copying in, then copying out, each between two events on the device. Finally, whole inferences are timed one after
    another by the host's clock.

    The copies of a pass are enqueued while the pass before still runs, and wait for it. Otherwise, a copy of a few
    microseconds would end before the host has enqueued the next event, and the time between the two events would be the
    host's.

    An event between two graphs delays the second graph: without the event, it starts while the first one ends. The
    delay is some 1.5 us on an H200. `calibrate` measures it once for this graph, and `block` subtracts it from
    `gpu_ms`.

    Args:
        lane: The lane to time.
        flush: Memory to overwrite before each computation, so that the computation finds the L2 cache cold; None to
            leave the cache warm.
        delay: Work that follows each computation and counts as a part of it; None for none.

    Attributes:
        event_cost_ms: The delay by an event in ms; None until `calibrate` has run.
    """

    def __init__(self, lane: Lane, flush: cuda.DeviceBuffer | None, delay: StreamDelay | None = None) -> None:
        self._lane, self._flush, self._delay = lane, flush, delay
        self._events: dict[str, list[cuda.Event]] = {}
        self.event_cost_ms: float | None = None

    def block(self, count: int) -> Mapping[str, tuple[float, ...]]:
        """Time `count` inferences.

        Returns:
            `count` samples in ms for each figure: `gpu_ms`, `h2d_ms` and `d2h_ms` (the stages), `ms` (the sum of the
            stages), `enqueue_ms` (the launch call) and `host_ms` (a whole inference by the host's clock). `h2d_ms` and
            `d2h_ms` are absent if the lane does not transfer data.
        """
        lane = self._lane
        collecting = gc.isenabled()
        gc.disable()
        try:
            with span("compute"):
                times = {"enqueue_ms": self._enqueue_computations(count, self._delay)}
            if lane.transfers:
                input_copies = [[slot.input_copy()] for slot in lane.slots]
                output_copies = [slot.output_copies() for slot in lane.slots]
                with span("copy in"):
                    self._enqueue_copies("h2d_ms", lane.copy_in, input_copies, count, after=lane.compute)
                with span("copy out"):
                    self._enqueue_copies("d2h_ms", lane.copy_out, output_copies, count, after=lane.copy_in)
            lane.synchronize()
            times["gpu_ms"] = self._gpu_ms(count)
            for name in ("h2d_ms", "d2h_ms") if lane.transfers else ():
                times[name] = self._elapsed_ms(name, count)
            with span("one after another"):
                times["host_ms"] = self._round_trips(count)
        finally:
            if collecting:
                gc.enable()
        parts = [times[name] for name in ("h2d_ms", "gpu_ms", "d2h_ms") if name in times]
        times["ms"] = [sum(sample) for sample in zip(*parts, strict=True)]
        return {name: tuple(samples) for name, samples in times.items()}

    def calibrate(self) -> None:
        """Measure the delay that an event between two graphs causes, and store it in `event_cost_ms`.

        Replays with a pair of events around each are compared with replays that are timed as a whole. The delay is 0
        without a graph or with `flush`: launching kernel by kernel, or flushing the cache in between, hides it.
        """
        self.event_cost_ms = 0.0
        graph, compute = self._lane.slots[0].graph, self._lane.compute
        if graph is None or self._flush is not None:
            return
        began, ended = self._event_pairs("whole", 1)[0]
        costs_ms = []
        for _ in range(_CALIBRATIONS):
            self._enqueue_computations(_REPLAYS)
            compute.synchronize()
            with_events_ms = statistics.median(self._gpu_ms(_REPLAYS))
            if with_events_ms > CORRECTED_BELOW_MS:
                return
            for number in range(WARM_UP + _REPLAYS):
                if number == WARM_UP:
                    began.record(compute)
                graph.launch(compute)
            ended.record(compute)
            compute.synchronize()
            costs_ms.append(with_events_ms - ended.ms_since(began) / _REPLAYS)
        self.event_cost_ms = max(0.0, statistics.median(costs_ms))

    def _event_pairs(self, stage: str, count: int) -> list[tuple[cuda.Event, cuda.Event]]:
        """Return `count` pairs of events for a stage; events are created once and reused."""
        events = self._events.setdefault(stage, [])
        while len(events) < 2 * count:
            events.append(cuda.Event())
        return list(zip(events[: 2 * count : 2], events[1 : 2 * count : 2], strict=True))

    def _elapsed_ms(self, stage: str, count: int) -> list[float]:
        """Return the ms between the events of each sample of a stage; all of them must have been recorded."""
        return [ended.ms_since(began) for began, ended in self._event_pairs(stage, WARM_UP + count)[WARM_UP:]]

    def _gpu_ms(self, count: int) -> list[float]:
        """Return the ms of each computation, less the cost of its events."""
        cost = self.event_cost_ms or 0.0
        return [ms - cost for ms in self._elapsed_ms("gpu_ms", count)]

    def _enqueue_computations(self, count: int, delay: StreamDelay | None = None) -> list[float]:
        """Enqueue `count` computations, each with its delay between two events; return the ms of each launch call."""
        compute, flush, clock = self._lane.compute, self._flush, time.perf_counter_ns
        launches = [slot.compute_commands.run for slot in self._lane.slots]
        pairs, launch_ms = self._event_pairs("gpu_ms", WARM_UP + count), []
        for number, (began, ended) in enumerate(pairs):
            if flush is not None:
                compute.fill(flush.address, flush.nbytes)
            began.record(compute)
            started = clock()
            launches[number % len(launches)]()
            launch_ms.append((clock() - started) / 1e6)
            if delay is not None:
                delay.enqueue()
            ended.record(compute)
        return launch_ms[WARM_UP:]

    def _enqueue_copies(
        self, stage: str, stream: cuda.Stream, copies: list[list[tuple[int, int, int]]], count: int, after: cuda.Stream
    ) -> None:
        """Enqueue the copies of the slots in turn, each slot's between two events, to start when `after` is idle."""
        pairs = self._event_pairs(stage, WARM_UP + count)
        pairs[0][0].record(after)
        stream.wait(pairs[0][0])
        for number, (began, ended) in enumerate(pairs):
            began.record(stream)
            for copy in copies[number % len(copies)]:
                stream.copy(*copy)
            ended.record(stream)

    def _round_trips(self, count: int) -> list[float]:
        """Return the ms of each of `count` inferences by the host's clock, from enqueueing it to its result."""
        compute, flush, clock = self._lane.compute, self._flush, time.perf_counter_ns
        submit, wait = self._round_trip_calls()
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

    def _round_trip_calls(self) -> tuple[Callable[[], None], Callable[[], None]]:
        """Return the calls that enqueue one inference and wait for it.

        The copies and the computation share one stream, so that no stream waits for another.
        """
        lane, slot = self._lane, self._lane.slots[0]
        commands = cuda.Commands()
        if lane.transfers:
            commands.copy(lane.compute, *slot.input_copy())
        commands.extend(slot.compute_commands)
        if lane.transfers:
            for copy in slot.output_copies():
                commands.copy(lane.compute, *copy)
        if lane.spin:
            return commands.run, lane.compute.synchronize
        commands.record(slot.buffers.computed, lane.compute)
        return commands.run, slot.buffers.computed.synchronize

    def close(self) -> None:
        """Free the events."""
        while self._events:
            for event in self._events.popitem()[1]:
                event.close()
