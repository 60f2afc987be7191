"""Test the frames of a link, and how its loss is noticed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from pytest_trt.trial.hosts.link import Link, LinkLost


@pytest.fixture
def ends() -> Iterator[tuple[Link, Link, list[int]]]:
    """Two ends of a link, and their descriptors."""
    there, back = os.pipe(), os.pipe()
    descriptors = [*there, *back]
    yield Link(back[0], there[1], silence_s=0.2), Link(there[0], back[1], silence_s=0.2), descriptors
    for descriptor in descriptors:
        os.close(descriptor)


def test_a_message_arrives_with_its_bytes(ends):
    one, other, _ = ends
    array = np.arange(300_000, dtype=np.float32)
    sending = threading.Thread(target=one.send, args=({"a": [1, "é"]}, [array, b"", b"end"]))
    sending.start()
    message, payload = other.receive()
    sending.join()
    assert message == {"a": [1, "é"]}
    assert payload == array.tobytes() + b"end"
    assert (one.messages, one.nbytes) == (other.messages, other.nbytes)
    assert one.messages == 1


def test_silence_is_a_loss_unless_the_other_end_keeps_the_link_alive(ends):
    one, other, _ = ends
    with pytest.raises(LinkLost, match=r"nothing was received for 0\.2 s"):
        other.receive()
    one.keep_alive()
    reading = threading.Timer(0.5, one.send, args=({"late": True},))
    reading.start()
    assert other.receive()[0] == {"late": True}
    one.close()
    reading.join()


def test_an_end_that_closes_or_writes_something_else_is_lost(ends):
    one, other, descriptors = ends
    os.write(descriptors[1], b"Warning: this is no frame, but a line of text\n")
    with pytest.raises(LinkLost, match="something else wrote to the link"):
        other.receive()
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptors[3])
    with pytest.raises(LinkLost, match="the other end has closed it"):
        one.receive()
    one.close()
    with pytest.raises(LinkLost, match="the link is closed"):
        one.send({})
