"""Read the energy counter of a GPU through NVML."""

from __future__ import annotations

from typing import Any

from pytest_trt.errors import BackendError
from pytest_trt.measure.gpu_state import GpuState

_OWN_CARD = ("NONE", "PASSTHROUGH")
"""The kinds of virtualisation in which the whole card belongs to this machine, as NVML names them."""


class GpuEnergyMeter:
    """The energy counter of a whole GPU.

    Args:
        gpu: NVML's view of the GPU.

    Raises:
        BackendError: The GPU has no counter of its own that this machine may read.
    """

    name = "NVML"

    def __init__(self, gpu: GpuState) -> None:
        self._gpu = gpu
        if gpu.is_divided:
            raise BackendError(
                "the GPU is divided into MIG slices, and has one energy counter for all of them: measure energy on a "
                "GPU without MIG"
            )
        if gpu.query(_is_shared):
            raise BackendError(
                "the GPU is shared between virtual machines (vGPU), and has one energy counter for all of them: "
                "measure energy on a GPU that this machine has alone"
            )
        if gpu.query(_millijoules) is None:
            raise BackendError(
                "this GPU has no energy counter (NVML reports none before Volta): measure energy on another GPU"
            )

    def joules(self) -> float:
        """Return the counter, in J, since the driver was loaded."""
        value = self._gpu.query(_millijoules)
        if value is None:
            raise BackendError("NVML no longer reports the energy of the GPU: check that nvidia-smi runs")
        return value / 1000

    def watts(self) -> float | None:
        """Return the power at this moment, in W; None if this GPU only reports an average."""
        value = self._gpu.query(_instant_milliwatts)
        return None if value is None else value / 1000


def _millijoules(nvml: Any, handle: Any) -> int:
    return int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))


def _instant_milliwatts(nvml: Any, handle: Any) -> int | None:
    (field,) = nvml.nvmlDeviceGetFieldValues(handle, [nvml.NVML_FI_DEV_POWER_INSTANT])
    return int(field.value.uiVal) if field.nvmlReturn == nvml.NVML_SUCCESS else None


def _is_shared(nvml: Any, handle: Any) -> bool:
    own = {getattr(nvml, f"NVML_GPU_VIRTUALIZATION_MODE_{name}") for name in _OWN_CARD}
    return nvml.nvmlDeviceGetVirtualizationMode(handle) not in own
