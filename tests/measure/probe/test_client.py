"""How the end of a probe is reported: crashed, killed, timed out, or left in the middle of a call."""

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


def test_a_crash_says_how_it_ended_and_costs_only_that_probe(server, subject, probe):
    lost = EngineProbe(server, subject)
    os.kill(lost._probe.pid, signal.SIGSEGV)
    with pytest.raises(ProbeError, match=r"the probe was killed by SIGSEGV in 'infer'"):
        lost.infer(batch(1.0))
    lost.close()
    assert probe.infer(batch(0.0))["y"].shape == (4, 32)


def test_a_killed_probe_is_suspected_of_memory(server, subject):
    lost = EngineProbe(server, subject)
    os.kill(lost._probe.pid, signal.SIGKILL)
    with pytest.raises(ProbeError, match=r"was killed by SIGKILL \(out of host memory"):
        lost.infer(batch(1.0))


def test_a_probe_that_hangs_is_killed_at_its_time_out(server, subject):
    lost = EngineProbe(server, subject)
    os.kill(lost._probe.pid, signal.SIGSTOP)
    with pytest.raises(ProbeError, match=r"did not answer 'block' within 0\.2 s and was killed"):
        lost._probe.call("block", count=1, timeout_s=0.2)
    assert has_ended(lost._probe.pid)


def test_what_a_lost_probe_said_last_is_told(server, subject):
    lost = EngineProbe(server, subject)
    lost._probe.log.write_text("line\n" * 50 + "out of cheese\n")
    os.kill(lost._probe.pid, signal.SIGABRT)
    with pytest.raises(ProbeError, match=r"the end of its log:\n(  line\n){19}  out of cheese"):
        lost.infer(batch(1.0))


def test_a_call_that_is_left_in_the_middle_is_the_probes_last(server, subject):
    """As pytest-timeout does it. Its answer would come as the answer to the next call."""

    class Left(BaseException):
        pass

    def leave(*_):
        raise Left

    probe, before = EngineProbe(server, subject), signal.signal(signal.SIGALRM, leave)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(Left):
            probe._probe.call("block", timeout_s=60.0, count=10**7)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert has_ended(probe._probe.pid)
    with pytest.raises(ProbeError, match="has ended"):
        probe.infer(batch(0.0))
