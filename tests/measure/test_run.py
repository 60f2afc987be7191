"""Test which figures one measurement returns, and in which order they are read."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_trt.measure.engine_probe import Subject
from pytest_trt.measure.probe import process_limits, verbs
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.measure.run import measure_run
from pytest_trt.measure.sampler import Limits
from pytest_trt.measure.stopping import FixedTime


def test_device_memory_of_each_process_is_measured(server: ProbeServer, subject: Subject) -> None:
    """An earlier version accepted budgets for `process_mb`, and never measured it."""
    processes: list[int] = []

    def process_bytes(pid: int) -> int:
        processes.append(pid)
        return len(processes) * 10**9

    run = measure_run(
        [(server, subject)] * 2,
        FixedTime(0.05),
        Limits(min_time_s=0.0, max_time_s=0.05),
        batch=4,
        spread=0.1,
        measure_other_side=True,
        process_bytes=process_bytes,
    )
    assert len(set(processes)) == 2
    assert [figures["process_mb"].value for figures in (run.figures, run.other_figures)] == [1000.0, 2000.0]


def test_host_memory_is_read_before_a_pass_that_loads_the_plan_again(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = 100

    def load_again() -> dict[str, int]:
        nonlocal peak
        peak = 250
        return {"peak": 7}

    monkeypatch.setattr(process_limits, "peak_resident_bytes", lambda: peak)
    probe = SimpleNamespace(_ready=lambda: SimpleNamespace(memory=load_again))
    assert verbs.Probe.memory(probe)[0] == {"host": 100, "peak": 7}  # type: ignore[arg-type]
