"""Test the errors of a probe that crashed, was killed, timed out, or was interrupted in a call."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from samples.processes import has_ended

from pytest_trt.errors import ProbeError
from pytest_trt.measure.engine_probe import EngineProbe


def batch(value: float) -> dict[str, np.ndarray]:
    return {"x": np.full((4, 32), value, np.float32)}


def test_crash_is_explained_and_ends_only_that_probe(server, subject, probe):
    lost = EngineProbe(server, subject)
    os.kill(lost._probe.pid, signal.SIGSEGV)
    with pytest.raises(ProbeError, match=r"the probe was killed by SIGSEGV in 'infer'"):
        lost.infer(batch(1.0))
    lost.close()
    assert probe.infer(batch(0.0))["y"].shape == (4, 32)


def test_kill_suggests_that_host_memory_ran_out(server, subject):
    lost = EngineProbe(server, subject)
    os.kill(lost._probe.pid, signal.SIGKILL)
    with pytest.raises(ProbeError, match=r"was killed by SIGKILL \(out of host memory"):
        lost.infer(batch(1.0))


def test_hanging_probe_is_killed_at_its_timeout(server, subject):
    lost = EngineProbe(server, subject)
    os.kill(lost._probe.pid, signal.SIGSTOP)
    with pytest.raises(ProbeError, match=r"did not answer 'block' within 0\.2 s and was killed"):
        lost._probe.call("block", count=1, timeout_s=0.2)
    assert has_ended(lost._probe.pid)


def test_error_of_a_lost_probe_shows_the_end_of_its_log(server, subject):
    lost = EngineProbe(server, subject)
    lost._probe.log.write_text("line\n" * 50 + "out of cheese\n")
    os.kill(lost._probe.pid, signal.SIGABRT)
    with pytest.raises(ProbeError, match=r"the end of its log:\n(  line\n){19}  out of cheese"):
        lost.infer(batch(1.0))


def test_interrupted_call_ends_its_probe(server, subject, monkeypatch):
    """pytest-timeout interrupts a test like this. The late answer would be read as that of the next call."""

    class Interrupted(BaseException):
        pass

    def interrupt(*_):
        raise Interrupted

    probe, before = EngineProbe(server, subject), signal.signal(signal.SIGALRM, interrupt)
    wait = probe._probe._wait

    def wait_with_alarm(*args):
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        wait(*args)

    monkeypatch.setattr(probe._probe, "_wait", wait_with_alarm)
    try:
        with pytest.raises(Interrupted):
            probe._probe.call("block", timeout_s=600.0, count=10**7)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert has_ended(probe._probe.pid)
    with pytest.raises(ProbeError, match="has ended"):
        probe.infer(batch(0.0))
