"""Messages between pytest and a probe, over a real socket pair."""

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


def test_messages_keep_their_order_and_their_content_however_long(ends: Ends) -> None:
    for message in ({}, {"a": [1, 2.5, None, "ü"]}, {"long": "x" * 3_000_000}):
        sender = threading.Thread(target=wire.send, args=(ends[0], message))
        sender.start()  # a long one waits for its reader
        assert wire.receive(ends[1]) == (message, [])
        sender.join()


def test_descriptors_travel_with_their_message(ends: Ends) -> None:
    read, write = os.pipe()
    wire.send(ends[0], {"take": 0})
    wire.send(ends[0], {"take": 1}, descriptors=(write,))
    wire.send(ends[0], {"take": 2})
    os.close(write)
    assert wire.receive(ends[1]) == ({"take": 0}, [])
    message, (taken,) = wire.receive(ends[1])
    assert message == {"take": 1}
    assert wire.receive(ends[1]) == ({"take": 2}, [])
    os.write(taken, b"heard")
    os.close(taken)
    assert os.read(read, 10) == b"heard"
    os.close(read)


def test_the_end_of_the_other_side_is_closed_in_both_directions(ends: Ends) -> None:
    ends[1].close()
    with pytest.raises(wire.Closed):
        wire.receive(ends[0])
    with pytest.raises(wire.Closed):
        wire.send(ends[0], {"verb": "infer"})


def test_a_message_that_breaks_off_is_closed_and_one_that_never_comes_is_a_time_out(ends: Ends) -> None:
    ends[1].settimeout(0.05)
    with pytest.raises(TimeoutError):
        wire.receive(ends[1])
    ends[0].sendall(b"\x00\x00\x00\x09{")
    ends[0].close()
    with pytest.raises(wire.Closed):
        wire.receive(ends[1])


def test_numbers_that_json_does_not_have_are_refused_where_they_are_sent(ends: Ends) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        wire.send(ends[0], {"ms": float("nan")})
