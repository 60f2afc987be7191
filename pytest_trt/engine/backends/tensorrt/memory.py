"""Device memory as TensorRT takes it: an allocator that counts."""

from __future__ import annotations

import threading
from typing import Any

from pytest_trt.engine.backends import cuda
from pytest_trt.errors import BackendError


class Ledger:
    """What is allocated now, and the most there was at a time, in bytes."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._buffers: dict[int, cuda.DeviceBuffer] = {}
        self._lock = threading.Lock()
        self.now = self.peak = 0

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
            self.now += nbytes
            self.peak = max(self.peak, self.now)
        return buffer.address

    def free(self, address: int) -> bool:
        with self._lock:
            buffer = self._buffers.pop(address, None)
            if buffer is None:
                return address == 0
            self.now -= buffer.nbytes
        buffer.close()
        return True

    def close(self) -> None:
        for address in list(self._buffers):
            self.free(address)


def counting_allocator(trt: Any, ledger: Ledger) -> Any:
    """An IGpuAllocator over `ledger`. Every method that any version calls is there, or the bindings do not find it."""

    class Allocator(trt.IGpuAllocator):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IGpuAllocator.__init__(self)

        def allocate(self, size: int, _alignment: int, _flags: int) -> int | None:
            return ledger.allocate(size) or None

        def allocate_async(self, size: int, _alignment: int, _flags: int, _stream: int) -> int | None:
            return ledger.allocate(size) or None

        def reallocate(self, _address: int, _alignment: int, _size: int) -> None:
            return None  # not in place: TensorRT allocates anew and copies

        def deallocate(self, address: int) -> bool:
            return ledger.free(int(address or 0))

        def deallocate_async(self, address: int, _stream: int) -> bool:
            return ledger.free(int(address or 0))

        def free(self, address: int) -> None:
            ledger.free(int(address or 0))

    return Allocator()
