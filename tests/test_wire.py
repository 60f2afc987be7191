"""Messages between pytest and a probe, over a real socket pair."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from pytest_trt.probe import wire


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def open_files():
    return set(Path("/proc/self/fd").iterdir())


def crossed(ends, message, arrays=None):
    """The message as it arrives; sent from a thread, since a long one waits for its reader."""
    sender = threading.Thread(target=wire.send, args=(ends[0], message, arrays))
    sender.start()
    try:
        return wire.receive(ends[1])
    finally:
        sender.join()


def test_messages_keep_their_order_and_their_content_however_long(ends):
    for message in ({}, {"a": [1, 2.5, None, "ü"]}, {"long": "x" * 3_000_000}):
        received, arrays, descriptors = crossed(ends, message)
        assert received == message
        assert (arrays, descriptors) == ({}, [])


def test_arrays_arrive_as_they_were_and_belong_to_the_receiver(ends):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    sent = {
        "float": np.arange(6, dtype=np.float32).reshape(2, 3),
        "strided": np.arange(20, dtype=np.int64)[::3],
        "bool": np.array([True, False]),
        "scalar": np.array(7, np.uint8),
        "bf16": np.ones(3, ml_dtypes.bfloat16),
        "empty": np.zeros((0, 4), np.float16),
    }
    _, received, _ = crossed(ends, {}, sent)
    assert list(received) == list(sent)
    for name, value in sent.items():
        assert (received[name].dtype, received[name].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(received[name], value)
    received["float"][0, 0] = 99
    assert sent["float"][0, 0] == 0


def test_descriptors_travel_and_none_is_left_open(ends):
    before = open_files()
    read, write = os.pipe()
    wire.send(ends[0], {"take": 1}, {"x": np.ones(3)}, descriptors=(write,))
    os.close(write)
    _, arrays, (taken,) = wire.receive(ends[1])
    os.write(taken, b"heard")
    os.close(taken)
    assert os.read(read, 10) == b"heard"
    os.close(read)
    del arrays
    assert open_files() == before


def test_the_end_of_the_other_side_is_closed_in_both_directions(ends):
    ends[1].close()
    with pytest.raises(wire.Closed):
        wire.receive(ends[0])
    with pytest.raises(wire.Closed):
        wire.send(ends[0], {"verb": "infer"})


def test_a_message_that_breaks_off_is_closed_and_one_that_never_comes_is_a_time_out(ends):
    ends[1].settimeout(0.05)
    with pytest.raises(TimeoutError):
        wire.receive(ends[1])
    ends[0].sendall(b"\x00\x00\x00\x09{")
    ends[0].close()
    with pytest.raises(wire.Closed):
        wire.receive(ends[1])


def test_numbers_that_json_does_not_have_are_refused_where_they_are_sent(ends):
    with pytest.raises(ValueError, match="JSON compliant"):
        wire.send(ends[0], {"ms": float("nan")})
