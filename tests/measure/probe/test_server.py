"""Probes: what they answer, and how their end is told. Every probe here is a real process with a real engine."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from pytest_trt.errors import BackendError, InputError, ProbeError
from pytest_trt.measure.engine_probe import EngineProbe, Subject
from pytest_trt.measure.probe import server as servers
from pytest_trt.measure.probe import wire
from pytest_trt.measure.probe.__main__ import _serve
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.measure.probe_source import ProbeSource
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec


@pytest.fixture(scope="module")
def server():
    with ProbeServer("onnxruntime") as server:
        yield server


@pytest.fixture
def subject(save_model):
    return Subject(save_model(), "0", EngineSpec(), {"x": (4, 32)}, PipelineOptions())


@pytest.fixture
def probe(server, subject):
    with EngineProbe(server, subject) as probe:
        yield probe


def batch(value: float) -> dict[str, np.ndarray]:
    return {"x": np.full((4, 32), value, np.float32)}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


def test_it_infers_on_arrays_that_cross_as_they_are(probe):
    assert (probe.infer(batch(0.0))["y"] == 0).all()
    doubled, single = probe.infer(batch(2.0))["y"], probe.infer(batch(1.0))["y"]
    np.testing.assert_allclose(doubled, 2 * single, rtol=1e-5)


def test_its_blocks_have_equally_many_samples_of_every_series(probe):
    block = probe.block()
    assert {len(times) for times in block.times.values()} == {len(block.times["ms"])}
    assert block.seconds > 0
    assert min(block.times["ms"]) > 0


def test_its_proof_names_the_threads_and_nothing_that_a_cpu_does_not_have(probe):
    assert probe.proof == {
        "provider": "CPUExecutionProvider", "threads": str(len(os.sched_getaffinity(0))), "spinning": "off",
    }  # fmt: skip
    assert set(probe.block().times) == {"ms", "host_ms"}
    assert set(probe.memory()) == {"host"}


def test_inputs_that_it_draws_are_the_same_in_every_probe(server, subject, probe):
    with EngineProbe(server, subject) as other:
        np.testing.assert_array_equal(probe.current_inputs()["x"], other.current_inputs()["x"])


def test_a_stream_keeps_the_order(probe):
    outputs = list(probe.stream(batch(i) for i in range(20)))
    assert len(outputs) == 20
    for i, output in enumerate(outputs):
        np.testing.assert_allclose(output["y"], i * outputs[1]["y"], rtol=1e-4, atol=1e-4)


def test_a_stream_that_fails_or_is_left_lets_the_probe_live(probe):
    def breaking():
        yield batch(1.0)
        raise RuntimeError("no more")

    outputs = probe.stream(breaking())
    assert next(outputs)["y"].shape == (4, 32)
    with pytest.raises(RuntimeError, match="no more"):
        next(outputs)
    with pytest.raises(InputError, match="it must be"):
        list(probe.stream([batch(1.0), {"x": np.zeros((4, 31), np.float32)}, *[batch(1.0)] * 9]))
    for _ in probe.stream(batch(i) for i in range(100)):
        break
    assert probe.infer(batch(1.0))["y"].shape == (4, 32)


def test_500_different_batches_come_back_in_order_and_right(probe, subject):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    session = onnxruntime.InferenceSession(str(subject.plan), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    batches = [{"x": random.standard_normal((4, 32)).astype(np.float32)} for _ in range(500)]
    outputs = list(probe.stream(iter(batches)))  # all are kept: what is handed out never changes again
    for got, given in zip(outputs, batches, strict=True):
        np.testing.assert_allclose(got["y"], session.run(["y"], given)[0], rtol=1e-5, atol=1e-5)


def test_1000_inferences_keep_memory_and_descriptors_flat(probe):
    def held() -> list[tuple[int, int, int]]:
        return [
            (
                int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
                len(list(Path(f"/proc/{pid}/fd").iterdir())),
                Path(f"/proc/{pid}/maps").read_text().count("/memfd:pytest-trt"),
            )
            for pid in (os.getpid(), probe._probe.pid)
        ]

    for _ in range(2):
        assert len(list(probe.stream(batch(i) for i in range(50)))) == 50
        probe.infer(batch(1.0))
    before = held()
    for _ in probe.stream(batch(i) for i in range(500)):
        pass
    for i in range(500):
        probe.infer(batch(i))
    for (host, files, regions), (grown, more_files, more_regions) in zip(before, held(), strict=True):
        assert grown - host < 2**20
        assert (files, regions) == (more_files, more_regions)


def test_in_the_middle_of_a_stream_nothing_else_is_answered(probe):
    outputs = probe.stream(batch(i) for i in range(20))
    first = next(outputs)
    with pytest.raises(ProbeError, match="'infer' was asked in the middle of a stream: exhaust the stream, or close"):
        probe.infer(batch(1.0))
    with pytest.raises(ProbeError, match="'stream' was asked in the middle of a stream"):
        next(probe.stream([batch(1.0)]))
    rest = list(outputs)
    assert len(rest) == 19
    np.testing.assert_allclose(rest[1]["y"], 2 * rest[0]["y"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(probe.infer(batch(0.0))["y"], first["y"])


def test_a_probe_that_has_ended_says_so(server, subject):
    probe = EngineProbe(server, subject)
    outputs = probe.stream(batch(i) for i in range(20))
    next(outputs)
    probe.close()
    with pytest.raises(ProbeError, match="'stream' was asked of a probe that has ended"):
        next(outputs)
    with pytest.raises(ProbeError, match="'infer' was asked of a probe that has ended"):
        probe.infer(batch(1.0))


def test_an_error_is_raised_here_as_it_was_there(probe, server, subject, tmp_path):
    with pytest.raises(InputError, match="the engine has no input 'z': it has 'x'"):
        probe.infer({"z": np.zeros(1, np.float32)})
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(Exception, match=r"cannot load .*broken.onnx: Protobuf parsing failed"):
        EngineProbe(server, Subject(broken, "0", EngineSpec(), {}, PipelineOptions()))


def test_a_crash_says_how_it_ended_and_costs_only_that_probe(server, subject, probe):
    lost = EngineProbe(server, subject)
    os.kill(lost._probe.pid, signal.SIGSEGV)
    with pytest.raises(ProbeError, match=r"the probe was ended by SIGSEGV in 'infer'"):
        lost.infer(batch(1.0))
    lost.close()
    assert probe.infer(batch(0.0))["y"].shape == (4, 32)


def test_a_killed_probe_is_suspected_of_memory(server, subject):
    lost = EngineProbe(server, subject)
    os.kill(lost._probe.pid, signal.SIGKILL)
    with pytest.raises(ProbeError, match=r"was ended by SIGKILL \(was host memory used up"):
        lost.infer(batch(1.0))


def test_a_probe_that_hangs_is_killed_at_its_time_out(server, subject):
    lost = EngineProbe(server, subject)
    os.kill(lost._probe.pid, signal.SIGSTOP)
    with pytest.raises(ProbeError, match=r"did not answer 'block' within 0\.2 s and was killed"):
        lost._probe.call("block", count=1, timeout_s=0.2)
    assert gone(lost._probe.pid)


def test_what_a_lost_probe_said_last_is_told(server, subject):
    lost = EngineProbe(server, subject)
    lost._probe.log.write_text("line\n" * 50 + "out of cheese\n")
    os.kill(lost._probe.pid, signal.SIGABRT)
    with pytest.raises(ProbeError, match=r"its last words:\n(  line\n){19}  out of cheese"):
        lost.infer(batch(1.0))


def test_arrays_beyond_shared_memory_are_an_error_not_a_crash(probe):
    huge = np.broadcast_to(np.float32(0), (1 << 22, 1 << 22))  # 64 TiB, of which nothing exists
    with pytest.raises(MemoryError, match="shared memory cannot be had"):
        probe.infer({"x": huge})


def test_closing_a_source_ends_its_probes_and_renewing_opens_others_in_the_other_order(server, subject):
    source = ProbeSource([(server, subject), (server, subject)])
    first = [probe._probe.pid for probe in source.probes]
    assert first == sorted(first)
    source.renew()
    assert all(gone(pid) for pid in first)
    second = [probe._probe.pid for probe in source.probes]
    assert second == sorted(second, reverse=True)
    source.close()
    assert all(gone(pid) for pid in second)


def test_closing_the_server_ends_every_probe_and_killing_it_too(subject):
    with ProbeServer("onnxruntime") as server:
        probe = EngineProbe(server, subject)
        assert server._process is not None
        parent = server._process.pid
    assert gone(probe._probe.pid)
    assert gone(parent)
    probe.close()

    server = ProbeServer("onnxruntime")
    probe = EngineProbe(server, subject)
    assert server._process is not None
    os.kill(server._process.pid, signal.SIGKILL)
    assert gone(probe._probe.pid)
    with pytest.raises(ProbeError, match="the probe server for onnxruntime is lost"):
        server.fork()
    probe.close()
    server.close()


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
    assert gone(probe._probe.pid)
    with pytest.raises(ProbeError, match="has ended"):
        probe.infer(batch(0.0))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_spare_that_was_killed_or_stopped_is_no_tests_fault(subject, number):
    with ProbeServer("onnxruntime") as server:
        server.fork().close()
        spare = server._spare
        assert spare is not None
        os.kill(spare.pid, number)
        while spare.is_running():
            time.sleep(0.001)
        with EngineProbe(server, subject) as probe:
            assert probe.infer(batch(0.0))["y"].shape == (4, 32)
        assert gone(spare.pid)


def test_a_server_that_cannot_fork_says_so_and_goes_on(monkeypatch):
    def refuse():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", refuse)
    ours, theirs = socket.socketpair()
    with ours, theirs, open(os.devnull) as log:
        serving = threading.Thread(target=_serve, args=(theirs, {}))
        serving.start()
        for _ in range(2):
            wire.send(ours, {"do": "fork", "log": os.devnull}, (log.fileno(),))
            answer, _ = wire.receive(ours)
            assert "a probe cannot be forked: Resource temporarily unavailable: end" in answer["error"]["message"]
        ours.close()
        serving.join(10)
        assert not serving.is_alive()


def test_a_probe_is_had_where_no_spare_can_be(server, monkeypatch):
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


def test_a_server_that_is_left_in_the_middle_is_ended():
    """As a call to a probe is: the pid that it still sends would come as how another probe ended."""

    class Left(BaseException):
        pass

    def leave(*_):
        raise Left

    with ProbeServer("onnxruntime") as server:
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGSTOP)
        before = signal.signal(signal.SIGALRM, leave)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            with pytest.raises(Left):
                server.fork()
        finally:
            signal.signal(signal.SIGALRM, before)
        assert server.is_lost


def test_a_server_that_does_not_answer_is_ended(monkeypatch):
    with ProbeServer("onnxruntime") as server:
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGSTOP)
        monkeypatch.setattr(servers, "START_TIMEOUT_S", 0.2)
        with pytest.raises(ProbeError, match=r"the probe server for onnxruntime is lost \(timed out\)"):
            server.fork()
        assert server.is_lost


@pytest.mark.parametrize(("limits", "kib"), [("-Ss 8192", 98304), ("-Hs 16384; ulimit -Ss 8192", 16384)])
def test_the_stack_of_a_build_is_deep_where_it_may_be(limits, kib):
    """TensorRT's builder recurses over layers. With the real thing: a chain of 5000 ends in SIGSEGV at 8 MiB."""
    code = "from pytest_trt.measure.probe import verbs; verbs.deepen_stack(); import os; os.system('ulimit -Ss')"
    shell = ["bash", "-c", f'ulimit {limits}; exec "$0" -c "$1"', sys.executable, code]
    assert subprocess.run(shell, capture_output=True, text=True, check=True).stdout.strip() == str(kib)


def test_a_backend_that_is_not_installed_and_an_interpreter_that_is_not_there():
    with pytest.raises(BackendError, match="there is no backend 'openvino'"):
        ProbeServer("openvino")
    with pytest.raises(ProbeError, match="the interpreter /nowhere/python cannot be started"):
        ProbeServer("onnxruntime", python="/nowhere/python")


def test_an_interpreter_without_the_packages_says_so(monkeypatch):
    monkeypatch.setattr(servers, "START_TIMEOUT_S", 30.0)
    with pytest.raises((BackendError, ProbeError), match=r"numpy|onnxruntime"):
        ProbeServer("onnxruntime", python="/usr/bin/python3")
