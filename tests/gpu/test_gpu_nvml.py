"""Test NVML on a real GPU."""

from __future__ import annotations

import os

import pytest

from pytest_trt.engine.backends import cuda
from pytest_trt.errors import BackendError
from pytest_trt.measure.gpu_state import GpuState, slowdown_reasons


@pytest.mark.serial
def test_gpu_state_is_read() -> None:
    device = cuda.device("0")
    device.activate()
    buffer = cuda.DeviceBuffer(2**26)
    with GpuState(device.uuid) as state:
        now = state.read()
        assert 100 < now["sm_mhz"] < 5000
        assert 0 < now["temperature_c"] < 120
        assert now["power_w"] > 0
        assert slowdown_reasons([now]) == ()
        assert state.facts()["power_limit_w"]
        assert 0 <= state.utilization() <= 100
        proof = state.proof([{"sm_mhz": 1800.0}, now])
        assert "persistence" in proof["GPU"]
        assert proof["GPU went"].startswith(f"{min(1800.0, now['sm_mhz']):.0f} to ")
        assert state.wait_until_free({os.getpid(), *state.processes()}, 5, lambda text: None) is None
        print(now, state.facts(), state.processes(), state.other_processes({os.getpid()}))
    buffer.close()


def test_unknown_gpu_is_an_error() -> None:
    with pytest.raises(BackendError, match="NVML knows no GPU"):
        GpuState("GPU-00000000-0000-0000-0000-000000000000")
