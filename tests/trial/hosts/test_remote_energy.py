"""Test that an energy counter is read where it is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from samples.energy import ClockMeter

from pytest_trt.errors import BackendError
from pytest_trt.measure.energy_meter import energy_used, watch
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.hosts import agent
from pytest_trt.trial.hosts.agent import Agent
from pytest_trt.trial.hosts.link import Link
from pytest_trt.trial.hosts.remote_energy import RemoteMeter


@pytest.fixture
def session() -> Iterator[Any]:
    """A session whose requests an agent in this process serves."""
    reads, writes = os.pipe()
    serving = Agent(Link(reads, writes), Settings())
    yield SimpleNamespace(call=lambda name, **arguments: (serving._requests[name](**arguments), bytearray()))
    serving.close()
    os.close(reads)
    os.close(writes)


def test_the_readings_of_a_window_come_over_when_it_ends(session, monkeypatch):
    monkeypatch.setattr(agent, "RaplMeter", lambda: ClockMeter(50.0, sensor_w=49.0))
    meter = RemoteMeter(lambda: session, None)
    assert meter.name == "clock"
    with watch(meter) as seen:
        time.sleep(0.2)
        assert seen.readings == []
    used = energy_used(seen.readings)
    assert used.joules / used.seconds == pytest.approx(50.0, rel=0.2)
    assert used.sensor_j is not None


def test_a_host_without_a_counter_is_an_error(session, monkeypatch):
    def missing() -> ClockMeter:
        raise BackendError("this host has no energy counter")

    monkeypatch.setattr(agent, "RaplMeter", missing)
    with pytest.raises(BackendError, match="this host has no energy counter"):
        RemoteMeter(lambda: session, None)
