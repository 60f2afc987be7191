"""Test arrays that are sent to a probe on the GPU: from shared memory to the device and back, without another copy."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_workshop import FAULT, Workshop, assert_close, conv_inputs

import pytest_trt
from pytest_trt.core import codec
from pytest_trt.engine.backends import cuda
from pytest_trt.errors import BackendError, ProbeError
from pytest_trt.measure.engine_probe import EngineProbe, Subject
from pytest_trt.measure.probe.client import Probe
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench


@pytest.fixture(scope="module")
def server(workshop: Workshop) -> Iterator[ProbeServer]:
    with ProbeServer("tensorrt") as server:
        yield server


@pytest.fixture(scope="module")
def batches() -> list[dict[str, Any]]:
    return [conv_inputs(4, seed) for seed in range(500)]


@pytest.fixture(scope="module")
def expected(batches: list[dict[str, Any]], reference: Callable[..., Any]) -> list[Any]:
    return [reference("conv", batch) for batch in batches]


def subject(plan: Path, shapes: Any, **options: Any) -> Subject:
    return Subject(plan, "0", EngineSpec(), shapes, PipelineOptions(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"depth": 1},
        {"depth": 3, "contexts": 2},
        {"contexts": 4, "cuda_graph": False},
        {"pinned": False},
        {"transfers": False},
    ],
)
def test_stream_of_500_batches_is_correct_and_in_order(
    server: ProbeServer, conv_plan: Path, batches: Any, expected: Any, options: dict[str, Any]
) -> None:
    with EngineProbe(server, subject(conv_plan, {"x": (4, 3, 32, 32)}, **options)) as probe:
        got = list(probe.stream(iter(batches)))  # all at once: returned arrays must not change later
        assert len(got) == len(expected)
        for outputs, want in zip(got, expected, strict=True):
            assert_close(outputs, want)
        for batch, want in zip(batches[:3], expected, strict=False):
            assert_close(probe.infer(batch), want)


@pytest.mark.serial
def test_1000_inferences_in_a_probe_allocate_nothing(server: ProbeServer, conv_plan: Path, batches: Any) -> None:
    cuda.device("0").activate()
    with EngineProbe(server, subject(conv_plan, {"x": (4, 3, 32, 32)}, contexts=2)) as probe:

        def usage() -> list[tuple[int, int]]:
            pids = (os.getpid(), probe._probe.pid)
            texts = [(Path(f"/proc/{pid}/statm").read_text(), Path(f"/proc/{pid}/maps").read_text()) for pid in pids]
            return [
                (int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE"), maps.count("/memfd:pytest-trt"))
                for statm, maps in texts
            ]

        for _ in probe.stream(batches[:50]):
            pass
        probe.infer(batches[0])
        free, before = cuda.memory_info()[0], usage()
        for _ in probe.stream(iter(batches)):
            pass
        for batch in batches:
            probe.infer(batch)
        assert cuda.memory_info()[0] == free
        for (host, regions), (grown, more_regions) in zip(before, usage(), strict=True):
            assert grown - host < 2 * 2**20
            assert regions == more_regions


def test_shapes_may_change_during_a_stream(server: ProbeServer, conv_plan: Path, reference: Callable[..., Any]) -> None:
    mixed = [conv_inputs(batch, seed) for seed, batch in enumerate((4, 4, 1, 32, 4, 1, 1, 8, 2, 3, 4, 4))]
    with EngineProbe(server, subject(conv_plan, {"x": (4, 3, 32, 32)})) as probe:
        for got, batch in zip(list(probe.stream(mixed)), mixed, strict=True):
            assert_close(got, reference("conv", batch))
        for batch in mixed:
            assert_close(probe.infer(batch), reference("conv", batch))


def test_outputs_with_data_dependent_shapes_arrive(
    server: ProbeServer, workshop: Workshop, reference: Callable[..., Any]
) -> None:
    random = np.random.default_rng(0)
    inputs = [{"x": (random.random(64) < share).astype(np.float32)} for share in (0.1, 0.9, 0.0, 1.0, 0.5) * 4]
    with EngineProbe(server, subject(workshop.plan("nonzero"), {"x": (64,)}, depth=2)) as probe:
        for got, batch in zip(list(probe.stream(inputs)), inputs, strict=True):
            assert_close(got, reference("nonzero", batch))
        assert_close(probe.infer(inputs[1]), reference("nonzero", inputs[1]))


def test_inputs_that_the_host_reads_arrive(
    server: ProbeServer, workshop: Workshop, reference: Callable[..., Any]
) -> None:
    plan = workshop.plan("expand", input_ranges={"shape": (1, 24)})
    spec = EngineSpec(input_ranges={"shape": (1, 24)})
    subject_of_expand = Subject(plan, "0", spec, {"x": (1, 1), "shape": (2,)}, PipelineOptions())
    x = np.full((1, 1), 3, np.float32)
    inputs = [{"x": x, "shape": np.array(sides, np.int32)} for sides in ((4, 6), (2, 12), (4, 6), (24, 1), (4, 6))]
    with EngineProbe(server, subject_of_expand) as probe:
        for batch in inputs:
            assert_close(probe.infer(batch), reference("expand", batch))
        for got, batch in zip(list(probe.stream(inputs)), inputs, strict=True):
            assert_close(got, reference("expand", batch))


def test_memory_is_page_locked_until_it_is_released() -> None:
    cuda.device("0").activate()
    memory = np.zeros(3 * 4096 + 100, np.uint8)
    locked = cuda.RegisteredMemory(int(memory.ctypes.data), memory.nbytes)
    stream, device = cuda.Stream(), cuda.DeviceBuffer(memory.nbytes)
    stream.fill(device.address, memory.nbytes, 7)
    stream.copy(int(memory.ctypes.data), device.address, memory.nbytes)
    stream.synchronize()
    assert (memory == 7).all()
    with pytest.raises(BackendError, match="cudaErrorHostMemoryAlreadyRegistered"):
        cuda.RegisteredMemory(int(memory.ctypes.data), memory.nbytes)
    locked.close()
    locked.close()
    cuda.RegisteredMemory(int(memory.ctypes.data), memory.nbytes).close()
    for part in (stream, device):
        part.close()


@pytest.mark.serial
def test_exhausted_device_memory_fails_only_one_probe(server: ProbeServer, conv_plan: Path, batches: Any) -> None:
    """This process uses most of the memory. The rest is enough for the probe's context, but not for its buffers."""
    cuda.device("0").activate()
    left_bytes = 2 * 2**30
    hog = cuda.DeviceBuffer(cuda.memory_info()[0] - left_bytes)
    try:
        with pytest.raises(BackendError, match=r"MB.*\(.*free: [\d.]+ of [\d.]+ MB"):
            EngineProbe(server, subject(conv_plan, {"x": (32, 3, 32, 32)}, contexts=64, depth=64))
    finally:
        hog.close()
    with EngineProbe(server, subject(conv_plan, {"x": (4, 3, 32, 32)})) as probe:
        assert probe.infer(batches[0])["y"].shape == (4, 8)


FAULTY = f"""
import socket, sys
from pytest_trt.measure.probe.verbs import serve
{FAULT}
serve(socket.socket(fileno=int(sys.argv[1])))
"""


def test_sticky_error_ends_only_its_probe(server: ProbeServer, conv_plan: Path, batches: Any) -> None:
    """The process serves like a probe, and its device fails permanently at one input."""
    ours, theirs = socket.socketpair()
    environment = {**os.environ, "PYTHONPATH": str(Path(pytest_trt.__file__).parents[1])}
    command = [sys.executable, "-c", FAULTY, str(theirs.fileno())]
    with subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, stderr=subprocess.DEVNULL) as process:
        theirs.close()
        lost = Probe(server, ours, process.pid, Path("/dev/null"))
        spec = codec.encode(EngineSpec())
        lost.call("load", timeout_s=120, name="tensorrt", device="0", plan=str(conv_plan), spec=spec)
        options = codec.encode(PipelineOptions(cuda_graph=False))
        lost.call("open", timeout_s=120, shapes={"x": [4, 3, 32, 32]}, options=options)
        lost.call("infer", batches[0], timeout_s=120)
        with pytest.raises(BackendError, match=r"IllegalAddress.*the CUDA context of this process is lost"):
            lost.call("infer", {"x": np.full((4, 3, 32, 32), 13, np.float32)}, timeout_s=120)
        with pytest.raises((BackendError, ProbeError)):
            lost.call("infer", batches[0], timeout_s=120)
        lost.disconnect()
        process.wait(60)
    with EngineProbe(server, subject(conv_plan, {"x": (4, 3, 32, 32)})) as probe:
        assert probe.infer(batches[0])["y"].shape == (4, 8)


@pytest.mark.usefixtures("workshop")
def test_lost_gpu_fails_later_tests_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with Bench(Settings(backend="tensorrt")) as bench:
        card = bench.environment("tensorrt")
        assert bench.lost_device("tensorrt", "a.py::test_a") == "", "it works"
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")  # processes that start from now on have no GPU
        bench.server("tensorrt").close()
        message = bench.lost_device("tensorrt", "a.py::test_a")
        assert message.startswith(f"{card.device} ({card.device_uuid}) does not work in a fresh process either (")
        with pytest.raises(BackendError, match=r"was lost in a\.py::test_a"):
            bench.environment("tensorrt")
