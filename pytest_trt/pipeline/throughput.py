"""Measure the throughput of the full pipeline: lanes take turns, and the device always has work waiting."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from pytest_trt.engine.backends import cuda
from pytest_trt.pipeline.lane import Lane

MAX_ROUNDS_IN_FLIGHT = 2
"""The most unfinished inferences of a slot. Two keep the device from waiting for the host, and the limit keeps lanes in
step: if all inferences were enqueued at once, some lanes would run ahead. The host waits on an event outside the
computation, where it costs nothing."""

WARM_UP_ROUNDS = 3
"""Rounds that are not counted, until the pipeline is full."""


class _LaneMeter:
    """The events that time a lane.

    Attributes:
        last_stream: The stream in which an inference of the lane ends.
        began: Recorded in `last_stream` after the warm-up.
        ended: Recorded in `last_stream` after the last inference.
        round_events: For each slot, the events that limit its unfinished inferences.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.last_stream = lane.copy_out if lane.slots[-1].copies_outputs else lane.compute
        self._parts: list[cuda.Event] = []
        try:
            self.began, self.ended = self._keep(cuda.Event()), self._keep(cuda.Event())
            self.round_events = [
                [self._keep(cuda.Event(timing=False, blocking=not lane.spin)) for _ in range(MAX_ROUNDS_IN_FLIGHT)]
                for _ in lane.slots
            ]
        except BaseException:
            self.close()
            raise

    def _keep(self, part: cuda.Event) -> cuda.Event:
        self._parts.append(part)
        return part

    def close(self) -> None:
        """Free the events."""
        while self._parts:
            self._parts.pop().close()


def steady_throughput(lanes: Sequence[Lane], seconds: float) -> float:
    """Return the inferences per second of the full pipeline: the sum of the rates of the lanes.

    Args:
        lanes: The lanes, whose inputs are set.
        seconds: How long to measure, roughly.
    """
    with contextlib.ExitStack() as stack:
        meters = [stack.enter_context(contextlib.closing(_LaneMeter(lane))) for lane in lanes]
        rate = _measure_rate(meters, 2 * WARM_UP_ROUNDS)
        rounds = int(rate * seconds / sum(len(lane.slots) for lane in lanes))
        return _measure_rate(meters, rounds) if rounds > 4 * WARM_UP_ROUNDS else rate


def _measure_rate(meters: Sequence[_LaneMeter], rounds: int) -> float:
    """Return the inferences per second over `rounds` rounds, in each of which every slot infers once."""
    by_lane = [zip(meter.lane.slots, meter.round_events, strict=True) for meter in meters]
    slots_in_turn = [slot_and_events for turn in zip(*by_lane, strict=True) for slot_and_events in turn]
    for number in range(WARM_UP_ROUNDS + rounds):
        for slot, events in slots_in_turn:
            event, lane = events[number % MAX_ROUNDS_IN_FLIGHT], slot.lane
            if number >= MAX_ROUNDS_IN_FLIGHT:
                event.synchronize()
            if lane.transfers:
                slot.inference_commands.run()
                # The copy in waits until the slot's previous inputs have been read, so this event bounds the rest too.
                event.record(lane.copy_in)
            else:
                slot.compute_commands.run()
                event.record(lane.compute)
        if number == WARM_UP_ROUNDS - 1:
            for meter in meters:
                meter.began.record(meter.last_stream)
    for meter in meters:
        meter.ended.record(meter.last_stream)
    for meter in meters:
        meter.lane.synchronize()
    return sum(rounds * len(m.lane.slots) / m.ended.ms_since(m.began) * 1000 for m in meters)
