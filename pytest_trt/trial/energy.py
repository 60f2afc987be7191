"""Decide whether a test measures energy, with which counter, and what its verdicts are if that fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from pytest_trt.core.figures import ON_REQUEST
from pytest_trt.core.records import Verdict
from pytest_trt.errors import BackendError
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.judge.regression.windows import WindowRule
from pytest_trt.judge.repeats import RepeatsRule
from pytest_trt.measure.energy import EnergyPass, EnergyRun
from pytest_trt.measure.energy_meter import EnergyMeter, RaplMeter, WatchedMeter
from pytest_trt.measure.gpu_energy import GpuEnergyMeter
from pytest_trt.measure.gpu_state import GpuState
from pytest_trt.measure.stopping import AllOf, Rule
from pytest_trt.spec.gates import Gate
from pytest_trt.trial.hosts.host import GpuView

OpenMeter = Callable[[], WatchedMeter]
"""Opens the energy counter of a host elsewhere."""


def energy_rule(
    limits: Mapping[str, float],
    gates: Iterable[Gate],
    question: Callable[[str], RegressionQuestion] | None,
    *,
    always: bool,
) -> Rule | None:
    """Return the rule that ends the windows of energy; None if neither a budget, a gate nor an option requests them.

    Args:
        limits: The budgets that hold for the test, by figure.
        gates: The figures that are compared with the baseline.
        question: Returns the question about a figure, if two engines take turns; else None.
        always: Whether an option requests energy.
    """
    limits = {name: limit for name, limit in limits.items() if name in ON_REQUEST}
    compared = [gate.figure for gate in gates if gate.figure in ON_REQUEST]
    if not (limits or compared or always):
        return None
    in_turn = [WindowRule(question(name)) for name in compared] if question is not None else []
    return AllOf((RepeatsRule(limits), *in_turn))


def needs_energy(failing: Sequence[Verdict]) -> bool:
    """Return whether a measurement that confirms these verdicts measures energy: if one of them is about it.

    The first measurement, which confirms none, does so if anything requests it (`energy_rule`).
    """
    return not failing or any(verdict.figure in ON_REQUEST for verdict in failing)


def choose_energy_pass(
    rule: Rule, gpu: GpuView | None, state: Callable[[], Mapping[str, float]], elsewhere: OpenMeter | None = None
) -> EnergyPass:
    """Return the pass that measures the energy of the GPU, or of the host's processors without one.

    Call this while no probe runs: every process on the GPU is then another one, except for this one.

    Args:
        rule: Decides when there are enough windows.
        gpu: The GPU; None for the host's processors.
        state: Reads the state of the device.
        elsewhere: Opens the counter of another host; None on this one.
    """
    try:
        meter = _open_meter(gpu, elsewhere)
    except BackendError as error:
        return EnergyPass(("error", f"energy cannot be measured: {error}"), rule, state)
    if gpu is None:
        return EnergyPass(meter, rule, state)
    if others := gpu.other_processes({os.getpid()} if elsewhere is None else ()):
        names = ", ".join(map(str, others))
        return EnergyPass(("invalid", f"energy needs the GPU alone: {names} is on it: end it, or wait"), rule, state)
    before = len(gpu.processes())
    return EnergyPass(meter, rule, state, lambda own: len(gpu.processes()) - before - own)


def _open_meter(gpu: GpuView | None, elsewhere: OpenMeter | None) -> EnergyMeter | WatchedMeter:
    if elsewhere is not None:
        return elsewhere()
    return GpuEnergyMeter(gpu) if isinstance(gpu, GpuState) else RaplMeter()


def describe_energy(gpu: GpuView | None, elsewhere: OpenMeter | None = None) -> str:
    """Return how energy can be measured on a device, or why it cannot. The arguments are as above."""
    try:
        meter = _open_meter(gpu, elsewhere)
        check = ", checked against the power" if hasattr(meter, "watts") and meter.watts() is not None else ""
        return f"counted by {meter.name}{check}"
    except BackendError as error:
        return f"cannot be measured: {error}"


def with_energy_verdicts(verdicts: Sequence[Verdict], energy: EnergyRun | None) -> tuple[Verdict, ...]:
    """Return the verdicts with that of the energy's problem, if there is one.

    If the energy is missing or invalid, its budgets and its baseline are not judged.
    """
    if energy is None or energy.problem is None:
        return tuple(verdicts)
    status, text = energy.problem
    kept = [verdict for verdict in verdicts if status == "inconclusive" or verdict.figure not in ON_REQUEST]
    return (*kept, Verdict(status, "run", "energy_mj", text))
