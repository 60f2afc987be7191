"""Streams, and the events that are recorded in them."""

from __future__ import annotations

from typing import Any

from pytest_trt.engine.backends.cuda.driver import call, check_status, runtime

_EVENT_BLOCKING_SYNC, _EVENT_DISABLE_TIMING, _STREAM_NON_BLOCKING = 1, 2, 1
"""Flags of the CUDA runtime (driver_types.h)."""


class Event:
    """A CUDA event.

    Args:
        timing: Whether `ms_since` can read the event.
        blocking: Whether `synchronize` sleeps instead of spinning.

    Attributes:
        native: The runtime's event; None after `close`.
    """

    def __init__(self, *, timing: bool = True, blocking: bool = False) -> None:
        self.native: Any = None
        flags = (0 if timing else _EVENT_DISABLE_TIMING) | (_EVENT_BLOCKING_SYNC if blocking else 0)
        self.native = call("cudaEventCreateWithFlags", flags)
        self._runtime = runtime()

    def record(self, stream: Stream) -> None:
        """Record the event in a stream: it happens when the stream reaches it."""
        (status,) = self._runtime.cudaEventRecord(self.native, stream.native)
        if status:
            check_status(status, "cudaEventRecord")

    def synchronize(self) -> None:
        """Wait until the event has happened."""
        (status,) = self._runtime.cudaEventSynchronize(self.native)
        if status:
            check_status(status, "cudaEventSynchronize")

    def ms_since(self, start: Event) -> float:
        """Return the time between `start` and this event in ms; both must have happened."""
        status, ms = self._runtime.cudaEventElapsedTime(start.native, self.native)
        if status:
            check_status(status, "cudaEventElapsedTime")
        return float(ms)

    def close(self) -> None:
        """Destroy the event."""
        native, self.native = self.native, None
        if native is not None:
            runtime().cudaEventDestroy(native)


class Stream:
    """A CUDA stream, independent of the default stream.

    Attributes:
        native: The runtime's stream; None after `close`.
        handle: The stream as an integer, as TensorRT's bindings take it.
    """

    def __init__(self) -> None:
        self.native: Any = None
        self.native = call("cudaStreamCreateWithFlags", _STREAM_NON_BLOCKING)
        self.handle = int(self.native)
        self._runtime = runtime()

    def wait(self, event: Event) -> None:
        """Make later work in this stream wait for `event`; the host does not wait."""
        (status,) = self._runtime.cudaStreamWaitEvent(self.native, event.native, 0)
        if status:
            check_status(status, "cudaStreamWaitEvent")

    def copy(self, to: int, source: int, nbytes: int) -> None:
        """Enqueue a copy between any two addresses; unified addressing distinguishes host and device memory."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDefault
        (status,) = self._runtime.cudaMemcpyAsync(to, source, nbytes, kind, self.native)
        if status:
            check_status(status, f"cudaMemcpyAsync of {nbytes} bytes")

    def fill(self, address: int, nbytes: int, value: int = 0) -> None:
        """Enqueue setting each byte of device memory to `value`."""
        (status,) = self._runtime.cudaMemsetAsync(address, value, nbytes, self.native)
        if status:
            check_status(status, f"cudaMemsetAsync of {nbytes} bytes")

    @property
    def is_capturing(self) -> bool:
        """Whether work in the stream is being captured, even if the capture has failed."""
        status = call("cudaStreamIsCapturing", self.native)
        return bool(status != self._runtime.cudaStreamCaptureStatus.cudaStreamCaptureStatusNone)

    def synchronize(self) -> None:
        """Wait until the stream is idle."""
        (status,) = self._runtime.cudaStreamSynchronize(self.native)
        if status:
            check_status(status, "cudaStreamSynchronize")

    def close(self) -> None:
        """Destroy the stream."""
        native, self.native = self.native, None
        if native is not None:
            runtime().cudaStreamDestroy(native)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
