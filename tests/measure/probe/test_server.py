"""Test the process that forks probes: how it starts, forks, and ends."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
import time

import numpy as np
import pytest
from samples.processes import has_ended

from pytest_trt.errors import BackendError, ProbeError
from pytest_trt.measure.engine_probe import EngineProbe
from pytest_trt.measure.probe import server as servers
from pytest_trt.measure.probe import wire
from pytest_trt.measure.probe.__main__ import serve_forks
from pytest_trt.measure.probe.server import ProbeServer


def batch(value: float) -> dict[str, np.ndarray]:
    return {"x": np.full((4, 32), value, np.float32)}


def test_probes_end_with_their_server(subject):
    with ProbeServer("onnxruntime") as server:
        probe = EngineProbe(server, subject)
        assert server._process is not None
        parent = server._process.pid
    assert has_ended(probe._probe.pid)
    assert has_ended(parent)
    probe.close()

    server = ProbeServer("onnxruntime")
    probe = EngineProbe(server, subject)
    assert server._process is not None
    os.kill(server._process.pid, signal.SIGKILL)
    assert server._spare is not None
    assert has_ended(probe._probe.pid)
    assert has_ended(server._spare.pid)
    with pytest.raises(ProbeError, match="the probe server for onnxruntime is lost"):
        server.fork()
    probe.close()
    server.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_dead_spare_probe_is_replaced(subject, number):
    with ProbeServer("onnxruntime") as server:
        server.fork().close()
        spare = server._spare
        assert spare is not None
        os.kill(spare.pid, number)
        while spare.is_running():
            time.sleep(0.001)
        with EngineProbe(server, subject) as probe:
            assert probe.infer(batch(0.0))["y"].shape == (4, 32)
        assert has_ended(spare.pid)


def test_server_that_cannot_fork_reports_it_and_continues(monkeypatch):
    def refuse():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refuse)
    ours, theirs = socket.socketpair()
    with ours, theirs, open(os.devnull) as log:
        serving = threading.Thread(target=serve_forks, args=(theirs, {}))
        serving.start()
        for _ in range(2):
            wire.send(ours, {"do": "fork", "log": os.devnull}, (log.fileno(),))
            answer, _ = wire.receive(ours)
            assert "a probe cannot be forked: Resource temporarily unavailable: end" in answer["error"]["message"]
        ours.close()
        serving.join(120)
        assert not serving.is_alive()


def test_probe_is_used_although_no_spare_can_be_forked(server, monkeypatch):
    server.fork().close()
    forked = server._fork

    def refuse():
        raise ProbeError("a probe cannot be forked")

    monkeypatch.setattr(server, "_fork", refuse)
    server.fork().close()  # the spare
    with pytest.raises(ProbeError, match="cannot be forked"):
        server.fork()
    monkeypatch.setattr(server, "_fork", forked)
    server.fork().close()


def test_interrupted_fork_ends_the_server(monkeypatch):
    """The server would still send the pid of the fork, which would be read as the exit of another probe."""

    class Interrupted(BaseException):
        pass

    def interrupt(*_):
        raise Interrupted

    with ProbeServer("onnxruntime") as server:
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGSTOP)
        before = signal.signal(signal.SIGALRM, interrupt)
        receive = wire.receive

        def receive_with_alarm(connection):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            return receive(connection)

        try:
            monkeypatch.setattr(wire, "receive", receive_with_alarm)
            with pytest.raises(Interrupted):
                server.fork()
        finally:
            signal.signal(signal.SIGALRM, before)
        assert server.is_lost


def test_server_that_does_not_answer_is_ended(monkeypatch):
    with ProbeServer("onnxruntime") as server:
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGSTOP)
        monkeypatch.setattr(servers, "START_TIMEOUT_S", 0.2)
        with pytest.raises(ProbeError, match=r"the probe server for onnxruntime is lost \(timed out\)"):
            server.fork()
        assert server.is_lost


def test_unknown_backend_and_missing_interpreter_are_errors():
    with pytest.raises(BackendError, match="there is no backend 'openvino'"):
        ProbeServer("openvino")
    with pytest.raises(ProbeError, match="the interpreter /nowhere/python cannot be started"):
        ProbeServer("onnxruntime", python="/nowhere/python")


def test_interpreter_without_packages_is_an_error():
    with pytest.raises((BackendError, ProbeError), match=r"numpy|onnxruntime"):
        ProbeServer("onnxruntime", python="/usr/bin/python3")
