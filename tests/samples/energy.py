"""An energy meter that follows the clock, and windows that are short."""

from __future__ import annotations

import math
import time

import pytest

from pytest_trt.measure import energy


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


def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure energy in a second instead of half a minute, and let it scatter."""
    monkeypatch.setattr(energy, "WINDOW_S", 0.1)
    monkeypatch.setattr(energy, "LEAD_S", 0.01)
    monkeypatch.setattr(energy, "IDLE_S", 0.1)
    monkeypatch.setattr(energy, "MAX_SCATTER", math.inf)
