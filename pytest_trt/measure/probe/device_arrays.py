"""Send arrays in device memory to a probe on the same GPU: a handle of their memory, rather than a copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.dlpack import DeviceArray
from pytest_trt.engine.tensors import numpy_dtype

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays


def encode(arrays: Arrays) -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays in host memory, and a JSON value for each of those on a GPU, whose data is then computed.

    Raises:
        InputError: Device memory cannot be shared with another process. The message names the input.
    """
    found = {name: array for name, array in arrays.items() if isinstance(array, DeviceArray)}
    if not found:
        return arrays, {}
    for ordinal in {array.ordinal for array in found.values()}:
        cuda.synchronize_default_stream(ordinal)
    encoded = {}
    for name, array in found.items():
        handle, offset = cuda.export_memory(name, array.address) if array.nbytes else (b"", 0)
        encoded[name] = {
            "handle": handle.hex(),
            "offset": offset,
            "dtype": array.dtype.name,
            "shape": list(array.shape),
        }
    return {name: array for name, array in arrays.items() if name not in found}, encoded


class ImportedArrays:
    """Arrays of another process, as this one sees them. The memory of each allocation is mapped once, until `close`."""

    def __init__(self) -> None:
        self._memory: dict[str, cuda.ImportedMemory] = {}

    def decode(self, encoded: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Return the arrays (DeviceArray) that `encode` wrote.

        Raises:
            InputError: The memory cannot be mapped.
        """
        arrays = {}
        for name, one in encoded.items():
            handle, address = one["handle"], 0
            if handle:
                if handle not in self._memory:
                    self._memory[handle] = cuda.ImportedMemory(bytes.fromhex(handle))
                address = self._memory[handle].address + one["offset"]
            arrays[name] = DeviceArray(address, numpy_dtype(one["dtype"]), tuple(one["shape"]))
        return arrays

    def close(self) -> None:
        """Unmap the memory."""
        while self._memory:
            self._memory.popitem()[1].close()
