"""CUDA, as far as a pipeline needs it: the only room that imports the CUDA bindings.

Everything that holds a resource has `close`, which may be called twice. An error is a BackendError with the call,
CUDA's name for the error and what that means.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.errors import BackendError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STICKY = frozenset((
    "cudaErrorIllegalAddress", "cudaErrorLaunchFailure", "cudaErrorLaunchTimeout", "cudaErrorHardwareStackError",
    "cudaErrorIllegalInstruction", "cudaErrorMisalignedAddress", "cudaErrorInvalidAddressSpace", "cudaErrorInvalidPc",
    "cudaErrorECCUncorrectable", "cudaErrorNvlinkUncorrectable", "cudaErrorAssert", "cudaErrorContained",
))  # fmt: skip
"""Errors after which every further call of the process fails (CUDA Runtime API, cudaError)."""


@functools.cache
def _runtime() -> Any:
    """The runtime's bindings: cuda-python from 12.3 on has them at either place."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        try:
            from cuda import cudart as runtime
        except ImportError as error:
            message = f"the CUDA bindings cannot be imported ({error}): pip install cuda-python"
            raise BackendError(message) from error
    return runtime


@functools.cache
def why_unusable() -> str | None:
    """Why there is no usable driver or GPU, or None where there is: cuInit is asked, which never crashes."""
    try:
        try:
            from cuda.bindings import driver
        except ImportError:
            from cuda import cuda as driver
    except ImportError as error:
        return f"the CUDA bindings cannot be imported ({error}): pip install cuda-python"
    try:
        (status,) = driver.cuInit(0)
    except RuntimeError as error:  # the library itself is absent
        return f"there is no NVIDIA driver ({str(error).splitlines()[0]}): install one, or run where one is"
    if status != 0:
        _, name = driver.cuGetErrorName(status)
        _, text = driver.cuGetErrorString(status)
        said = f"{(name or b'').decode() or status} ({(text or b'').decode()})"
        return f"the NVIDIA driver does not work: cuInit answered {said}: see what nvidia-smi says"
    return None


def require() -> None:
    """Raise BackendError, with the reason, where there is no usable driver."""
    if reason := why_unusable():
        raise BackendError(reason)


def check(status: Any, call: str) -> None:
    """Raise BackendError for any status but success."""
    if status:
        runtime = _runtime()
        name = runtime.cudaGetErrorName(status)[1].decode()
        text = runtime.cudaGetErrorString(status)[1].decode()
        lost = ": this process's CUDA context is lost with it" if name in _STICKY else ""
        raise BackendError(f"{call} failed: {name} ({text}){lost}")


def _call(name: str, *arguments: Any) -> Any:
    """What a runtime call returns beside its status: nothing, a value or a tuple."""
    status, *values = getattr(_runtime(), name)(*arguments)
    check(status, name)
    return values[0] if len(values) == 1 else tuple(values) if values else None


@dataclasses.dataclass(frozen=True)
class Device:
    """A GPU, or a MIG slice of one. `l2_bytes` is its level-2 cache."""

    ordinal: int
    name: str
    uuid: str
    compute_capability: tuple[int, int]
    memory_bytes: int
    l2_bytes: int
    mig_profile: str | None

    def activate(self) -> None:
        """Make this the calling thread's device, its context too."""
        _call("cudaSetDevice", self.ordinal)
        _call("cudaFree", 0)


def device(name: str) -> Device:
    """The device of that number or UUID (`GPU-...`, `MIG-...`, or its beginning). Raises BackendError where there is no
    driver or no such device, and names those that there are."""
    require()
    found = [_describe(ordinal) for ordinal in range(_call("cudaGetDeviceCount"))]
    for candidate in found:
        if name == str(candidate.ordinal) or (len(name) >= 8 and candidate.uuid.lower().startswith(name.lower())):
            return candidate
    listed = "; ".join(f"{d.ordinal}: {d.name}, {d.uuid}" for d in found) or "none (see CUDA_VISIBLE_DEVICES)"
    raise BackendError(f"there is no GPU {name!r}: the visible ones are {listed}")


def _describe(ordinal: int) -> Device:
    properties = _call("cudaGetDeviceProperties", ordinal)
    name = properties.name.split(b"\0")[0].decode()
    mig = re.search(r"\bMIG (\S+)", name)
    identity = uuid.UUID(bytes=bytes(properties.uuid.bytes)[:16])
    return Device(
        ordinal=ordinal,
        name=name,
        uuid=f"{'MIG' if mig else 'GPU'}-{identity}",
        compute_capability=(properties.major, properties.minor),
        memory_bytes=properties.totalGlobalMem,
        l2_bytes=properties.l2CacheSize,
        mig_profile=mig.group(1) if mig else None,
    )


def cuda_version() -> str:
    """The newest CUDA that the driver knows, such as "13.0"."""
    version = int(_call("cudaDriverGetVersion"))
    return f"{version // 1000}.{version % 1000 // 10}"


def driver_version() -> str | None:
    """The driver's own version, such as "580.65.06", from the kernel module or from the library's file name."""
    with contextlib.suppress(OSError):
        return Path("/sys/module/nvidia/version").read_text().strip()
    with contextlib.suppress(OSError):
        if found := re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", Path("/proc/driver/nvidia/version").read_text()):
            return found.group(1)
    with contextlib.suppress(OSError):
        if found := re.search(r"libcuda\.so\.(\d+\.\d+(?:\.\d+)?)$", Path("/proc/self/maps").read_text(), re.MULTILINE):
            return found.group(1)
    return None


def memory() -> tuple[int, int]:
    """Free and total bytes of the current device."""
    free, total = _call("cudaMemGetInfo")
    return int(free), int(total)


class Event:
    """A mark in a stream. `timing` lets `ms_since` read it; `blocking` lets `synchronize` sleep instead of spin."""

    def __init__(self, *, timing: bool = True, blocking: bool = False) -> None:
        self.native: Any = None
        self.native = _call("cudaEventCreateWithFlags", (0 if timing else 2) | (1 if blocking else 0))
        self._runtime = _runtime()

    def record(self, stream: Stream) -> None:
        (status,) = self._runtime.cudaEventRecord(self.native, stream.native)
        if status:
            check(status, "cudaEventRecord")

    def synchronize(self) -> None:
        (status,) = self._runtime.cudaEventSynchronize(self.native)
        if status:
            check(status, "cudaEventSynchronize")

    def ms_since(self, start: Event) -> float:
        """Milliseconds between two events that have happened."""
        status, ms = self._runtime.cudaEventElapsedTime(start.native, self.native)
        if status:
            check(status, "cudaEventElapsedTime")
        return float(ms)

    def close(self) -> None:
        native, self.native = self.native, None
        if native is not None:
            _runtime().cudaEventDestroy(native)


class Stream:
    """A queue of device work, independent of the default stream."""

    def __init__(self) -> None:
        self.native: Any = None
        self.native = _call("cudaStreamCreateWithFlags", 1)
        self.handle = int(self.native)
        self._runtime = _runtime()

    def wait(self, event: Event) -> None:
        """Let what follows wait for `event`; the host does not wait."""
        (status,) = self._runtime.cudaStreamWaitEvent(self.native, event.native, 0)
        if status:
            check(status, "cudaStreamWaitEvent")

    def copy(self, to: int, source: int, nbytes: int) -> None:
        """Copy between any two addresses (the kinds of memory are found by unified addressing)."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDefault
        (status,) = self._runtime.cudaMemcpyAsync(to, source, nbytes, kind, self.native)
        if status:
            check(status, f"cudaMemcpyAsync of {nbytes} bytes")

    def fill(self, address: int, nbytes: int, value: int = 0) -> None:
        (status,) = self._runtime.cudaMemsetAsync(address, value, nbytes, self.native)
        if status:
            check(status, f"cudaMemsetAsync of {nbytes} bytes")

    def synchronize(self) -> None:
        (status,) = self._runtime.cudaStreamSynchronize(self.native)
        if status:
            check(status, "cudaStreamSynchronize")

    def close(self) -> None:
        native, self.native = self.native, None
        if native is not None:
            _runtime().cudaStreamDestroy(native)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class DeviceBuffer:
    """Device memory. Raises BackendError that says what was asked and what was free."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes, self.address = nbytes, 0
        status, address = _runtime().cudaMalloc(max(nbytes, 1))
        if status:
            free, total = memory()
            asked = f"{nbytes / 1e6:.1f} MB of device memory (free: {free / 1e6:.1f} of {total / 1e6:.1f} MB)"
            check(status, f"allocating {asked}")
        self.address = int(address)

    def close(self) -> None:
        address, self.address = self.address, 0
        if address:
            _runtime().cudaFree(address)


class PinnedBuffer:
    """Page-locked host memory; `array` sees it as bytes, shape (nbytes,)."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes, self.address = nbytes, 0
        status, address = _runtime().cudaHostAlloc(max(nbytes, 1), 1)
        check(status, f"allocating {nbytes / 1e6:.1f} MB of page-locked host memory")
        self.address = int(address)
        self.array = bytes_at(self.address, nbytes)

    def close(self) -> None:
        address, self.address = self.address, 0
        if address:
            _runtime().cudaFreeHost(address)


def bytes_at(address: int, nbytes: int) -> NDArray[np.uint8]:
    """Host memory as an array of bytes, without a copy; whoever owns the memory must outlive it."""
    import ctypes

    import numpy as np

    return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))


class Graph:
    """Work that was captured from a stream once and is launched as one."""

    def __init__(self, stream: Stream, work: Callable[[], None]) -> None:
        """Capture what `work` puts into `stream`, in thread-local mode. `nodes` says how many nodes that was: none
        where the work went elsewhere. Raises BackendError where it cannot be captured; what `work` raises goes
        through."""
        self._graph: Any = None
        self.executable: Any = None
        runtime = self._runtime = _runtime()
        try:
            self._capture(stream, work)
            self.nodes = int(_call("cudaGraphGetNodes", self._graph, 0)[-1])
            if self.nodes:
                self.executable = _call("cudaGraphInstantiate", self._graph, 0)
                check(runtime.cudaGraphUpload(self.executable, stream.native)[0], "cudaGraphUpload")
        except BaseException:
            self.close()
            raise

    def _capture(self, stream: Stream, work: Callable[[], None]) -> None:
        runtime = self._runtime
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        _call("cudaStreamBeginCapture", stream.native, mode)
        try:
            work()
        finally:
            status, self._graph = runtime.cudaStreamEndCapture(stream.native)
            runtime.cudaGetLastError()  # a failed capture leaves its error behind for the next call
        check(status, "cudaStreamEndCapture")

    def launch(self, stream: Stream) -> None:
        (status,) = self._runtime.cudaGraphLaunch(self.executable, stream.native)
        if status:
            check(status, "cudaGraphLaunch")

    def close(self) -> None:
        executable, self.executable = self.executable, None
        graph, self._graph = self._graph, None
        if executable is not None:
            _runtime().cudaGraphExecDestroy(executable)
        if graph is not None and int(graph):
            _runtime().cudaGraphDestroy(graph)


class Commands:
    """Device work, put together once and given again and again: in between stands no Python but one loop."""

    def __init__(self) -> None:
        self._calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self._runtime = _runtime()

    def wait(self, stream: Stream, event: Event) -> None:
        self._calls.append((self._runtime.cudaStreamWaitEvent, (stream.native, event.native, 0)))

    def record(self, event: Event, stream: Stream) -> None:
        self._calls.append((self._runtime.cudaEventRecord, (event.native, stream.native)))

    def copy(self, stream: Stream, to: int, source: int, nbytes: int) -> None:
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDefault
        self._calls.append((self._runtime.cudaMemcpyAsync, (to, source, nbytes, kind, stream.native)))

    def launch(self, graph: Graph, stream: Stream) -> None:
        self._calls.append((self._runtime.cudaGraphLaunch, (graph.executable, stream.native)))

    def extend(self, others: Commands) -> None:
        self._calls.extend(others._calls)

    def call(self, work: Callable[[], None]) -> None:
        """Anything else that puts work into a stream."""
        success = (self._runtime.cudaError_t.cudaSuccess,)

        def done() -> tuple[Any]:
            work()
            return success

        self._calls.append((done, ()))

    def run(self) -> None:
        """Give all of it. Raises BackendError at the first call that fails."""
        for function, arguments in self._calls:
            (status,) = function(*arguments)
            if status:
                check(status, function.__name__)
