"""Test requests, probes and locks over a link to a real agent."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pytest_trt.errors import BackendError, HostError
from pytest_trt.measure.engine_probe import EngineProbe, Subject
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.hosts import HostAddress
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.hosts.remote import RemoteHost

SHAPES = {"x": (2, 32)}


@pytest.fixture
def host_of(tmp_path: Path) -> Iterator[Callable[..., RemoteHost]]:
    """Return a function that reaches this machine as a host, with its cache in the test's folder."""
    hosts = []

    def make(say: Callable[[str], None] = lambda text: None) -> RemoteHost:
        address = HostAddress("gpu01", (sys.executable,), cache=str(tmp_path / "cache"))
        hosts.append(RemoteHost(address, Settings(lock_dir=str(tmp_path / "locks")), say))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


def test_a_block_with_its_state_is_one_message_each_way(host_of, save_model):
    host = host_of()
    plan, inputs = host.deliver(save_model()), {"x": np.ones((2, 32), np.float32)}
    subject = Subject(plan, "0", EngineSpec(), SHAPES, PipelineOptions(), inputs)
    with EngineProbe(host.server("onnxruntime"), subject) as probe:
        host.cpu.read()
        probe.block()
        host.cpu.read()
        before, _ = host.session().traffic
        blocks = [(probe._probe.call("block", timeout_s=60, count=1), host.cpu.read()) for _ in range(5)]
        after, _ = host.session().traffic
    assert after - before == 2 * 5
    assert all(state["running"] >= 1 for _, state in blocks)


def test_a_model_goes_over_once_and_takes_its_data_along(host_of, tmp_path):
    import onnx
    from samples.models import layers_model

    (tmp_path / "weights").mkdir()
    model = tmp_path / "m.onnx"
    onnx.save(
        layers_model(width=100), str(model), save_as_external_data=True, location="weights/w.bin", size_threshold=0
    )
    for _ in range(2):
        host = host_of()
        there = host.deliver(model)
        assert (there.parent / "weights/w.bin").read_bytes() == (tmp_path / "weights/w.bin").read_bytes()
        _, nbytes = host.session().traffic
        host.close()
    assert nbytes < (tmp_path / "weights/w.bin").stat().st_size, "the second session sent no model"


def test_a_second_session_waits_for_a_card_and_says_so(host_of):
    texts: list[str] = []
    waited, order = threading.Event(), list[str]()

    def hold() -> None:
        with second.lock("cpu", "some CPU"):
            order.append("second")

    def report(text: str) -> None:
        if "measures" in text:
            texts.append(text)
            waited.set()

    first, second = host_of(), host_of(report)
    with first.lock("cpu", "some CPU"):
        with first.lock("cpu", "some CPU"):  # a build within a measurement
            pass
        thread = threading.Thread(target=hold)
        thread.start()
        assert waited.wait(60)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert texts[0].startswith("gpu01: waiting for some CPU: another run measures or builds on it (process ")


def test_the_lock_of_a_session_that_is_lost_is_free(host_of):
    first, second = host_of(), host_of()
    first.lock("cpu", "some CPU").__enter__()
    first.close()
    with second.lock("cpu", "some CPU"):
        pass


def test_an_error_there_is_raised_here_and_names_the_host(host_of):
    host = host_of()
    with pytest.raises(BackendError, match=r"^host gpu01: .*'tensorrt_lean|^host gpu01: .*tensorrt"):
        host.server("tensorrt_lean")
    with pytest.raises(HostError, match=r"^host gpu01: /etc/passwd is in no folder of this session$"):
        host.session().call("put", folder="/etc", name="passwd", payload=b"x")
    with pytest.raises(HostError, match="host gpu01: KeyError: 'nothing'"):
        host.session().call("nothing")


def test_calls_after_a_loss_fail_until_the_host_is_reached_again(host_of):
    host = host_of()
    session = host.session()
    session._connection._process.kill()
    session._connection._process.wait()
    session._reader.join()
    with pytest.raises(HostError, match=r"^host gpu01: the link to it is lost \(the other end has closed it\)$"):
        session.call("facts")
    host.close()
    assert host.session().call("facts")[0]["missing"] == []
