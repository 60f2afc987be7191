"""Test the CUDA modules on a real GPU."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pytest_trt.engine.backends import cuda
from pytest_trt.errors import BackendError


@pytest.fixture(autouse=True)
def gpu() -> cuda.Device:
    device = cuda.device("0")
    device.activate()
    return device


def test_device_is_found_by_number_and_by_uuid(gpu: cuda.Device) -> None:
    assert re.fullmatch(r"(GPU|MIG)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", gpu.uuid)
    assert cuda.device(gpu.uuid) == gpu == cuda.device(gpu.uuid[:12])
    assert gpu.memory_bytes > 10**9
    assert gpu.l2_bytes > 10**6
    assert re.fullmatch(r"\d+\.\d+", cuda.cuda_version())
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", cuda.driver_version() or "")


def test_missing_device_lists_existing_ones(gpu: cuda.Device) -> None:
    with pytest.raises(BackendError, match=rf"there is no GPU '99': .*{gpu.uuid}"):
        cuda.device("99")


def test_bytes_are_copied_to_the_device_and_back() -> None:
    stream, device = cuda.Stream(), cuda.DeviceBuffer(1000)
    there, back = cuda.PinnedBuffer(1000), cuda.PinnedBuffer(1000)
    there.array[:] = np.arange(1000) % 251
    back.array[:] = 0
    stream.copy(device.address, there.address, 1000)
    stream.copy(back.address, device.address, 1000)
    stream.synchronize()
    np.testing.assert_array_equal(back.array, there.array)
    for part in (there, back, device, stream, device):
        part.close()


def test_failed_allocation_shows_requested_and_free_memory() -> None:
    with pytest.raises(BackendError, match=r"9000000\.0 MB of device memory \(free: .*cudaErrorMemoryAllocation"):
        cuda.DeviceBuffer(9 * 10**12)
    cuda.DeviceBuffer(1000).close()


def test_graph_repeats_captured_work() -> None:
    stream, device, host = cuda.Stream(), cuda.DeviceBuffer(16), cuda.PinnedBuffer(16)
    graph = cuda.Graph(stream, lambda: stream.fill(device.address, 16, 7))
    assert graph.nodes == 1
    stream.fill(device.address, 16, 1)
    graph.launch(stream)
    stream.copy(host.address, device.address, 16)
    stream.synchronize()
    assert set(host.array) == {7}


def test_empty_graph_has_no_nodes() -> None:
    graph = cuda.Graph(cuda.Stream(), lambda: None)
    assert graph.nodes == 0
    graph.close()


def test_failed_capture_leaves_the_stream_usable() -> None:
    stream = cuda.Stream()
    with pytest.raises(BackendError, match="cudaErrorStreamCapture"):
        cuda.Graph(stream, stream.synchronize)
    stream.synchronize()


def test_commands_run_in_order_and_name_the_failing_call() -> None:
    stream, device, host = cuda.Stream(), cuda.DeviceBuffer(4), cuda.PinnedBuffer(4)
    stream.fill(device.address, 4, 9)
    began, ended = cuda.Event(), cuda.Event()
    commands = cuda.Commands()
    commands.record(began, stream)
    commands.copy(stream, host.address, device.address, 4)
    commands.record(ended, stream)
    commands.run()
    ended.synchronize()
    assert set(host.array) == {9}
    assert ended.ms_since(began) >= 0
    empty = cuda.Commands()
    empty.launch(cuda.Graph(stream, lambda: None), stream)
    with pytest.raises(BackendError, match="cudaGraphLaunch failed: cudaErrorInvalidValue"):
        empty.run()
