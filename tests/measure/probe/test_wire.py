"""Test messages between pytest and a probe, over a real socket pair."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from pytest_trt.measure.probe import wire

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_messages_of_any_length_arrive_unchanged_and_in_order(ends: Ends) -> None:
    for message in ({}, {"a": [1, 2.5, None, "ü"]}, {"long": "x" * 3_000_000}):
        sender = threading.Thread(target=wire.send, args=(ends[0], message))
        sender.start()  # a long one waits for its reader
        assert wire.receive(ends[1]) == (message, [])
        sender.join()


def test_descriptors_arrive_with_their_message(ends: Ends) -> None:
    read, write = os.pipe()
    wire.send(ends[0], {"number": 0})
    wire.send(ends[0], {"number": 1}, descriptors=(write,))
    wire.send(ends[0], {"number": 2})
    os.close(write)
    assert wire.receive(ends[1]) == ({"number": 0}, [])
    message, (received,) = wire.receive(ends[1])
    assert message == {"number": 1}
    assert wire.receive(ends[1]) == ({"number": 2}, [])
    os.write(received, b"heard")
    os.close(received)
    assert os.read(read, 10) == b"heard"
    os.close(read)


def test_closed_peer_raises_closed_in_both_directions(ends: Ends) -> None:
    ends[1].close()
    with pytest.raises(wire.Closed):
        wire.receive(ends[0])
    with pytest.raises(wire.Closed):
        wire.send(ends[0], {"verb": "infer"})


def test_partial_message_is_closed_and_missing_message_times_out(ends: Ends) -> None:
    ends[1].settimeout(0.05)
    with pytest.raises(TimeoutError):
        wire.receive(ends[1])
    ends[0].sendall(b"\x00\x00\x00\x09{")
    ends[0].close()
    with pytest.raises(wire.Closed):
        wire.receive(ends[1])


def test_nan_is_refused_by_the_sender(ends: Ends) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        wire.send(ends[0], {"ms": float("nan")})
