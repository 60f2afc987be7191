"""Count the device memory that a backend allocates."""

from __future__ import annotations

import threading

from pytest_trt.engine.backends.cuda.buffers import DeviceBuffer
from pytest_trt.errors import BackendError


class AllocationTracker:
    """Allocates device memory and counts it.

    Attributes:
        current_bytes: The bytes that are allocated now.
        peak_bytes: The most bytes that were allocated at a time.
    """

    def __init__(self) -> None:
        self._buffers: dict[int, DeviceBuffer] = {}
        self._lock = threading.Lock()
        self.current_bytes = self.peak_bytes = 0

    def allocate(self, nbytes: int) -> int:
        """Allocate memory and return its address; 0 if there is not enough, or if `nbytes` is 0."""
        if nbytes == 0:
            return 0
        try:
            buffer = DeviceBuffer(nbytes)
        except BackendError:  # The backend reports the failed allocation itself.
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
