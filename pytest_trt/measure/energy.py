"""Measure the energy of an inference: windows of back-to-back inference, the sides in turn.

    run = EnergyPass(meter, rule, state).measure(probes, batch=8)
    figures = run.figures(0)  # energy_mj, power_w, ...

Power rises with the temperature of a GPU, so that two engines take turns in balanced order (ABBA). The energy and the
speed of a window come from the same inferences.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from pytest_trt.core import repeats
from pytest_trt.core.records import Block, Estimate
from pytest_trt.errors import BackendError
from pytest_trt.measure.energy_meter import EnergyMeter, EnergyUsed, WatchedMeter, energy_used, watch
from pytest_trt.measure.engine_probe import EngineProbe
from pytest_trt.measure.sampler import side_order
from pytest_trt.measure.stopping import Rule

WINDOW_S = 3.0
"""How long a window lasts at least, in seconds of whole steps of the counter. On an H200, windows of 3 s of two engines
in turn scatter by 0.1 to 0.4 %, and shorter ones by more (docs/results/2026-11-30-h200-energy.md)."""

LEAD_S = 0.5
"""How long an engine runs before its window, in seconds, so that its power has settled."""

IDLE_S = 1.0
"""How long the idle device is watched before the windows, in seconds, after LEAD_S without work."""

MIN_WINDOWS = 4
"""The least windows of a side: two turns ABBA cancel a linear drift, four a quadratic one."""

MAX_WINDOWS = 12
"""The most windows of a side."""

MAX_DISAGREEMENT = 0.05
"""How far the counter and the power may disagree, as a share, before the energy is invalid."""

MAX_SCATTER = 0.05
"""The standard deviation of the windows of a side, as a share, from which the energy is inconclusive."""

Problem = tuple[Literal["error", "invalid", "inconclusive"], str]
"""Why energy is missing or cannot be used: the verdict, and the reason in words."""


@dataclasses.dataclass(frozen=True)
class EnergyRun:
    """The windows of each side, or why there are none.

    Attributes:
        sides: For each side, one block for each window, with one value of `energy_mj`, `power_w` and `net_energy_mj`.
        idle_w: The power of the idle device before the windows, with the engines loaded.
        proof: How the energy was measured, as text by name.
        problem: Why the energy is missing or cannot be used; None if it can.
    """

    sides: tuple[tuple[Block, ...], ...] = ()
    idle_w: float = 0.0
    proof: Mapping[str, str] = dataclasses.field(default_factory=dict)
    problem: Problem | None = None

    def in_turn(self, figure: str) -> bool:
        """Return whether the windows of two sides have a value of the figure that can be compared."""
        windows = [window.times.get(figure, (0.0,))[0] for side in self.sides for window in side]
        return len(self.sides) == 2 and min(windows) > 0

    def figures(self, side: int) -> dict[str, Estimate]:
        """Return the estimates of a side; empty if there are no windows."""
        if len(self.sides) <= side:
            return {}
        windows = self.sides[side]
        values = {name: [window.times[name][0] for window in windows] for name in windows[0].times}
        found = {name: repeats.estimate_repeats(name, each) for name, each in values.items() if min(each) > 0}
        return {**found, "idle_w": Estimate.exact(self.idle_w)}


class EnergyPass:
    """The pass that measures energy, after the samples.

    Args:
        meter: The energy counter of the device, or why there is none.
        rule: Decides when there are enough windows, of which there are MIN_WINDOWS at least.
        state: Reads the state of the device after each window.
        others: Returns the number of processes on the device that are not the probes of the sides.
    """

    def __init__(
        self,
        meter: EnergyMeter | WatchedMeter | Problem,
        rule: Rule,
        state: Callable[[], Mapping[str, float]],
        others: Callable[[int], int] = lambda own: 0,
    ) -> None:
        self._meter, self._rule, self._state, self._others = meter, rule, state, others

    def measure(self, probes: Sequence[EngineProbe], *, batch: int) -> EnergyRun:
        """Measure the engines of the probes in turn, at `batch` inferences in a query. Errors of the probes pass."""
        if isinstance(self._meter, tuple):
            return EnergyRun(problem=self._meter)
        try:
            return self._measure(self._meter, probes, batch)
        except BackendError as error:
            return EnergyRun(problem=("error", str(error)))

    def _measure(self, meter: EnergyMeter | WatchedMeter, probes: Sequence[EngineProbe], batch: int) -> EnergyRun:
        time.sleep(LEAD_S)
        with watch(meter) as seen:
            time.sleep(IDLE_S)
        idle = energy_used(seen.readings)
        idle_w, used = idle.joules / idle.seconds, [idle]
        sides: list[list[Block]] = [[] for _ in probes]
        crowded = False
        self._rule.start(len(probes))
        turn = 0
        while turn < MIN_WINDOWS or (turn < MAX_WINDOWS and not self._rule.finished()):
            for side in side_order(turn, len(probes)):
                window, energy = self._window(meter, probes[side], batch, idle_w, idle.step_s)
                crowded = crowded or self._others(len(probes)) > 0
                sides[side].append(window)
                used.append(energy)
                self._rule.add(side, 0, window)
            turn += 1
        blocks = tuple(map(tuple, sides))
        return EnergyRun(blocks, idle_w, _proof(meter, blocks, used), _problem(blocks, used[1:], crowded=crowded))

    def _window(
        self, meter: EnergyMeter | WatchedMeter, probe: EngineProbe, batch: int, idle_w: float, step_s: float
    ) -> tuple[Block, EnergyUsed]:
        probe.throughput(LEAD_S)
        with watch(meter) as seen:
            queries_per_s = probe.throughput(WINDOW_S + 2 * step_s)  # the first and the last step are not whole
        used = energy_used(seen.readings)
        watts, inferences_per_s = used.joules / used.seconds, queries_per_s * batch
        values = {
            "energy_mj": watts / inferences_per_s * 1000,
            "power_w": watts,
            "net_energy_mj": (watts - idle_w) / inferences_per_s * 1000,
        }
        return Block({name: (value,) for name, value in values.items()}, used.seconds, self._state()), used


def scatter(windows: Sequence[Block]) -> float:
    """Return the standard deviation of the energy of a side's windows, as a share."""
    return statistics.stdev(math.log(window.times["energy_mj"][0]) for window in windows)


def _problem(sides: Sequence[Sequence[Block]], used: Sequence[EnergyUsed], *, crowded: bool) -> Problem | None:
    if crowded:
        return "invalid", "another process used the GPU while its energy was measured: measure when it is free"
    apart = _disagreement(used)
    if apart is not None and abs(apart) > MAX_DISAGREEMENT:
        return "invalid", (
            f"the energy counter and the power of the GPU disagree by {100 * apart:+.1f} % (at most "
            f"{100 * MAX_DISAGREEMENT:g} %): one of the two is wrong on this card or driver"
        )
    widest = max(map(scatter, sides))
    if widest > MAX_SCATTER:
        return "inconclusive", (
            f"the energy of the windows scatters by {100 * widest:.1f} % (at most {100 * MAX_SCATTER:g} %): measure on "
            "a device and a host that nothing else uses, and a larger batch of an engine that the host cannot keep busy"
        )
    return None


def _disagreement(used: Sequence[EnergyUsed]) -> float | None:
    """Return how much more the power gives than the counter, as a share; None if there is no power at a moment."""
    pairs = [(each.sensor_j, each.joules) for each in used if each.sensor_j is not None]
    return sum(sensor for sensor, _ in pairs) / sum(counter for _, counter in pairs) - 1 if pairs else None


def _proof(
    meter: EnergyMeter | WatchedMeter, sides: Sequence[Sequence[Block]], used: Sequence[EnergyUsed]
) -> dict[str, str]:
    idle, windows = used[0], used[1:]
    apart = _disagreement(windows)
    texts = (
        f"{meter.name}, {len(sides[0])} windows of {statistics.mean(each.seconds for each in windows):.1f} s",
        f"counter step {1000 * idle.step_s:.3g} ms",
        f"scatter {' and '.join(f'{100 * scatter(side):.2g} %' for side in sides)}",
        "no power to check it" if apart is None else f"power {100 * apart:+.1f} %",
    )
    states = [window.state for side in sides for window in side]
    clocks, temperatures = ([state[name] for state in states if name in state] for name in ("sm_mhz", "temperature_c"))
    at = [f"{min(v):.0f} to {max(v):.0f} {unit}" for v, unit in ((clocks, "MHz"), (temperatures, "C")) if v]
    return {"energy": ", ".join((*texts, *at))}
