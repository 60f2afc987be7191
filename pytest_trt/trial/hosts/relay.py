"""Pass the messages of one probe between its socket and a link, unchanged: both ends of a call notice nothing of it."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.tensors import numpy_dtype
from pytest_trt.measure.probe import wire
from pytest_trt.measure.probe.shared_arrays import ArrayChannel
from pytest_trt.trial.hosts.link import Link, LinkLost

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays


class Relay:
    """One end of the way between a caller and its probe on a host.

    Args:
        link: The link to the other end.
        number: The number of the probe.
        channel: The socket to the caller, or to the probe. The relay closes it.
        beside: Called with the verb that was delivered last, before a message is sent; returns what is sent beside it.
        closed: Called once the socket is closed; returns what the other end receives as the end of the probe's log.
    """

    def __init__(
        self,
        link: Link,
        number: int,
        channel: ArrayChannel,
        beside: Callable[[str], Mapping[str, Any]],
        closed: Callable[[], str] = lambda: "",
    ) -> None:
        self._link, self._number, self._channel = link, number, channel
        self._beside, self._closed = beside, closed
        self._verb = ""
        self._thread = threading.Thread(target=self._forward, name=f"trt-probe-{number}", daemon=True)
        self._thread.start()

    def _forward(self) -> None:
        try:
            while True:
                message, arrays, number = self._channel.receive()
                beside = self._beside(self._verb)
                frame = {"probe": self._number, **_announce(message, arrays, number), **beside}
                self._link.send(frame, list(arrays.values()))
        except (wire.Closed, OSError):
            with contextlib.suppress(LinkLost):
                self._link.send({"probe": self._number, "closed": self._closed()})
        finally:
            self._channel.close()

    def deliver(self, message: Mapping[str, Any], payload: bytearray) -> None:
        """Pass on a message that the other end has sent."""
        arrays = _arrays(message["arrays"], payload)
        self._verb = str(message["message"].get("verb", ""))
        with contextlib.suppress(wire.Closed, OSError):  # `_forward` notices it, too
            if arrays or message["number"]:
                self._channel.send(message["message"], arrays, message["number"])
            else:
                self._channel.send(message["message"])

    def close(self) -> None:
        """Close the socket: the caller notices that the probe has ended, or the probe that it is not needed."""
        with contextlib.suppress(OSError):
            self._channel.connection.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        """Wait until the socket is closed."""
        self._thread.join()


def _announce(message: Mapping[str, Any], arrays: Arrays, number: int) -> dict[str, Any]:
    layout = [[name, array.dtype.name, list(array.shape)] for name, array in arrays.items()]
    return {"message": message, "number": number, "arrays": layout}


def _arrays(layout: list[list[Any]], payload: bytearray) -> dict[str, Any]:
    """Return the arrays of a message without a copy."""
    import numpy as np

    arrays, offset = {}, 0
    for name, dtype, shape in layout:
        kind, count = numpy_dtype(dtype), math.prod(shape)
        arrays[name] = np.frombuffer(payload, kind, count, offset).reshape(shape) if count else np.empty(shape, kind)
        offset += count * kind.itemsize
    return arrays
