"""An energy meter that follows the clock, a GPU with given answers, and windows that are short."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from typing import Any

import pytest

from pytest_trt.measure import energy, gpu_energy
from pytest_trt.measure.gpu_state import GpuState, Process


class ClockMeter:
    """A counter of a constant power, which moves in steps.

    Args:
        watts: The power.
        step_s: How often the counter moves.
        sensor_w: What the power sensor reads; None for no sensor.
        ends_after_s: When the counter stops.
    """

    name = "clock"

    def __init__(
        self, watts: float, *, step_s: float = 0.002, sensor_w: float | None = None, ends_after_s: float = math.inf
    ) -> None:
        self._watts, self._step_s, self._sensor_w, self._ends_s = watts, step_s, sensor_w, ends_after_s
        self._began = time.monotonic()

    def joules(self) -> float:
        seconds = min(time.monotonic() - self._began, self._ends_s)
        return self._watts * self._step_s * math.floor(seconds / self._step_s)

    def watts(self) -> float | None:
        return self._sensor_w


class AnsweredGpu(GpuState):
    """A GPU whose driver gave these answers, None where it does not support the question."""

    def __init__(
        self,
        *,
        divided: bool = False,
        shared: bool | None = False,
        millijoules: int | None = 7_123_456_789,
        milliwatts: int | None = 495_250,
        others: tuple[Process, ...] = (),
    ) -> None:
        self._divided, self._others = divided, others
        self.answers: dict[Any, Any] = {
            gpu_energy._is_shared: shared,
            gpu_energy._millijoules: millijoules,
            gpu_energy._instant_milliwatts: milliwatts,
        }

    def query(self, read: Callable[[Any, Any], Any]) -> Any:
        return self.answers[read]

    @property
    def is_divided(self) -> bool:
        return self._divided

    def other_processes(self, own: Collection[int]) -> tuple[Process, ...]:
        return self._others

    def processes(self) -> dict[int, int | None]:
        return {process.pid: None for process in self._others}


def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure energy in a second instead of half a minute, in four windows that may scatter on a busy machine."""
    monkeypatch.setattr(energy, "MAX_WINDOWS", energy.MIN_WINDOWS)
    monkeypatch.setattr(energy, "WINDOW_S", 0.1)
    monkeypatch.setattr(energy, "LEAD_S", 0.01)
    monkeypatch.setattr(energy, "IDLE_S", 0.1)
    monkeypatch.setattr(energy, "MAX_SCATTER", math.inf)
