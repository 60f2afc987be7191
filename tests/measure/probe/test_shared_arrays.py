"""Arrays between two processes: here both ends are in one, over a real socket pair."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_trt.engine.tensors import Tensor
from pytest_trt.measure.probe.shared_arrays import ArrayChannel

Ends = tuple[ArrayChannel, ArrayChannel]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = (ArrayChannel(end) for end in socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


def open_files() -> set[str]:
    return {str(path) for path in Path("/proc/self/fd").iterdir()}


def regions() -> int:
    """How many mappings of shared memory this process has."""
    return Path("/proc/self/maps").read_text().count("/memfd:pytest-trt")


def crossed(ends: Ends, arrays: Any, number: int = 0) -> dict[str, Any]:
    ends[0].send({"n": number}, arrays, number)
    message, received, received_number = ends[1].receive()
    assert (message, received_number) == ({"n": number}, number)
    return received


def address(array: Any) -> int:
    return int(array.ctypes.data)


def test_arrays_arrive_as_they_were(ends: Ends) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    sent = {
        "float": np.arange(6, dtype=np.float32).reshape(2, 3),
        "strided": np.arange(20, dtype=np.int64)[::3],
        "bool": np.array([True, False]),
        "scalar": np.array(7, np.uint8),
        "bf16": np.ones(3, ml_dtypes.bfloat16),
        "empty": np.zeros((0, 4), np.float16),
    }
    received = crossed(ends, sent)
    assert list(received) == list(sent)
    for name, value in sent.items():
        assert (received[name].dtype, received[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(received[name], value)
    received["float"][0, 0] = 99
    assert sent["float"][0, 0] == 0


def test_a_message_without_arrays_has_none(ends: Ends) -> None:
    ends[0].send({"verb": "infer"})
    assert ends[1].receive() == ({"verb": "infer"}, {}, 0)
    assert crossed(ends, {}) == {}


def test_memory_is_kept_and_used_again(ends: Ends) -> None:
    first = crossed(ends, {"x": np.arange(1000.0)})
    kept, mapped = open_files(), regions()
    for turn in range(5):
        again = crossed(ends, {"x": np.arange(1000.0) + turn})
        assert address(again["x"]) == address(first["x"])
        assert again["x"][0] == turn
    assert (open_files(), regions()) == (kept, mapped)
    assert mapped == 2, "each end has it mapped once"


def test_each_number_has_memory_of_its_own(ends: Ends) -> None:
    received = [crossed(ends, {"x": np.full(10, float(number))}, number) for number in range(3)]
    assert [array["x"][0] for array in received] == [0.0, 1.0, 2.0]


def test_other_arrays_take_the_same_memory_where_it_suffices_and_new_memory_where_not(ends: Ends) -> None:
    first = address(crossed(ends, {"x": np.zeros(100, np.int64)})["x"])
    smaller = crossed(ends, {"y": np.ones((2, 3), np.float32), "x": np.full(5, 9, np.int32)})
    assert address(smaller["y"]) == first
    np.testing.assert_array_equal(smaller["y"], np.ones((2, 3)))
    np.testing.assert_array_equal(smaller["x"], np.full(5, 9))
    del smaller
    larger = crossed(ends, {"x": np.arange(100_000)})
    np.testing.assert_array_equal(larger["x"], np.arange(100_000))
    del larger
    gc.collect()
    assert regions() == 2, "the smaller one is gone at both ends"


def test_what_is_written_in_its_place_is_not_copied(ends: Ends) -> None:
    room = ends[0].allocate(3, (Tensor("y", "float32", (2, 2)), Tensor("z", "int64", ())))
    room["y"][...], room["z"][...] = 5, 6
    received = crossed(ends, room, 3)
    assert (received["y"] == 5).all()
    assert received["z"] == 6
    assert ends[0].allocate(3, (Tensor("y", "float32", (2, 2)), Tensor("z", "int64", ()))) is room


def test_what_is_owned_outlives_the_next_exchange(ends: Ends) -> None:
    mine = ends[1].copy(crossed(ends, {"x": np.ones(4)}))
    crossed(ends, {"x": np.zeros(4)})
    assert (mine["x"] == 1).all()


def test_page_locking_holds_what_is_kept_and_what_comes_and_lets_go_of_each_once(ends: Ends) -> None:
    held: dict[int, int] = {}

    class Hold:
        def __init__(self, address: int, nbytes: int) -> None:
            assert address not in held
            self.address = address
            held[address] = nbytes

        def close(self) -> None:
            del held[self.address]

    there = ends[1]
    early = crossed(ends, {"x": np.ones(10)}, 0)
    there.page_lock(Hold)
    assert list(held) == [address(early["x"])]
    late = crossed(ends, {"x": np.ones(10)}, 1)
    placed = there.allocate(0, (Tensor("y", "int8", (3,)),))
    there.page_lock(Hold)
    assert set(held) == {address(early["x"]), address(late["x"]), address(placed["y"])}
    old = address(early["x"])
    del early
    crossed(ends, {"x": np.ones(10_000)}, 0)
    assert old not in held or held[old] >= 80_000
    assert len(held) == 3
    there.close()
    there.close()
    assert not held


def test_what_cannot_be_page_locked_is_said_and_costs_no_later_exchange(ends: Ends) -> None:
    def refuse(address: int, nbytes: int) -> Any:
        raise OSError(f"{nbytes} bytes cannot be locked")

    ours, there = ends
    assert crossed(ends, {"x": np.ones(4)})["x"][0] == 1
    with pytest.raises(OSError, match="bytes cannot be locked"):
        there.page_lock(refuse)
    assert crossed(ends, {"x": np.full(4, 2.0)})["x"][0] == 2
    there._page_lock = refuse
    ours.send({}, {"x": np.full(10_000, 3.0)})
    with pytest.raises(OSError, match="bytes cannot be locked"):
        there.receive()
    assert crossed(ends, {"x": np.full(10_000, 4.0)})["x"][-1] == 4
    there._page_lock = refuse
    with pytest.raises(OSError, match="bytes cannot be locked"):
        there.allocate(5, (Tensor("y", "int8", (3,)),))
    there.allocate(5, (Tensor("y", "int8", (3,)),))["y"][...] = 7
    there.send({}, there.allocate(5, (Tensor("y", "int8", (3,)),)), 5)
    assert (ours.receive()[1]["y"] == 7).all()


def test_closing_leaves_nothing(ends: Ends) -> None:
    before = open_files()
    received = crossed(ends, {"x": np.arange(10)})
    ends[0].allocate(1, (Tensor("y", "int8", (3,)),))  # whose descriptor the other end never gets
    assert regions() == 3
    for end in ends:
        end.close()
    assert received["x"][9] == 9, "an array keeps its memory as long as it lives"
    del received
    gc.collect()
    assert regions() == 0
    assert len(open_files()) == len(before) - 2


def test_memory_that_cannot_be_had_is_an_error_and_what_was_there_stays(ends: Ends) -> None:
    crossed(ends, {"x": np.ones(3)})
    with pytest.raises(MemoryError, match=r"shared memory cannot be allocated: \d+ bytes are free"):
        ends[0].allocate(0, (Tensor("x", "int8", (1 << 60,)),))
    assert (crossed(ends, {"x": np.full(3, 2.0)})["x"] == 2).all()


def test_an_array_beyond_its_memory_is_refused(ends: Ends) -> None:
    crossed(ends, {"x": np.ones(3)})
    ends[0].send({"number": 0, "arrays": [{"name": "x", "dtype": "int8", "shape": [1 << 40], "offset": 0}]})
    with pytest.raises(ValueError, match="'x' lies from 0 to 1099511627776 in a region of"):
        ends[1].receive()
