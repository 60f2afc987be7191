"""Count the device memory that TensorRT allocates."""

from __future__ import annotations

import threading
from typing import Any

from pytest_trt.engine.backends import cuda
from pytest_trt.errors import BackendError


class AllocationTracker:
    """Allocates device memory and counts it.

    Attributes:
        current_bytes: The bytes that are allocated now.
        peak_bytes: The most bytes that were allocated at a time.
    """

    def __init__(self) -> None:
        self._buffers: dict[int, cuda.DeviceBuffer] = {}
        self._lock = threading.Lock()
        self.current_bytes = self.peak_bytes = 0

    def allocate(self, nbytes: int) -> int:
        """Allocate memory and return its address; 0 if there is not enough, or if `nbytes` is 0."""
        if nbytes == 0:
            return 0
        try:
            buffer = cuda.DeviceBuffer(nbytes)
        except BackendError:  # TensorRT reports the failed allocation itself.
            return 0
        with self._lock:
            self._buffers[buffer.address] = buffer
            self.current_bytes += nbytes
            self.peak_bytes = max(self.peak_bytes, self.current_bytes)
        return buffer.address

    def free(self, address: int) -> bool:
        """Free the memory at an address; return whether the address was allocated here, or 0."""
        with self._lock:
            buffer = self._buffers.pop(address, None)
            if buffer is None:
                return address == 0
            self.current_bytes -= buffer.nbytes
        buffer.close()
        return True

    def close(self) -> None:
        """Free everything that is still allocated."""
        for address in list(self._buffers):
            self.free(address)


def counting_allocator(trt: Any, tracker: AllocationTracker) -> Any:
    """Return an IGpuAllocator that allocates through `tracker`.

    It defines every method that any supported version calls; the bindings of each version look them up by name.
    """

    class Allocator(trt.IGpuAllocator):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IGpuAllocator.__init__(self)

        def allocate(self, size: int, _alignment: int, _flags: int) -> int | None:
            return tracker.allocate(size) or None

        def allocate_async(self, size: int, _alignment: int, _flags: int, _stream: int) -> int | None:
            return tracker.allocate(size) or None

        def reallocate(self, _address: int, _alignment: int, _size: int) -> None:
            return None  # Memory cannot be resized in place: TensorRT allocates new memory and copies.

        def deallocate(self, address: int) -> bool:
            return tracker.free(int(address or 0))

        def deallocate_async(self, address: int, _stream: int) -> bool:
            return tracker.free(int(address or 0))

        def free(self, address: int) -> None:
            tracker.free(int(address or 0))

    return Allocator()
