"""Test the windows of energy, on ONNX Runtime and a counter that follows the clock."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from samples.energy import ClockMeter, short_windows

from pytest_trt.core.records import Block
from pytest_trt.measure import energy
from pytest_trt.measure.energy import EnergyPass, EnergyRun
from pytest_trt.measure.engine_probe import EngineProbe
from pytest_trt.measure.stopping import FixedTime


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., EnergyRun]:
    short_windows(monkeypatch)

    def run(meter, probes, **options) -> EnergyRun:
        return EnergyPass(meter, FixedTime(0.0), lambda: {"temperature_c": 50.0}, **options).measure(probes, batch=4)

    return run


def test_energy_and_power_come_from_the_same_window(probe: EngineProbe, measure) -> None:
    run = measure(ClockMeter(50.0), [probe])
    assert run.problem is None
    assert len(run.sides) == 1
    assert len(run.sides[0]) == energy.MIN_WINDOWS
    figures = run.figures(0)
    assert figures["power_w"].value == pytest.approx(50.0, rel=0.5)
    assert figures["energy_mj"].low < figures["energy_mj"].value < figures["energy_mj"].high
    assert figures["energy_mj"].samples == energy.MIN_WINDOWS
    assert "net_energy_mj" not in figures or figures["net_energy_mj"].value < figures["energy_mj"].value
    assert figures["idle_w"].value == pytest.approx(50.0, rel=0.5)
    assert run.proof["energy"].startswith(f"clock, {energy.MIN_WINDOWS} windows of ")
    assert "50 to 50 C" in run.proof["energy"]


def test_a_refusal_is_a_problem_without_figures(probe: EngineProbe, measure) -> None:
    run = measure(("error", "the GPU is divided"), [probe])
    assert run.problem == ("error", "the GPU is divided")
    assert run.figures(0) == run.figures(1) == {}


def test_a_counter_that_stops_is_an_error(probe: EngineProbe, measure) -> None:
    run = measure(ClockMeter(50.0, ends_after_s=0.15), [probe])
    assert run.problem is not None
    assert run.problem[0] == "error"
    assert "which is too few to use" in run.problem[1]


def test_a_counter_that_disagrees_with_the_power_is_invalid(probe: EngineProbe, measure) -> None:
    run = measure(ClockMeter(50.0, sensor_w=60.0), [probe])
    assert run.problem is not None
    assert run.problem[0] == "invalid"
    assert "disagree by +" in run.problem[1]


def test_another_process_on_the_device_is_invalid(probe: EngineProbe, measure) -> None:
    run = measure(ClockMeter(50.0), [probe], others=lambda own: 1)
    assert run.problem is not None
    assert run.problem[0] == "invalid"


def blocks(*values: float) -> list[Block]:
    return [Block({"energy_mj": (value,), "power_w": (1.0,)}, 3.0) for value in values]


def test_windows_that_scatter_are_inconclusive() -> None:
    assert energy._problem([blocks(1.0, 1.01, 0.99, 1.0)], [], crowded=False) is None
    problem = energy._problem([blocks(1.0, 1.0, 1.0, 1.0), blocks(1.0, 1.2, 0.9, 1.1)], [], crowded=False)
    assert problem is not None
    assert problem[0] == "inconclusive"
    assert "scatters by 12." in problem[1]


def test_scatter_is_the_standard_deviation_as_a_share() -> None:
    assert energy.scatter(blocks(math.exp(0.1), math.exp(-0.1))) == pytest.approx(0.1 * math.sqrt(2))


def test_only_two_sides_with_positive_values_are_compared_in_turn() -> None:
    run = EnergyRun((tuple(blocks(1.0)), tuple(blocks(2.0))))
    assert run.in_turn("energy_mj")
    assert not run.in_turn("idle_w")
    assert not EnergyRun((tuple(blocks(1.0)),)).in_turn("energy_mj")
    assert not EnergyRun(problem=("error", "none")).in_turn("energy_mj")


def test_errors_of_a_probe_pass(probe: EngineProbe, measure) -> None:
    probe.close()
    with pytest.raises(Exception, match="probe has ended"):
        measure(ClockMeter(50.0), [probe])
