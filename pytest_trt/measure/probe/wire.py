"""Messages between pytest and a probe: JSON with a length before it, and descriptors beside it.

Arrays go another way (probe/crossing.py).
"""

from __future__ import annotations

import array
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

_HEADER = struct.Struct("!I")


class Closed(ConnectionError):
    """The other end is gone."""


def send(connection: socket.socket, message: Mapping[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    """Send one message. Raises Closed where nobody reads any more."""
    text = json.dumps(message, allow_nan=False).encode()
    data = _HEADER.pack(len(text)) + text
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    try:
        sent = connection.sendmsg([data], ancillary)
        if sent < len(data):  # sending nothing, too, fails where whoever has read it all is gone
            connection.sendall(data[sent:])
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Closed("the other end has closed the connection") from error


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next message, and the descriptors that came with it, which are the receiver's to close.

    Raises Closed at the end of the connection, TimeoutError after the socket's time-out.
    """
    head, descriptors = _exactly(connection, _HEADER.size)
    text, more = _exactly(connection, _HEADER.unpack(head)[0])
    return json.loads(text), descriptors + more


def _exactly(connection: socket.socket, size: int) -> tuple[bytes, list[int]]:
    data, descriptors = bytearray(), array.array("i")
    room = socket.CMSG_SPACE(4 * descriptors.itemsize)
    while len(data) < size:
        try:
            chunk, ancillary, _flags, _address = connection.recvmsg(size - len(data), room)
        except ConnectionResetError as error:
            raise Closed("the other end has closed the connection") from error
        for _level, kind, payload in ancillary:
            if kind == socket.SCM_RIGHTS:
                descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
        if not chunk:
            raise Closed("the other end has closed the connection")
        data += chunk
    return bytes(data), list(descriptors)
