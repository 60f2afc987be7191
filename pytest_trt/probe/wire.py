"""Messages between pytest and a probe: JSON with a length before it, arrays in shared memory beside it.

A message that carries arrays carries the descriptor of one memfd in which they lie one after another; the receiver maps
it and copies nothing.
"""

from __future__ import annotations

import array
import json
import mmap
import os
import socket
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.backends.base import dtype

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HEADER = struct.Struct("!I")
_ALIGNMENT = 256


class Closed(ConnectionError):
    """The other end is gone."""


def send(
    connection: socket.socket,
    message: Mapping[str, Any],
    arrays: Mapping[str, NDArray[np.generic]] | None = None,
    descriptors: tuple[int, ...] = (),
) -> None:
    """Send one message. Raises Closed where nobody reads any more, MemoryError where shared memory does not suffice."""
    memory = -1
    try:
        if arrays is not None:
            memory, layout = _store(arrays)
            message = {**message, "arrays": layout}
            descriptors = (memory, *descriptors)
        text = json.dumps(message, allow_nan=False).encode()
        data = _HEADER.pack(len(text)) + text
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        sent = connection.sendmsg([data], ancillary)
        connection.sendall(data[sent:])
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Closed("the other end has closed the connection") from error
    finally:
        if memory >= 0:
            os.close(memory)


def receive(connection: socket.socket) -> tuple[dict[str, Any], dict[str, NDArray[np.generic]], list[int]]:
    """The next message, its arrays (views of shared memory, the receiver's own) and descriptors that came with it.

    Raises Closed at the end of the connection, TimeoutError after the socket's time-out.
    """
    head, descriptors = _exactly(connection, _HEADER.size)
    text, more = _exactly(connection, _HEADER.unpack(head)[0])
    descriptors += more
    message = json.loads(text)
    layout = message.pop("arrays", None)
    arrays = {} if layout is None else _map(descriptors.pop(0), layout)
    return message, arrays, descriptors


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


def _store(arrays: Mapping[str, NDArray[np.generic]]) -> tuple[int, list[dict[str, Any]]]:
    import numpy as np

    layout, offset = [], 0
    for name, value in arrays.items():
        layout.append({"name": name, "dtype": value.dtype.name, "shape": list(value.shape), "offset": offset})
        offset += -(-value.nbytes // _ALIGNMENT) * _ALIGNMENT
    if offset > _available_bytes():  # the kernel would grant it, and kill this process as it fills it
        raise MemoryError(f"{offset} bytes of shared memory cannot be had: {_available_bytes()} bytes are free")
    descriptor = os.memfd_create("pytest-trt", os.MFD_CLOEXEC)
    try:
        os.posix_fallocate(descriptor, 0, max(offset, 1))  # what cannot be had is an error here, not a bus error later
        with mmap.mmap(descriptor, max(offset, 1)) as memory:
            whole = np.frombuffer(memory, np.uint8)
            for item, value in zip(layout, arrays.values(), strict=True):
                start = int(str(item["offset"]))
                whole[start : start + value.nbytes].view(value.dtype).reshape(value.shape)[...] = value
            del whole
    except OSError as error:
        os.close(descriptor)
        raise MemoryError(f"{offset} bytes of shared memory cannot be had ({error})") from error
    return descriptor, layout


def _available_bytes() -> int:
    """Memory that can be had without swapping: MemAvailable of proc(5)."""
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))


def _map(descriptor: int, layout: list[dict[str, Any]]) -> dict[str, NDArray[np.generic]]:
    import numpy as np

    try:
        memory = mmap.mmap(descriptor, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)
    arrays = {}
    for item in layout:
        kind, shape = dtype(item["dtype"]), tuple(item["shape"])
        count = int(np.prod(shape, dtype=np.int64))
        arrays[item["name"]] = np.frombuffer(memory, kind, count, item["offset"]).reshape(shape)
    return arrays
