"""The state of an engine in device memory: what a step reads, and what it writes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.state import State
from pytest_trt.engine.tensors import Tensor
from pytest_trt.pipeline.buffers import Layout
from pytest_trt.pipeline.carried import check_carriable
from pytest_trt.pipeline.formats import pack

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays


class StateLayout:
    """How the state of an engine lies in memory at the shapes of one step.

    Args:
        state: The pairs of outputs and inputs.
        inputs: The inputs of the engine.
        outputs: The outputs of the engine.
        aliases: The input whose memory an output shares, by the name of the output, as TensorRT requires it.

    Attributes:
        state: As in the arguments.
        names: The names of the inputs and outputs that are state.
        inputs: The layout of the state that a step reads.
        outputs: The layout of the state that a step writes, without the outputs that share the memory of an input.
        aliases: As in the arguments.
    """

    def __init__(
        self, state: State, inputs: Iterable[Tensor], outputs: Iterable[Tensor], aliases: Mapping[str, str]
    ) -> None:
        read, written = {pair.input for pair in state}, {pair.output for pair in state}
        self.state, self.names, self.aliases = state, read | written, aliases
        self.inputs = Layout(tensor for tensor in inputs if tensor.name in read)
        self.outputs = Layout(tensor for tensor in outputs if tensor.name in written - set(aliases))


class StateBuffers:
    """The device memory of a state. There is none on the host.

    A step reads one part and writes the other, so that the next step finds the state as it was: every sample of a
    measurement is the same step, although nothing is put back. An engine that updates a cache in place writes the same
    entry in every sample.

    Args:
        layout: How the state lies in memory.
        stream: The stream that computes.
    """

    def __init__(self, layout: StateLayout, stream: cuda.Stream) -> None:
        self._layout, self._stream = layout, stream
        with contextlib.ExitStack() as parts:
            self._read, self._written = (
                parts.enter_context(contextlib.closing(cuda.DeviceBuffer(part.nbytes)))
                for part in (layout.inputs, layout.outputs)
            )
            for memory in (self._read, self._written):
                stream.fill(memory.address, memory.nbytes)
            self._parts = parts.pop_all()

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return self._read.nbytes + self._written.nbytes

    def addresses(self) -> Iterator[tuple[str, int]]:
        """Yield the name and the address of every input and output that is state."""
        regions = self._layout.inputs.regions
        for name, region in regions.items():
            yield name, self._read.address + region.offset
        for name, region in self._layout.outputs.regions.items():
            yield name, self._written.address + region.offset
        for name, source in self._layout.aliases.items():
            yield name, self._read.address + regions[source].offset

    def clear(self) -> None:
        """Set the state that a step reads to zeros."""
        self._stream.fill(self._read.address, self._read.nbytes)

    def carry(self) -> None:
        """Enqueue that the state which a step wrote becomes the one that the next step reads, by a copy on the device.

        Raises:
            ModelError: The state grows.
        """
        read, written = self._layout.inputs.regions, self._layout.outputs.regions
        for pair in self._layout.state:
            if pair.output in written:
                source, to = written[pair.output], read[pair.input]
                check_carriable(pair.input, to.tensor.shape, source.tensor.shape)
                if to.nbytes:
                    self._stream.copy(self._read.address + to.offset, self._written.address + source.offset, to.nbytes)

    def write(self, arrays: Arrays) -> None:
        """Copy the state that a step reads from a caller's arrays to the device, and wait for the copy."""
        import numpy as np

        memory = np.zeros(self._read.nbytes, np.uint8)
        for name, region in self._layout.inputs.regions.items():
            pack(region.view(memory), arrays[name], region.tensor.format)
        self._copy(self._read.address, int(memory.ctypes.data), memory.nbytes)

    def read(self) -> dict[str, Any]:
        """Return copies of the state that the last step wrote, by the name of the output."""
        import numpy as np

        read, written = np.empty(self._read.nbytes, np.uint8), np.empty(self._written.nbytes, np.uint8)
        self._copy(int(written.ctypes.data), self._written.address, written.nbytes)
        arrays = {name: region.copy(written) for name, region in self._layout.outputs.regions.items()}
        if self._layout.aliases:
            self._copy(int(read.ctypes.data), self._read.address, read.nbytes)
        for name, source in self._layout.aliases.items():
            arrays[name] = self._layout.inputs.regions[source].copy(read)
        return arrays

    def _copy(self, to: int, source: int, nbytes: int) -> None:
        if nbytes:
            self._stream.copy(to, source, nbytes)
            self._stream.synchronize()

    def close(self) -> None:
        """Free the memory."""
        self._parts.close()
