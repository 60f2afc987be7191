"""Streams, and the events that stand in them."""

from __future__ import annotations

from typing import Any

from pytest_trt.engine.backends.cuda.driver import call, check_status, runtime


class Event:
    """A mark in a stream. `timing` lets `ms_since` read it; `blocking` lets `synchronize` sleep instead of spin."""

    def __init__(self, *, timing: bool = True, blocking: bool = False) -> None:
        self.native: Any = None
        self.native = call("cudaEventCreateWithFlags", (0 if timing else 2) | (1 if blocking else 0))
        self._runtime = runtime()

    def record(self, stream: Stream) -> None:
        (status,) = self._runtime.cudaEventRecord(self.native, stream.native)
        if status:
            check_status(status, "cudaEventRecord")

    def synchronize(self) -> None:
        (status,) = self._runtime.cudaEventSynchronize(self.native)
        if status:
            check_status(status, "cudaEventSynchronize")

    def ms_since(self, start: Event) -> float:
        """Milliseconds between two events that have happened."""
        status, ms = self._runtime.cudaEventElapsedTime(start.native, self.native)
        if status:
            check_status(status, "cudaEventElapsedTime")
        return float(ms)

    def close(self) -> None:
        native, self.native = self.native, None
        if native is not None:
            runtime().cudaEventDestroy(native)


class Stream:
    """A queue of device work, independent of the default stream."""

    def __init__(self) -> None:
        self.native: Any = None
        self.native = call("cudaStreamCreateWithFlags", 1)
        self.handle = int(self.native)
        self._runtime = runtime()

    def wait(self, event: Event) -> None:
        """Let what follows wait for `event`; the host does not wait."""
        (status,) = self._runtime.cudaStreamWaitEvent(self.native, event.native, 0)
        if status:
            check_status(status, "cudaStreamWaitEvent")

    def copy(self, to: int, source: int, nbytes: int) -> None:
        """Copy between any two addresses (the kinds of memory are found by unified addressing)."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDefault
        (status,) = self._runtime.cudaMemcpyAsync(to, source, nbytes, kind, self.native)
        if status:
            check_status(status, f"cudaMemcpyAsync of {nbytes} bytes")

    def fill(self, address: int, nbytes: int, value: int = 0) -> None:
        (status,) = self._runtime.cudaMemsetAsync(address, value, nbytes, self.native)
        if status:
            check_status(status, f"cudaMemsetAsync of {nbytes} bytes")

    def synchronize(self) -> None:
        (status,) = self._runtime.cudaStreamSynchronize(self.native)
        if status:
            check_status(status, "cudaStreamSynchronize")

    def close(self) -> None:
        native, self.native = self.native, None
        if native is not None:
            runtime().cudaStreamDestroy(native)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
