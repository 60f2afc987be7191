"""Messages between two processes: JSON after its length, with file descriptors beside it.

Arrays are sent through shared memory instead (shared_arrays.py).
"""

from __future__ import annotations

import array
import json
import socket
import struct
from collections.abc import Mapping
from typing import Any

CONVERSION = "conversion"
"""The name of the server whose probes convert models. They run no engine, so it has no backend."""

_HEADER = struct.Struct("!I")


class Closed(ConnectionError):
    """The other end has closed the connection, or has ended."""


def send(connection: socket.socket, message: Mapping[str, Any], descriptors: tuple[int, ...] = ()) -> None:
    """Send one message.

    Args:
        connection: A Unix socket.
        message: A JSON object.
        descriptors: File descriptors to send with it, which stay open here.

    Raises:
        Closed: The other end is gone.
    """
    text = json.dumps(message, allow_nan=False).encode()
    data = _HEADER.pack(len(text)) + text
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    try:
        sent = connection.sendmsg([data], ancillary)
        if sent < len(data):  # to send an empty rest would fail if the reader has read everything and exited
            connection.sendall(data[sent:])
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Closed("the other end has closed the connection") from error


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Wait for the next message.

    Returns:
        The message, and the file descriptors that came with it. The caller closes them.

    Raises:
        Closed: The other end is gone.
        TimeoutError: The socket's time-out has passed.
    """
    head, descriptors = _receive_exactly(connection, _HEADER.size)
    text, more = _receive_exactly(connection, _HEADER.unpack(head)[0])
    return json.loads(text), descriptors + more


def _receive_exactly(connection: socket.socket, size: int) -> tuple[bytes, list[int]]:
    data, descriptors = bytearray(), array.array("i")
    ancillary_size = socket.CMSG_SPACE(4 * descriptors.itemsize)
    while len(data) < size:
        try:
            chunk, ancillary, _flags, _address = connection.recvmsg(size - len(data), ancillary_size)
        except ConnectionResetError as error:
            raise Closed("the other end has closed the connection") from error
        for _level, kind, payload in ancillary:
            if kind == socket.SCM_RIGHTS:
                descriptors.frombytes(payload[: len(payload) - len(payload) % descriptors.itemsize])
        if not chunk:
            raise Closed("the other end has closed the connection")
        data += chunk
    return bytes(data), list(descriptors)
