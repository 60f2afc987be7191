"""Test how NVML's readings are interpreted. On a GPU, tests/gpu reads real ones."""

from __future__ import annotations

import pytest

from pytest_trt.core.clock_reasons import decode_reasons
from pytest_trt.engine.backends import cuda
from pytest_trt.errors import BackendError
from pytest_trt.measure.gpu_state import GpuState, Process, advice, slowdown_reasons


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        (0, ()),
        (0x4, ("power cap",)),
        (0x1 | 0x40, ("idle", "hardware thermal slowdown")),
        (0x8 | 0x20 | 0x80, ("hardware slowdown", "software thermal slowdown", "power brake")),
        (0x8000, ()),
    ],
)
def test_reasons_have_names(mask: int, names: tuple[str, ...]) -> None:
    assert decode_reasons(mask) == names


def test_power_cap_is_valid_and_thermal_slowdown_is_not() -> None:
    assert slowdown_reasons([{"reasons": 0x4}, {"sm_mhz": 1800.0}, {"reasons": 0x1}]) == ()
    assert slowdown_reasons([{"reasons": 0x4}, {"reasons": 0x20}, {"reasons": 0x28}]) == (
        "hardware slowdown",
        "software thermal slowdown",
    )


def test_other_process_is_shown_with_its_memory() -> None:
    assert str(Process(42, "python3", 618_659_840)) == "python3 (pid 42, 619 MB)"
    assert str(Process(42, "a process", None)) == "a process (pid 42)"


def test_advice_names_the_settings_of_an_administrator() -> None:
    lines = advice({"persistence": "off", "max_sm_mhz": "1980", "compute_mode": "default"})
    assert [word in text for word, text in zip(("-pm 1", "-lgc MHZ", "of its own"), lines, strict=True)] == [True] * 3
    assert advice({"persistence": "on", "compute_mode": "exclusive process"}) == ()


@pytest.mark.skipif(cuda.reason_unusable() is None, reason="needs a machine without a GPU")
def test_missing_driver_is_reported() -> None:
    with pytest.raises(BackendError, match="NVML"):
        GpuState("GPU-00000000-0000-0000-0000-000000000000")
