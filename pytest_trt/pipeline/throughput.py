"""Throughput of the full pipeline: lanes take turns, and the device always has work waiting."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from pytest_trt.engine.backends import cuda
from pytest_trt.pipeline.lane import Lane

ROUNDS_AHEAD = 2
"""How many inferences a slot has on their way at most: the device never waits for the host, and lanes stay in step.
Given all at once, some would run ahead. What tells is an event beside the computation, where it costs nothing."""

LEAD_ROUNDS = 3
"""Rounds until the pipeline is full."""


class Meter:
    """Counts a lane's inferences between two events of its own."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.last = lane.copy_out if lane.slots[-1].copies_outputs else lane.compute
        self._parts: list[cuda.Event] = []
        try:
            self.began, self.ended = self._keep(cuda.Event()), self._keep(cuda.Event())
            self.tickets = [
                [self._keep(cuda.Event(timing=False, blocking=not lane.spin)) for _ in range(ROUNDS_AHEAD)]
                for _ in lane.slots
            ]
        except BaseException:
            self.close()
            raise

    def _keep(self, part: cuda.Event) -> cuda.Event:
        self._parts.append(part)
        return part

    def close(self) -> None:
        while self._parts:
            self._parts.pop().close()


def steady_throughput(lanes: Sequence[Lane], seconds: float) -> float:
    """Inferences a second, the sum over lanes of their own rates, over about that long, the pipeline being full."""
    with contextlib.ExitStack() as stack:
        meters = [stack.enter_context(contextlib.closing(Meter(lane))) for lane in lanes]
        rate = _rate(meters, 2 * LEAD_ROUNDS)
        rounds = int(rate * seconds / sum(len(lane.slots) for lane in lanes))
        return _rate(meters, rounds) if rounds > 4 * LEAD_ROUNDS else rate


def _rate(meters: Sequence[Meter], rounds: int) -> float:
    by_lane = [zip(meter.lane.slots, meter.tickets, strict=True) for meter in meters]
    turns = [slot_and_tickets for turn in zip(*by_lane, strict=True) for slot_and_tickets in turn]
    for number in range(LEAD_ROUNDS + rounds):
        for slot, tickets in turns:
            ticket, lane = tickets[number % ROUNDS_AHEAD], slot.lane
            if number >= ROUNDS_AHEAD:
                ticket.synchronize()
            if lane.transfers:  # inputs enter once the set's last have been read: that holds back all that follows
                slot.inference_commands.run()
                ticket.record(lane.copy_in)
            else:
                slot.compute_commands.run()
                ticket.record(lane.compute)
        if number == LEAD_ROUNDS - 1:
            for meter in meters:
                meter.began.record(meter.last)
    for meter in meters:
        meter.ended.record(meter.last)
    for meter in meters:
        meter.lane.synchronize()
    return sum(rounds * len(m.lane.slots) / m.ended.ms_since(m.began) * 1000 for m in meters)
