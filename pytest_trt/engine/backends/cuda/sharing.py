"""Share device memory between processes (CUDA IPC)."""

from __future__ import annotations

from typing import Any

from pytest_trt.engine.backends.cuda.driver import call, check_status, driver, runtime
from pytest_trt.errors import InputError

_LAZY_PEER_ACCESS = 1
"""cudaIpcMemLazyEnablePeerAccess, the only flag."""


def synchronize_default_stream(ordinal: int) -> None:
    """Wait for the default stream of a device, and leave the thread's current device as it is."""
    current = call("cudaGetDevice")
    call("cudaSetDevice", ordinal)
    try:
        call("cudaStreamSynchronize", 0)
    finally:
        call("cudaSetDevice", current)


def export_memory(name: str, address: int) -> tuple[bytes, int]:
    """Return a handle of the allocation that an address lies in, for `ImportedMemory`, and the address's offset in it.

    Args:
        name: The input that lies there, for the error.
        address: An address in device memory of this process.

    Raises:
        InputError: The memory cannot be shared with another process.
    """
    failed, base, _size = driver().cuMemGetAddressRange(address)
    handle: Any = None
    if not failed:
        failed, handle = runtime().cudaIpcGetMemHandle(int(base))
    if failed:
        raise InputError(
            f"input {name!r} is in device memory that cannot be shared with another process: allocate it with "
            "cudaMalloc (in PyTorch, without expandable_segments; in CuPy, without a pool of cudaMallocAsync), or copy "
            "it to the host"
        )
    return bytes(handle.reserved), address - int(base)


class ImportedMemory:
    """An allocation of another process, mapped into this one until `close`.

    Args:
        handle: The handle that `export_memory` returned there.

    Attributes:
        address: The address of the allocation in this process.

    Raises:
        InputError: The memory cannot be mapped, for example because it is on another GPU.
    """

    def __init__(self, handle: bytes) -> None:
        self.address = 0
        native: Any = runtime().cudaIpcMemHandle_t()
        native.reserved = handle
        status, address = runtime().cudaIpcOpenMemHandle(native, _LAZY_PEER_ACCESS)
        if status:
            try:
                check_status(status, "mapping device memory of another process")
            except Exception as error:
                raise InputError(f"{error}: is it on the GPU that runs the engine? Otherwise copy it there") from error
        self.address = int(address)

    def close(self) -> None:
        """Unmap the memory; its owner frees it."""
        address, self.address = self.address, 0
        if address:
            runtime().cudaIpcCloseMemHandle(address)
