"""Read an energy counter while something runs, and compute what was used over whole steps of the counter.

    with Watch(meter) as watch:
        rate = probe.throughput(3.0)
    used = energy_used(watch.readings)

A counter moves in steps: NVML's every 100 ms on an H200. Energy is therefore taken between two moments at which the
counter moved, and divided by the time between them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pytest_trt.errors import BackendError

POLL_S = 0.002
"""How often the counter is read, in seconds: often against its steps, since a step is seen up to this much too late."""

POWER_S = 0.05
"""How often the power is read, in seconds. Reading it takes 12 ms on an H200, in which a step may be seen late."""

MIN_STEPS = 5
"""The least steps of the counter from which its energy is computed."""

RAPL_FOLDER = Path("/sys/class/powercap")
"""Where Linux shows the energy counters of the processors (RAPL)."""


class EnergyMeter(Protocol):
    """An energy counter of a device."""

    @property
    def name(self) -> str:
        """What counts, for reports."""
        ...

    def joules(self) -> float:
        """Return the counter, in J, from any start."""
        ...

    def watts(self) -> float | None:
        """Return the power at this moment, in W; None if the device reports only an average, or nothing."""
        ...


@dataclasses.dataclass(frozen=True)
class Reading:
    """One reading of a meter: the time on the monotonic clock, the counter, and the power if it was read."""

    time_s: float
    joules: float
    watts: float | None = None


@dataclasses.dataclass
class Readings:
    """The readings of a meter, in order; complete once its watch has ended."""

    readings: list[Reading] = dataclasses.field(default_factory=list)


class WatchedMeter(Protocol):
    """An energy counter that can only be watched, because it is elsewhere."""

    @property
    def name(self) -> str:
        """What counts, for reports."""
        ...

    def watch(self) -> contextlib.AbstractContextManager[Readings]:
        """Read the counter from entering until leaving the context."""
        ...


@dataclasses.dataclass(frozen=True)
class EnergyUsed:
    """The energy between the first and the last moment at which the counter moved.

    Attributes:
        step_s: The median time between two moves of the counter.
        sensor_j: The power, integrated over the same time; None if the device has no power at a moment.
    """

    joules: float
    seconds: float
    step_s: float
    sensor_j: float | None = None


def energy_used(readings: Sequence[Reading]) -> EnergyUsed:
    """Return the energy over the whole steps of the counter among the readings.

    Raises:
        BackendError: There are fewer than MIN_STEPS whole steps, or the counter moved backwards.
    """
    moves = [(before, after) for before, after in itertools.pairwise(readings) if before.joules != after.joules]
    if len(moves) <= MIN_STEPS:
        lasted = readings[-1].time_s - readings[0].time_s if readings else 0.0
        raise BackendError(f"the energy counter moved {len(moves)} times in {lasted:.1f} s, which is too few to use")
    if any(after.joules < before.joules for before, after in itertools.pairwise(readings)):
        raise BackendError("the energy counter went backwards: it was reset, so measure again")
    steps = [after.time_s - before.time_s for (_, before), (_, after) in itertools.pairwise(moves)]
    first, last = _sharp_ends(readings, moves)
    return EnergyUsed(
        joules=last.joules - first.joules,
        seconds=last.time_s - first.time_s,
        step_s=statistics.median(steps),
        sensor_j=_integrate(readings, first.time_s, last.time_s),
    )


def _sharp_ends(readings: Sequence[Reading], moves: Sequence[tuple[Reading, Reading]]) -> tuple[Reading, Reading]:
    """Return the first and the last move of the counter whose time is known best.

    A move lies somewhere between two readings: half way, on average. On a busy host, or while the power was read, those
    two are far apart, so such a move is not an end if enough others are left.
    """
    usual_s = statistics.median(after.time_s - before.time_s for before, after in itertools.pairwise(readings))
    sharp = [(before, after) for before, after in moves if after.time_s - before.time_s <= 2 * usual_s]
    if len(sharp) <= MIN_STEPS:
        sharp = list(moves)
    first, last = (Reading((before.time_s + after.time_s) / 2, after.joules) for before, after in (sharp[0], sharp[-1]))
    return first, last


def _integrate(readings: Sequence[Reading], began_s: float, ended_s: float) -> float | None:
    """Return the energy that the readings of the power give from one time to another (trapezoids); None without."""
    points = [(r.time_s, r.watts) for r in readings if r.watts is not None and began_s <= r.time_s <= ended_s]
    if len(points) < 2:
        return None
    area = sum((b - a) * (p + q) / 2 for (a, p), (b, q) in itertools.pairwise(points))
    return area * (ended_s - began_s) / (points[-1][0] - points[0][0])


def watch(meter: EnergyMeter | WatchedMeter) -> contextlib.AbstractContextManager[Readings]:
    """Return a context within which a meter is read."""
    return meter.watch() if hasattr(meter, "watch") else Watch(meter)


class Watch(Readings):
    """Reads a meter in a thread, from entering until leaving the context.

    Args:
        meter: The meter.

    Attributes:
        readings: The readings, in order.
    """

    def __init__(self, meter: EnergyMeter) -> None:
        super().__init__()
        self._meter = meter
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="pytest-trt energy", daemon=True)
        self._error: Exception | None = None

    def _read(self) -> None:
        power_s = 0.0
        try:
            while not self._ended.is_set():
                joules, now = self._meter.joules(), time.monotonic()
                watts = self._meter.watts() if now - power_s >= POWER_S else None
                power_s = power_s if watts is None else now
                self.readings.append(Reading(now, joules, watts))
                time.sleep(POLL_S)
        except Exception as error:  # noqa: BLE001 - raised by the thread that waits
            self._error = error

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_exception: object) -> None:
        self._ended.set()
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error


class RaplMeter:
    """The energy of the processors of the host, as Linux counts it (RAPL): of everything that runs on them.

    Args:
        folder: Where Linux shows the counters.

    Raises:
        BackendError: The host has no such counter, or this user may not read it.
    """

    name = "RAPL"

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or RAPL_FOLDER
        packages: dict[str, Path] = {}
        # intel-rapl-mmio:0 counts the same package as intel-rapl:0, which therefore comes first.
        for path in sorted(folder.glob("*:*"), key=lambda path: ("mmio" in path.name, path.name)):
            if path.name.count(":") == 1 and (kind := _text(path / "name")).startswith("package"):
                packages.setdefault(kind, path)
        if not packages:
            raise BackendError(
                f"this host has no energy counter of its processors ({folder} has no RAPL package): measure energy on "
                "a GPU, or on a host that has one"
            )
        self._counters = [_Counter(path) for path in packages.values()]

    def joules(self) -> float:
        """Return the sum of the counters of all packages, in J."""
        return sum(counter.read() for counter in self._counters) / 1e6

    def watts(self) -> float | None:
        """Return None: the processors report no power at a moment."""
        return None


class _Counter:
    """The counter of one package, in uJ, which starts again at 0 when it is full."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "energy_uj"
        self._range = int(_text(folder / "max_energy_range_uj") or 0)
        self._turns, self._last = 0, 0
        self.read()

    def read(self) -> int:
        try:
            value = int(self._path.read_text())
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise BackendError(
                f"{self._path} cannot be read ({reason}): let this user read it, such as with sudo chmod a+r "
                f"{self._path}"
            ) from error
        self._turns += value < self._last
        self._last = value
        return value + self._turns * self._range


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
