"""Test arrays between two processes. Here, one process has both ends, of a real socket pair."""

from __future__ import annotations

import gc
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_trt.engine.tensors import Tensor
from pytest_trt.measure.probe.shared_arrays import ArrayChannel

Ends = tuple[ArrayChannel, ArrayChannel]


@pytest.fixture
def regions() -> Callable[[], int]:
    """Return a function that counts the mappings of shared memory that were added during the test."""

    def count() -> int:
        return Path("/proc/self/maps").read_text().count("/memfd:pytest-trt")

    gc.collect()
    before = count()
    return lambda: count() - before


@pytest.fixture
def ends(regions: Callable[[], int]) -> Iterator[Ends]:
    ours, theirs = (ArrayChannel(end) for end in socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


def open_files() -> set[str]:
    return {str(path) for path in Path("/proc/self/fd").iterdir()}


def send_and_receive(ends: Ends, arrays: Any, number: int = 0) -> dict[str, Any]:
    ends[0].send({"n": number}, arrays, number)
    message, received, received_number = ends[1].receive()
    assert (message, received_number) == ({"n": number}, number)
    return received


def address(array: Any) -> int:
    return int(array.ctypes.data)


def test_arrays_arrive_unchanged(ends: Ends) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    sent = {
        "float": np.arange(6, dtype=np.float32).reshape(2, 3),
        "strided": np.arange(20, dtype=np.int64)[::3],
        "bool": np.array([True, False]),
        "scalar": np.array(7, np.uint8),
        "bf16": np.ones(3, ml_dtypes.bfloat16),
        "empty": np.zeros((0, 4), np.float16),
    }
    received = send_and_receive(ends, sent)
    assert list(received) == list(sent)
    for name, value in sent.items():
        assert (received[name].dtype, received[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(received[name], value)
    received["float"][0, 0] = 99
    assert sent["float"][0, 0] == 0


def test_message_without_arrays(ends: Ends) -> None:
    ends[0].send({"verb": "infer"})
    assert ends[1].receive() == ({"verb": "infer"}, {}, 0)
    assert send_and_receive(ends, {}) == {}


def test_memory_is_reused(ends: Ends, regions: Callable[[], int]) -> None:
    first = send_and_receive(ends, {"x": np.arange(1000.0)})
    files, mapped = open_files(), regions()
    for value in range(5):
        again = send_and_receive(ends, {"x": np.arange(1000.0) + value})
        assert address(again["x"]) == address(first["x"])
        assert again["x"][0] == value
    assert (open_files(), regions()) == (files, mapped)
    assert mapped == 2, "each end has mapped it once"


def test_each_number_has_its_own_memory(ends: Ends) -> None:
    received = [send_and_receive(ends, {"x": np.full(10, float(number))}, number) for number in range(3)]
    assert [array["x"][0] for array in received] == [0.0, 1.0, 2.0]


def test_memory_is_replaced_only_if_it_is_too_small(ends: Ends, regions: Callable[[], int]) -> None:
    first = address(send_and_receive(ends, {"x": np.zeros(100, np.int64)})["x"])
    smaller = send_and_receive(ends, {"y": np.ones((2, 3), np.float32), "x": np.full(5, 9, np.int32)})
    assert address(smaller["y"]) == first
    np.testing.assert_array_equal(smaller["y"], np.ones((2, 3)))
    np.testing.assert_array_equal(smaller["x"], np.full(5, 9))
    del smaller
    larger = send_and_receive(ends, {"x": np.arange(100_000)})
    np.testing.assert_array_equal(larger["x"], np.arange(100_000))
    del larger
    gc.collect()
    assert regions() == 2, "both ends have unmapped the smaller one"


def test_arrays_that_are_allocated_in_place_are_not_copied(ends: Ends) -> None:
    allocated = ends[0].allocate(3, (Tensor("y", "float32", (2, 2)), Tensor("z", "int64", ())))
    allocated["y"][...], allocated["z"][...] = 5, 6
    received = send_and_receive(ends, allocated, 3)
    assert (received["y"] == 5).all()
    assert received["z"] == 6
    assert ends[0].allocate(3, (Tensor("y", "float32", (2, 2)), Tensor("z", "int64", ()))) is allocated


def test_copied_arrays_outlive_the_next_exchange(ends: Ends) -> None:
    copied = ends[1].copy(send_and_receive(ends, {"x": np.ones(4)}))
    send_and_receive(ends, {"x": np.zeros(4)})
    assert (copied["x"] == 1).all()


def test_every_region_is_page_locked_and_released_once(ends: Ends) -> None:
    locked: dict[int, int] = {}

    class Lock:
        def __init__(self, address: int, nbytes: int) -> None:
            assert address not in locked
            self.address = address
            locked[address] = nbytes

        def close(self) -> None:
            del locked[self.address]

    theirs = ends[1]
    early = send_and_receive(ends, {"x": np.ones(10)}, 0)
    theirs.page_lock(Lock)
    assert list(locked) == [address(early["x"])]
    late = send_and_receive(ends, {"x": np.ones(10)}, 1)
    in_place = theirs.allocate(0, (Tensor("y", "int8", (3,)),))
    theirs.page_lock(Lock)
    assert set(locked) == {address(early["x"]), address(late["x"]), address(in_place["y"])}
    old = address(early["x"])
    del early
    send_and_receive(ends, {"x": np.ones(10_000)}, 0)
    assert old not in locked or locked[old] >= 80_000
    assert len(locked) == 3
    theirs.close()
    theirs.close()
    assert not locked


def test_failed_page_locking_does_not_break_later_exchanges(ends: Ends) -> None:
    def refuse(address: int, nbytes: int) -> Any:
        raise OSError(f"{nbytes} bytes cannot be locked")

    ours, theirs = ends
    assert send_and_receive(ends, {"x": np.ones(4)})["x"][0] == 1
    with pytest.raises(OSError, match="bytes cannot be locked"):
        theirs.page_lock(refuse)
    assert send_and_receive(ends, {"x": np.full(4, 2.0)})["x"][0] == 2
    theirs._page_lock = refuse
    ours.send({}, {"x": np.full(10_000, 3.0)})
    with pytest.raises(OSError, match="bytes cannot be locked"):
        theirs.receive()
    assert send_and_receive(ends, {"x": np.full(10_000, 4.0)})["x"][-1] == 4
    theirs._page_lock = refuse
    with pytest.raises(OSError, match="bytes cannot be locked"):
        theirs.allocate(5, (Tensor("y", "int8", (3,)),))
    theirs.allocate(5, (Tensor("y", "int8", (3,)),))["y"][...] = 7
    theirs.send({}, theirs.allocate(5, (Tensor("y", "int8", (3,)),)), 5)
    assert (ours.receive()[1]["y"] == 7).all()


def test_closing_frees_everything(ends: Ends, regions: Callable[[], int]) -> None:
    before = open_files()
    received = send_and_receive(ends, {"x": np.arange(10)})
    ends[0].allocate(1, (Tensor("y", "int8", (3,)),))  # the other end never receives its descriptor
    assert regions() == 3
    for end in ends:
        end.close()
    assert received["x"][9] == 9, "an array keeps its memory as long as it lives"
    del received
    gc.collect()
    assert regions() == 0
    assert len(open_files()) == len(before) - 2


def test_failed_allocation_keeps_the_existing_memory(ends: Ends) -> None:
    send_and_receive(ends, {"x": np.ones(3)})
    with pytest.raises(MemoryError, match=r"shared memory cannot be allocated: \d+ bytes are free"):
        ends[0].allocate(0, (Tensor("x", "int8", (1 << 60,)),))
    assert (send_and_receive(ends, {"x": np.full(3, 2.0)})["x"] == 2).all()


def test_array_beyond_its_region_is_an_error(ends: Ends) -> None:
    send_and_receive(ends, {"x": np.ones(3)})
    ends[0].send({"number": 0, "arrays": [{"name": "x", "dtype": "int8", "shape": [1 << 40], "offset": 0}]})
    with pytest.raises(ValueError, match="'x' lies from 0 to 1099511627776 in a region of"):
        ends[1].receive()
