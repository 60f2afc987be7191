"""Memory on the device, and page-locked memory on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_trt.engine.backends.cuda.driver import check_status, memory_info, runtime

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


_PORTABLE = 1
"""cudaHostAllocPortable and cudaHostRegisterPortable: the memory is page-locked for every CUDA context."""


class DeviceBuffer:
    """Device memory.

    Attributes:
        nbytes: The size in bytes.
        address: The address on the device; 0 after `close`.

    Raises:
        BackendError: The memory cannot be allocated; the error states the requested and the free memory.
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes, self.address = nbytes, 0
        status, address = runtime().cudaMalloc(max(nbytes, 1))
        if status:
            free, total = memory_info()
            requested = f"{nbytes / 1e6:.1f} MB of device memory (free: {free / 1e6:.1f} of {total / 1e6:.1f} MB)"
            check_status(status, f"allocating {requested}")
        self.address = int(address)

    def close(self) -> None:
        """Free the memory."""
        address, self.address = self.address, 0
        if address:
            runtime().cudaFree(address)


class PinnedBuffer:
    """Page-locked host memory.

    Attributes:
        nbytes: The size in bytes.
        address: The address of the first byte; 0 after `close`.
        array: The memory as bytes, shape (nbytes,). It must not be used after `close`.

    Raises:
        BackendError: The memory cannot be allocated.
    """

    def __init__(self, nbytes: int) -> None:
        self.nbytes, self.address = nbytes, 0
        status, address = runtime().cudaHostAlloc(max(nbytes, 1), _PORTABLE)
        check_status(status, f"allocating {nbytes / 1e6:.1f} MB of page-locked host memory")
        self.address = int(address)
        self.array = bytes_at(self.address, nbytes)

    def close(self) -> None:
        """Free the memory."""
        address, self.address = self.address, 0
        if address:
            runtime().cudaFreeHost(address)


class RegisteredMemory:
    """Existing host memory, such as shared memory, that is page-locked until `close`.

    The owner of the memory must keep it mapped until then.

    Args:
        address: The address of the first byte.
        nbytes: The size in bytes.

    Raises:
        BackendError: The memory cannot be page-locked.
    """

    def __init__(self, address: int, nbytes: int) -> None:
        self.address = 0
        (status,) = runtime().cudaHostRegister(address, nbytes, _PORTABLE)
        check_status(status, f"page-locking {nbytes / 1e6:.1f} MB of shared memory (pinned=False avoids this)")
        self.address = address

    def close(self) -> None:
        """Unlock the memory; its owner frees it."""
        address, self.address = self.address, 0
        if address:
            runtime().cudaHostUnregister(address)


def bytes_at(address: int, nbytes: int) -> NDArray[np.uint8]:
    """Return host memory as an array of bytes, shape (nbytes,), without a copy. The memory must outlive the array."""
    import ctypes

    import numpy as np

    return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
