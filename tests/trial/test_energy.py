"""Test which tests measure energy, and what becomes of the verdicts if that fails."""

from __future__ import annotations

import pytest
from samples.energy import AnsweredGpu, ClockMeter

from pytest_trt.core.records import Verdict
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.measure.energy import EnergyRun
from pytest_trt.measure.gpu_state import Process
from pytest_trt.measure.stopping import FixedTime
from pytest_trt.spec.gates import Gate
from pytest_trt.trial import energy
from pytest_trt.trial.energy import choose_energy_pass, describe_energy, energy_rule, needs_energy, with_energy_verdicts

LATENCY = Verdict("ok", "baseline", "ms", "latency ok")
ENERGY = Verdict("over_budget", "budget", "energy_mj", "energy over budget")


def question(figure: str) -> RegressionQuestion:
    return RegressionQuestion(figure=figure)


def test_a_budget_a_gate_or_an_option_requests_energy() -> None:
    gates = [Gate(figure="ms", tolerance=0.05)]
    assert energy_rule({"ms": 1.0}, gates, question, always=False) is None
    assert energy_rule({"ms": 1.0}, gates, question, always=True) is not None
    assert energy_rule({"power_w": 500.0}, gates, None, always=False) is not None
    assert energy_rule({}, [*gates, Gate(figure="energy_mj", tolerance=0.05)], None, always=False) is not None


def test_a_second_measurement_measures_energy_only_to_confirm_it() -> None:
    assert needs_energy(())
    assert needs_energy([LATENCY, ENERGY])
    assert not needs_energy([LATENCY])


def test_a_gpu_without_a_counter_of_its_own_is_an_error() -> None:
    run = choose_energy_pass(FixedTime(0.0), AnsweredGpu(divided=True), dict).measure([], batch=1)
    assert run.problem is not None
    assert run.problem[0] == "error"
    assert run.problem[1].startswith("energy cannot be measured: the GPU is divided into MIG slices")


def test_another_process_on_the_gpu_is_refused() -> None:
    gpu = AnsweredGpu(others=(Process(42, "python3", 618_659_840),))
    run = choose_energy_pass(FixedTime(0.0), gpu, dict).measure([], batch=1)
    assert run.problem == (
        "invalid", "energy needs the GPU alone: python3 (pid 42, 619 MB) is on it: end it, or wait"
    )  # fmt: skip


def test_without_energy_its_budgets_are_not_judged() -> None:
    verdicts = (LATENCY, ENERGY)
    assert with_energy_verdicts(verdicts, None) == with_energy_verdicts(verdicts, EnergyRun()) == verdicts
    for status in ("error", "invalid"):
        judged = with_energy_verdicts(verdicts, EnergyRun(problem=(status, "why")))
        assert judged == (LATENCY, Verdict(status, "run", "energy_mj", "why"))
    scattered = with_energy_verdicts(verdicts, EnergyRun(problem=("inconclusive", "why")))
    assert scattered == (*verdicts, Verdict("inconclusive", "run", "energy_mj", "why"))


def test_how_energy_can_be_measured_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    assert describe_energy(AnsweredGpu()) == "counted by NVML, checked against the power"
    assert describe_energy(AnsweredGpu(milliwatts=None)) == "counted by NVML"
    assert describe_energy(AnsweredGpu(divided=True)).startswith("cannot be measured: the GPU is divided")
    monkeypatch.setattr(energy, "RaplMeter", lambda: ClockMeter(50.0))
    assert describe_energy(None) == "counted by clock"
    assert (
        describe_energy(None, lambda: ClockMeter(50.0, sensor_w=50.0)) == "counted by clock, checked against the power"
    )
