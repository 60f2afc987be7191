"""Messages between this process and the agent on a host, over the standard input and output of a command.

A frame is the sizes of its two parts, a JSON object, and bytes: arrays or a part of a file. Each end sends an empty
object when it has sent nothing else for a while, so that the other end can tell a slow link from a lost one.
"""

from __future__ import annotations

import json
import os
import select
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Any

SILENCE_S = 15.0
"""After how many seconds without a byte a link counts as lost."""

BEATS = 6
"""How often each end sends something at least within that time."""

MAX_TEXT_BYTES = 256 * 2**20
"""The largest JSON object of a frame. A larger one means that something else writes to the link."""

_HEADER = struct.Struct("!4sIQ")
_MAGIC = b"TRT\0"
_PART = 1 << 20


class LinkLost(ConnectionError):
    """The other end has ended, sends nothing any more, or sends something else than frames."""


class Link:
    """One end of a link. Several threads may send; one receives.

    Args:
        reads: The descriptor to read from.
        writes: The descriptor to write to.
        silence_s: After how many seconds without a byte the link counts as lost.

    Attributes:
        messages: How many messages were sent and received, without those that only keep the link alive.
        nbytes: How many bytes were sent and received.
    """

    def __init__(self, reads: int, writes: int, silence_s: float = SILENCE_S) -> None:
        self._reads, self._writes, self._silence_s = reads, writes, silence_s
        self._sending = threading.Lock()
        self._closed = threading.Event()
        self.messages = self.nbytes = 0

    def keep_alive(self) -> None:
        """Send something regularly from now on, in a thread of its own, until the link is closed or lost."""
        threading.Thread(target=self._beat, name="trt-beat", daemon=True).start()

    def _beat(self) -> None:
        while not self._closed.wait(self._silence_s / BEATS):
            try:
                self.send({})
            except LinkLost:
                return

    def send(self, message: Mapping[str, Any], parts: Sequence[Any] = ()) -> None:
        """Send a message.

        Args:
            message: A JSON object.
            parts: Contiguous buffers that go with it.

        Raises:
            LinkLost: The other end is gone.
        """
        text = json.dumps(message, allow_nan=False).encode()
        views = [memoryview(part).cast("B") for part in parts if memoryview(part).nbytes]
        size = sum(view.nbytes for view in views)
        with self._sending:
            self._write(memoryview(_HEADER.pack(_MAGIC, len(text), size) + text))
            for view in views:
                self._write(view)
            self.messages += bool(message)
            self.nbytes += _HEADER.size + len(text) + size

    def _write(self, view: memoryview) -> None:
        while view:
            if self._closed.is_set():
                raise LinkLost("the link is closed")
            try:
                view = view[os.write(self._writes, view[:_PART]) :]
            except OSError as error:
                raise LinkLost(f"nothing can be sent ({error.strerror})") from error

    def receive(self) -> tuple[dict[str, Any], bytearray]:
        """Wait for the next message, and return it with the bytes that came with it.

        Raises:
            LinkLost: There will be none.
        """
        while True:
            magic, text_size, size = _HEADER.unpack(self._read(_HEADER.size))
            if magic != _MAGIC or text_size > MAX_TEXT_BYTES:
                raise LinkLost(f"something else wrote to the link: {magic!r}")
            message = json.loads(self._read(text_size))
            payload = self._read(size)
            self.nbytes += _HEADER.size + text_size + size
            if message:
                self.messages += 1
                return message, payload

    def _read(self, size: int) -> bytearray:
        data, filled = bytearray(size), 0
        view = memoryview(data)
        while filled < size:
            if not select.select([self._reads], [], [], self._silence_s)[0]:
                raise LinkLost(f"nothing was received for {self._silence_s:g} s")
            try:
                count = os.readv(self._reads, [view[filled : filled + _PART]])
            except OSError as error:
                raise LinkLost(f"nothing can be received ({error.strerror})") from error
            if not count:
                raise LinkLost("the other end has closed it")
            filled += count
        return data

    def close(self) -> None:
        """Stop sending; whoever opened the descriptors closes them."""
        self._closed.set()
