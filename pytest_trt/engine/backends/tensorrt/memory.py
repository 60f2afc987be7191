"""Device memory as TensorRT takes it: an allocator that counts."""

from __future__ import annotations

import threading
from typing import Any

from pytest_trt.engine.backends import cuda
from pytest_trt.errors import BackendError


class AllocationTracker:
    """What is allocated now, and the most there was at a time, in bytes."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._buffers: dict[int, cuda.DeviceBuffer] = {}
        self._lock = threading.Lock()
        self.current_bytes = self.peak_bytes = 0

    def allocate(self, nbytes: int) -> int:
        """The address of so many new bytes; 0, which TensorRT understands, where there are none."""
        if nbytes == 0:
            return 0
        try:
            buffer = cuda.DeviceBuffer(nbytes)
        except BackendError:  # TensorRT says what it could not have, and why
            return 0
        with self._lock:
            self._buffers[buffer.address] = buffer
            self.current_bytes += nbytes
            self.peak_bytes = max(self.peak_bytes, self.current_bytes)
        return buffer.address

    def free(self, address: int) -> bool:
        with self._lock:
            buffer = self._buffers.pop(address, None)
            if buffer is None:
                return address == 0
            self.current_bytes -= buffer.nbytes
        buffer.close()
        return True

    def close(self) -> None:
        for address in list(self._buffers):
            self.free(address)


def counting_allocator(trt: Any, tracker: AllocationTracker) -> Any:
    """An IGpuAllocator over `tracker`. Every method that any version calls is there, or the bindings do not find it."""

    class Allocator(trt.IGpuAllocator):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IGpuAllocator.__init__(self)

        def allocate(self, size: int, _alignment: int, _flags: int) -> int | None:
            return tracker.allocate(size) or None

        def allocate_async(self, size: int, _alignment: int, _flags: int, _stream: int) -> int | None:
            return tracker.allocate(size) or None

        def reallocate(self, _address: int, _alignment: int, _size: int) -> None:
            return None  # not in place: TensorRT allocates anew and copies

        def deallocate(self, address: int) -> bool:
            return tracker.free(int(address or 0))

        def deallocate_async(self, address: int, _stream: int) -> bool:
            return tracker.free(int(address or 0))

        def free(self, address: int) -> None:
            tracker.free(int(address or 0))

    return Allocator()
