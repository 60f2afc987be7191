"""Test when the energy of a GPU is refused, and the units of its counter. On a GPU, tests/gpu reads a real one."""

from __future__ import annotations

import pytest
from samples.energy import AnsweredGpu

from pytest_trt.errors import BackendError
from pytest_trt.measure import gpu_energy
from pytest_trt.measure.gpu_energy import GpuEnergyMeter


def test_the_counter_is_read_in_joules_and_the_power_in_watts() -> None:
    meter = GpuEnergyMeter(AnsweredGpu(shared=None))  # None: a driver that knows no virtualisation
    assert meter.joules() == pytest.approx(7_123_456.789)
    assert meter.watts() == pytest.approx(495.25)
    assert GpuEnergyMeter(AnsweredGpu(milliwatts=None)).watts() is None


@pytest.mark.parametrize(
    ("gpu", "reason"),
    [
        (AnsweredGpu(divided=True), "divided into MIG slices, and has one energy counter for all"),
        (AnsweredGpu(shared=True), r"shared between virtual machines \(vGPU\)"),
        (AnsweredGpu(millijoules=None), "this GPU has no energy counter"),
    ],
    ids=["mig", "vgpu", "no counter"],
)
def test_a_gpu_without_a_counter_of_its_own_is_refused(gpu: AnsweredGpu, reason: str) -> None:
    with pytest.raises(BackendError, match=reason):
        GpuEnergyMeter(gpu)


def test_a_counter_that_is_gone_is_an_error() -> None:
    gpu = AnsweredGpu()
    meter = GpuEnergyMeter(gpu)
    gpu.answers[gpu_energy._millijoules] = None
    with pytest.raises(BackendError, match="no longer reports the energy"):
        meter.joules()
