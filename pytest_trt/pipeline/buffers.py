"""Buffer sets: the memory of an engine's inputs and outputs on the host and on the device.

A buffer set is allocated once and reused. All inputs lie in one allocation and are copied at once; so are the outputs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.dlpack import DeviceArray
from pytest_trt.engine.tensors import Tensor, numpy_dtype
from pytest_trt.pipeline.copying import Copier
from pytest_trt.pipeline.formats import LINEAR, pack, storage_shape, unpack
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_trt.engine.tensors import Arrays

Copy = tuple[int, int, int]
"""The destination address, the source address and the number of bytes."""

ALIGNMENT = 512
"""The alignment of each tensor in bytes: TensorRT requires it of an output allocator, and cudaMalloc provides it."""


@dataclasses.dataclass(frozen=True)
class Region:
    """Where a tensor lies in an allocation.

    Attributes:
        tensor: The tensor, whose shape may contain -1 if it depends on the data.
        offset: The tensor's first byte in the allocation.
        nbytes: The bytes reserved for the tensor.
    """

    tensor: Tensor
    offset: int
    nbytes: int

    def nbytes_at(self, shape: Shape) -> int:
        """Return the bytes that the tensor takes at `shape`."""
        return _tensor_bytes(self.tensor, shape)

    def view(self, memory: NDArray[np.uint8], shape: Shape | None = None) -> NDArray[Any]:
        """Return the tensor's part of `memory` as an array, without a copy, laid out in the tensor's format.

        Args:
            memory: The bytes of the allocation.
            shape: The tensor's shape if it depends on the data; by default the tensor's own.
        """
        shape = self.tensor.shape if shape is None else shape
        part = memory[self.offset : self.offset + self.nbytes_at(shape)]
        return part.view(numpy_dtype(self.tensor.dtype)).reshape(storage_shape(shape, self.tensor.format))

    def copy(self, memory: NDArray[np.uint8], shape: Shape | None = None) -> NDArray[Any]:
        """Return a copy of the tensor in `memory` as a linear array; see `view` for the arguments."""
        shape = self.tensor.shape if shape is None else shape
        return unpack(self.view(memory, shape), shape, self.tensor.format)


def _tensor_bytes(tensor: Tensor, shape: Shape) -> int:
    return math.prod(storage_shape(shape, tensor.format)) * numpy_dtype(tensor.dtype).itemsize


class Layout:
    """How the inputs or the outputs of an engine lie in one allocation.

    First come the tensors that are copied at once, then those whose shape depends on the data, then those that only
    the host reads or writes.

    Args:
        tensors: The inputs or the outputs.
        max_bytes: The bytes to reserve for each tensor whose shape depends on the data, by name.

    Attributes:
        regions: The region of each tensor by name.
        single_copy_bytes: The bytes of the tensors that are copied at once.
        data_dependent: The regions of the tensors whose shape depends on the data.
        nbytes: The size of the allocation in bytes.
    """

    def __init__(self, tensors: Iterable[Tensor], max_bytes: Mapping[str, int] | None = None) -> None:
        bounds = max_bytes or {}
        regions: dict[str, Region] = {}
        offset = self.single_copy_bytes = 0
        for tensor in sorted(tensors, key=lambda t: (t.on_host, t.name in bounds)):
            size = bounds[tensor.name] if tensor.name in bounds else _tensor_bytes(tensor, tensor.shape)
            region = regions[tensor.name] = Region(tensor, offset, size)
            if not tensor.on_host and tensor.name not in bounds:
                self.single_copy_bytes = offset + region.nbytes
            offset += -(-max(region.nbytes, 1) // ALIGNMENT) * ALIGNMENT
        self.regions: Mapping[str, Region] = regions
        self.data_dependent = tuple(regions[name] for name in regions if name in bounds)
        self.nbytes = offset

    @property
    def linear(self) -> bool:
        """Whether every tensor is in linear format, as a caller's arrays are."""
        return all(region.tensor.format == LINEAR for region in self.regions.values())


class PageableBuffer:
    """Ordinary host memory. The driver stages a copy from it, which blocks the host.

    Attributes:
        nbytes: The size in bytes.
        array: The memory as bytes, shape (nbytes,).
        address: The address of the first byte.
    """

    def __init__(self, nbytes: int) -> None:
        import numpy as np

        self.nbytes = nbytes
        self.array: NDArray[np.uint8] = np.zeros(max(nbytes, 1), np.uint8)
        self.address = int(self.array.ctypes.data)

    def close(self) -> None:
        """Forget the address; the memory is freed with the array."""
        self.address = 0


class BufferSet:
    """The inputs and outputs of one inference, on the host and on the device, and the events that mark its progress.

    Args:
        inputs: The layout of the inputs.
        outputs: The layout of the outputs.
        pinned: Whether host memory is page-locked.
        blocking: Whether the host sleeps instead of spinning while it waits for an inference.

    Attributes:
        arrays: The inputs in host memory by name; they start as zeros.
        inputs_arrived: Recorded when the inputs are on the device.
        inputs_read: Recorded when the inputs may be overwritten.
        computed: Recorded when the engine has run.
        outputs_arrived: Recorded when the outputs are on the host.
    """

    def __init__(self, inputs: Layout, outputs: Layout, *, pinned: bool, blocking: bool) -> None:
        self.inputs, self.outputs = inputs, outputs
        self._parts: list[Any] = []
        try:
            host = cuda.PinnedBuffer if pinned else PageableBuffer
            self.host_in, self.host_out = (self._keep(host(part.nbytes)) for part in (inputs, outputs))
            self.device_in, self.device_out = (self._keep(cuda.DeviceBuffer(p.nbytes)) for p in (inputs, outputs))
            self.inputs_arrived, self.inputs_read = (self._keep(cuda.Event(timing=False)) for _ in range(2))
            self.computed, self.outputs_arrived = (
                self._keep(cuda.Event(timing=False, blocking=blocking)) for _ in range(2)
            )
        except BaseException:
            self.close()
            raise
        self.host_in.array[...] = 0
        self.arrays = {name: region.view(self.host_in.array) for name, region in inputs.regions.items()}

    def _keep(self, part: Any) -> Any:
        self._parts.append(part)
        return part

    @property
    def device_bytes(self) -> int:
        """The device memory of the inputs and outputs."""
        return self.inputs.nbytes + self.outputs.nbytes

    def addresses(self) -> Iterator[tuple[str, int]]:
        """Yield each tensor's name and the address that the engine uses: on the host for tensors with `on_host`."""
        for layout, host, device in (
            (self.inputs, self.host_in, self.device_in), (self.outputs, self.host_out, self.device_out),
        ):  # fmt: skip
            for name, region in layout.regions.items():
                yield name, (host if region.tensor.on_host else device).address + region.offset

    def write_inputs(self, arrays: Arrays, copier: Copier) -> None:
        """Copy a caller's arrays into host memory, in the format of each input."""
        for name, view in self.arrays.items():
            tensor_format = self.inputs.regions[name].tensor.format
            if tensor_format == LINEAR:
                copier.copy(view, arrays[name])
            else:
                pack(view, arrays[name], tensor_format)

    def input_copies_from(self, arrays: Arrays) -> Iterator[Copy]:
        """Yield the copies from a caller's arrays to the device; arrays that only the host reads are left out."""
        for name, region in self.inputs.regions.items():
            if not region.tensor.on_host and (array := arrays[name]).nbytes:
                source = array.address if isinstance(array, DeviceArray) else int(array.ctypes.data)
                yield self.device_in.address + region.offset, source, array.nbytes

    def output_copies_to(self, arrays: Arrays) -> Iterator[Copy]:
        """Yield the copies from the device to a caller's arrays; arrays that only the host writes are left out."""
        for name, array in arrays.items():
            region = self.outputs.regions[name]
            if not region.tensor.on_host and array.nbytes:
                yield int(array.ctypes.data), self.device_out.address + region.offset, array.nbytes

    def output_copies(self, shapes: Mapping[str, Shape]) -> Iterator[Copy]:
        """Yield the copies of the outputs from the device to host memory.

        Args:
            shapes: The shapes of the outputs whose shape depends on the data, by name.
        """
        to, source = self.host_out.address, self.device_out.address
        if self.outputs.single_copy_bytes:
            yield to, source, self.outputs.single_copy_bytes
        for region in self.outputs.data_dependent:
            if nbytes := region.nbytes_at(shapes.get(region.tensor.name, (0,))):
                yield to + region.offset, source + region.offset, nbytes

    def read_outputs(self, shapes: Mapping[str, Shape]) -> dict[str, NDArray[Any]]:
        """Return copies of the outputs in host memory; see `output_copies` for `shapes`."""
        return {
            name: region.copy(self.host_out.array, shapes.get(name)) for name, region in self.outputs.regions.items()
        }

    def close(self) -> None:
        """Free the memory and the events."""
        self.arrays = {}
        while self._parts:
            self._parts.pop().close()
