"""Test the energy counter of a real GPU."""

from __future__ import annotations

import time

import pytest

from pytest_trt.engine.backends import cuda
from pytest_trt.measure.energy_meter import Watch, energy_used
from pytest_trt.measure.gpu_energy import GpuEnergyMeter
from pytest_trt.measure.gpu_state import GpuState

TEST = """
import pytest

@pytest.mark.trt_engine("conv.onnx", dims={"N": (1, 8, 32)}, optimization_level=0)
@pytest.mark.trt_matrix(batch=[32])
@pytest.mark.trt_budget(energy_mj=1000, power_w=2000)
def test_conv(trt_runner):
    trt_runner.measure()
"""


@pytest.mark.serial
def test_the_counter_of_an_idle_gpu_agrees_with_its_power() -> None:
    device = cuda.device("0")
    device.activate()
    with GpuState(device.uuid) as state:
        meter = GpuEnergyMeter(state)
        with Watch(meter) as watch:
            time.sleep(2)
        used = energy_used(watch.readings)
        print(used, len(watch.readings), meter.watts(), state.read())
        assert 5 < used.joules / used.seconds < 1000
        if used.sensor_j is not None:
            assert used.sensor_j == pytest.approx(used.joules, rel=0.2)


@pytest.mark.serial
def test_a_budget_on_energy_is_judged(workshop, pytester: pytest.Pytester) -> None:
    (pytester.path / "conv.onnx").write_bytes(workshop.model("conv").read_bytes())
    pytester.makepyfile(TEST)
    result = pytester.runpytest_inprocess("-vv", "--trt-backend=tensorrt", "--trt-baseline=off", "--trt-report=md:r.md")
    result.assert_outcomes(passed=1)
    report = (pytester.path / "r.md").read_text()
    print(report)
    assert "mJ" in report
