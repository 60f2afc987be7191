"""Buffer sets: an engine's inputs and outputs, on the host and on the device, allocated once and reused.

All inputs lie in one allocation and travel in one copy; so do the outputs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.tensors import Tensor, numpy_dtype
from pytest_trt.pipeline.copying import Copier
from pytest_trt.pipeline.formats import LINEAR, pack, storage_shape, unpack
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_trt.engine.tensors import Arrays

Copy = tuple[int, int, int]
"""To where, from where, and how many bytes."""

ALIGNMENT = 512
"""What TensorRT asks of the address of an output that it has allocated, and what cudaMalloc gives."""


@dataclasses.dataclass(frozen=True)
class Region:
    """Where a tensor lies in an allocation, and the bytes kept for it."""

    tensor: Tensor
    offset: int
    nbytes: int

    def length(self, shape: Shape) -> int:
        """The bytes that it takes in `shape`."""
        return _bytes(self.tensor, shape)

    def view(self, memory: NDArray[np.uint8], shape: Shape | None = None) -> NDArray[Any]:
        """The tensor in that memory, without a copy, as its format has it; in `shape` where its own is not the whole
        truth."""
        wanted = self.tensor.shape if shape is None else shape
        part = memory[self.offset : self.offset + self.length(wanted)]
        return part.view(numpy_dtype(self.tensor.dtype)).reshape(storage_shape(wanted, self.tensor.format))

    def copy(self, memory: NDArray[np.uint8], shape: Shape | None = None) -> NDArray[Any]:
        """The tensor in that memory as an array of its own, linear."""
        wanted = self.tensor.shape if shape is None else shape
        return unpack(self.view(memory, wanted), wanted, self.tensor.format)


def _bytes(tensor: Tensor, shape: Shape) -> int:
    return math.prod(storage_shape(shape, tensor.format)) * numpy_dtype(tensor.dtype).itemsize


class Layout:
    """Tensors one after another: those that travel in one copy (`together`, in bytes), then those whose size is
    `unknown` before they are computed (`most` gives the bytes to keep), then those that only the host has."""

    def __init__(self, tensors: Iterable[Tensor], max_bytes: Mapping[str, int] | None = None) -> None:
        bounds = max_bytes or {}
        regions: dict[str, Region] = {}
        offset = self.single_copy_bytes = 0
        for tensor in sorted(tensors, key=lambda t: (t.on_host, t.name in bounds)):
            size = bounds[tensor.name] if tensor.name in bounds else _bytes(tensor, tensor.shape)
            region = regions[tensor.name] = Region(tensor, offset, size)
            if not tensor.on_host and tensor.name not in bounds:
                self.single_copy_bytes = offset + region.nbytes
            offset += -(-max(region.nbytes, 1) // ALIGNMENT) * ALIGNMENT
        self.regions: Mapping[str, Region] = regions
        self.data_dependent = tuple(regions[name] for name in regions if name in bounds)
        self.nbytes = offset

    @property
    def linear(self) -> bool:
        """Whether all of them lie as a caller's arrays do."""
        return all(region.tensor.format == LINEAR for region in self.regions.values())


class PageableBuffer:
    """Ordinary host memory: a copy from it is staged by the driver, which holds up the host."""

    def __init__(self, nbytes: int) -> None:
        import numpy as np

        self.nbytes = nbytes
        self.array: NDArray[np.uint8] = np.zeros(max(nbytes, 1), np.uint8)
        self.address = int(self.array.ctypes.data)

    def close(self) -> None:
        self.address = 0


class BufferSet:
    """One inference's worth: inputs and outputs on both sides, and the events that say how far it is.

    `read`: its inputs may be overwritten; `entered`: they have arrived; `computed`; `left`: its outputs are on the
    host.
    `arrays` are the inputs on the host's side, by name. Device memory begins as zeros.
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
        return self.inputs.nbytes + self.outputs.nbytes

    def addresses(self) -> Iterator[tuple[str, int]]:
        """Where each tensor lies for the engine: on the device, or on the host for those that it reads."""
        for layout, host, device in (
            (self.inputs, self.host_in, self.device_in), (self.outputs, self.host_out, self.device_out),
        ):  # fmt: skip
            for name, region in layout.regions.items():
                yield name, (host if region.tensor.on_host else device).address + region.offset

    def write_inputs(self, arrays: Arrays, copier: Copier) -> None:
        """Copy a caller's arrays into the host's side."""
        for name, view in self.arrays.items():
            layout = self.inputs.regions[name].tensor.format
            if layout == LINEAR:
                copier.copy(view, arrays[name])
            else:
                pack(view, arrays[name], layout)

    def input_copies_from(self, arrays: Arrays) -> Iterator[Copy]:
        """The copies that bring inputs to the device from where a caller has them."""
        for name, region in self.inputs.regions.items():
            if not region.tensor.on_host and (array := arrays[name]).nbytes:
                yield self.device_in.address + region.offset, int(array.ctypes.data), array.nbytes

    def output_copies_to(self, arrays: Arrays) -> Iterator[Copy]:
        """The copies that bring outputs from the device to where a caller wants them."""
        for name, array in arrays.items():
            region = self.outputs.regions[name]
            if not region.tensor.on_host and array.nbytes:
                yield int(array.ctypes.data), self.device_out.address + region.offset, array.nbytes

    def output_copies(self, shapes: Mapping[str, Shape]) -> Iterator[Copy]:
        """The copies that bring the outputs to the host's side. `shapes` are of those of unknown size."""
        to, source = self.host_out.address, self.device_out.address
        if self.outputs.single_copy_bytes:
            yield to, source, self.outputs.single_copy_bytes
        for region in self.outputs.data_dependent:
            if length := region.length(shapes.get(region.tensor.name, (0,))):
                yield to + region.offset, source + region.offset, length

    def read_outputs(self, shapes: Mapping[str, Shape]) -> dict[str, NDArray[Any]]:
        """Copies of the outputs on the host's side."""
        return {
            name: region.copy(self.host_out.array, shapes.get(name)) for name, region in self.outputs.regions.items()
        }

    def close(self) -> None:
        self.arrays = {}
        while self._parts:
            self._parts.pop().close()
