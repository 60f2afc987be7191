"""Memory that is allocated: on the device, and page-locked on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_trt.engine.backends.cuda.driver import check_status, memory_info, runtime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class DeviceBuffer:
    """Device memory. Raises BackendError that says what was asked and what was free."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes, self.address = nbytes, 0
        status, address = runtime().cudaMalloc(max(nbytes, 1))
        if status:
            free, total = memory_info()
            asked = f"{nbytes / 1e6:.1f} MB of device memory (free: {free / 1e6:.1f} of {total / 1e6:.1f} MB)"
            check_status(status, f"allocating {asked}")
        self.address = int(address)

    def close(self) -> None:
        address, self.address = self.address, 0
        if address:
            runtime().cudaFree(address)


class PinnedBuffer:
    """Page-locked host memory; `array` sees it as bytes, shape (nbytes,)."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes, self.address = nbytes, 0
        status, address = runtime().cudaHostAlloc(max(nbytes, 1), 1)
        check_status(status, f"allocating {nbytes / 1e6:.1f} MB of page-locked host memory")
        self.address = int(address)
        self.array = bytes_at(self.address, nbytes)

    def close(self) -> None:
        address, self.address = self.address, 0
        if address:
            runtime().cudaFreeHost(address)


class RegisteredMemory:
    """Host memory of somebody else (shared, say), page-locked until `close`. The owner keeps it mapped until then."""

    def __init__(self, address: int, nbytes: int) -> None:
        self.address = 0
        (status,) = runtime().cudaHostRegister(address, nbytes, 1)
        check_status(status, f"page-locking {nbytes / 1e6:.1f} MB of shared memory (pinned=False does without)")
        self.address = address

    def close(self) -> None:
        address, self.address = self.address, 0
        if address:
            runtime().cudaHostUnregister(address)


def bytes_at(address: int, nbytes: int) -> NDArray[np.uint8]:
    """Host memory as an array of bytes, without a copy; whoever owns the memory must outlive it."""
    import ctypes

    import numpy as np

    return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
