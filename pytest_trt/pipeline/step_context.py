"""An execution context that runs the steps of one phase of a generation."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.decoder import logits_of_last
from pytest_trt.engine.tensors import Tensor, numpy_dtype
from pytest_trt.errors import BackendError, ModelError
from pytest_trt.pipeline.generation import Phase
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_trt.engine.backends.device_engine import DeviceContext, DeviceEngine
    from pytest_trt.engine.tensors import Arrays


class Memory:
    """Buffers by name that are replaced by larger ones as they are needed.

    Attributes:
        replaced: How many buffers have been made. While it stays, no address changes.
    """

    def __init__(self, kind: type[cuda.DeviceBuffer] | type[cuda.PinnedBuffer]) -> None:
        self._kind = kind
        self._buffers: dict[Any, Any] = {}
        self.replaced = 0

    def at_least(self, name: Any, nbytes: int, room: int = 0) -> Any:
        """Return a buffer of at least `nbytes`; a new one has `room` bytes more."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.nbytes < nbytes:
            if buffer is not None:
                self._buffers.pop(name).close()
            buffer = self._buffers[name] = self._kind(nbytes + room)
            self.replaced += 1
        return buffer

    def close(self) -> None:
        """Free the buffers."""
        while self._buffers:
            self._buffers.popitem()[1].close()


@dataclasses.dataclass
class Plan:
    """How one step is run.

    Attributes:
        addresses: The addresses of all inputs and outputs, by name.
        logits: The shape of the logits.
        left: The address and the shape of the state that the step leaves, by the input of the next step.
        runs: How often the step was run.
        graph: Its CUDA graph, from the second run on.
        valid_for: The state of the memory for which the addresses are right.
    """

    addresses: Mapping[str, int]
    logits: Shape
    left: Mapping[str, tuple[int, Shape]]
    runs: int = 0
    graph: cuda.Graph | None = None
    valid_for: int = 0


class StepContext:
    """An execution context for one kind of steps, with the buffers of its inputs and outputs that are no state.

    If all steps have the same shapes, each is captured as a CUDA graph in its second run, and launched from then on.
    That is so for state of a fixed capacity; a growing cache has other shapes in every step.

    Args:
        engine: The engine.
        phase: How it is run.
        stream: The stream that computes.
        options: `cuda_graph` applies.

    Attributes:
        repeats: Whether all steps have the same shapes.
    """

    def __init__(self, engine: DeviceEngine, phase: Phase, stream: cuda.Stream, options: PipelineOptions) -> None:
        self._engine, self._stream, self._phase = engine, stream, phase
        self._on_host = {tensor.name for tensor in (*engine.inputs, *engine.outputs) if tensor.on_host}
        self.repeats = phase.steps > 1 and phase.first == phase.last and not self._on_host
        self._captures = self.repeats and options.cuda_graph is not False
        self._parts = contextlib.ExitStack()
        self._kinds = {tensor.name: tensor for tensor in (*engine.inputs, *engine.outputs)}
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        self._pinned, self._device = (
            self._parts.enter_context(contextlib.closing(Memory(kind)))
            for kind in (cuda.PinnedBuffer, cuda.DeviceBuffer)
        )
        profile = engine.select_profile(phase.last)
        self._context: DeviceContext = engine.create_context(profile, stream)
        self._parts.callback(self._context.close)

    @property
    def replaced(self) -> int:
        """How many buffers have been made."""
        return self._pinned.replaced + self._device.replaced

    def copy_in(self, inputs: Arrays) -> dict[str, int]:
        """Copy the inputs of a step in, and return their addresses."""
        found = {}
        for name, array in inputs.items():
            pinned = self._pinned.at_least(name, array.nbytes)
            pinned.array[: array.nbytes] = array.reshape(-1).view("uint8")
            found[name] = int(pinned.address)
            if name not in self._on_host:
                found[name] = int(self._device.at_least(name, array.nbytes).address)
                self._stream.copy(found[name], pinned.address, array.nbytes)
        return found

    def set_shapes(self, shapes: Mapping[str, Shape], addresses: Mapping[str, int]) -> dict[str, Shape]:
        """Set the shapes of the inputs, and return those of the outputs.

        Args:
            shapes: The shapes of the inputs.
            addresses: The addresses of the inputs that are no state: values that the host reads decide shapes.
        """
        for name, shape in shapes.items():
            if -1 in self._kinds[name].shape and self._shapes.get(name) != shape:
                self._context.set_shape(name, shape)
        read = {name: address for name, address in addresses.items() if name in self._on_host}
        self._set_addresses(read)
        if read or not self._shapes:  # later on, TensorRT infers them when it is asked for one
            self._context.infer_shapes()
        self._shapes.update(shapes)
        return {tensor.name: self._context.shape(tensor.name) for tensor in self._engine.outputs}

    def output_addresses(self, outputs: Mapping[str, Shape]) -> dict[str, int]:
        """Return the addresses of outputs that are no state."""
        found = {}
        for name, shape in outputs.items():
            memory = self._pinned if name in self._on_host else self._device
            found[name] = int(memory.at_least(name, nbytes_at(self._kinds[name], shape)).address)
        return found

    def run(self, plan: Plan) -> NDArray[Any]:
        """Run a step on the inputs that were copied in, and return the last row of the logits."""
        plan.runs += 1
        if plan.graph is not None:
            plan.graph.launch(self._stream)
        else:
            self._set_addresses(plan.addresses)
            self._context.enqueue(self._stream)
            if self._captures and plan.runs > 1:
                self._stream.synchronize()
                plan.graph = self._capture()
        return self._fetch_logits(plan.addresses[self._phase.roles.logits], plan.logits)

    def _set_addresses(self, addresses: Mapping[str, int]) -> None:
        for name, address in addresses.items():
            if self._addresses.get(name) != address:
                self._context.set_address(name, address)
                self._addresses[name] = address

    def _capture(self) -> cuda.Graph | None:
        """Return the graph of a step; None if it cannot be captured, and then no other one is tried."""
        try:
            self._context.check_capturable(self._stream)
            graph = cuda.Graph(self._stream, lambda: self._context.enqueue(self._stream))
        except BackendError:
            self._captures = False
            return None
        self._parts.callback(graph.close)
        self._captures = bool(graph.nodes) and not self._context.reason_not_replayable(graph)
        return graph if self._captures else None

    def _fetch_logits(self, address: int, shape: Shape) -> NDArray[Any]:
        roles = self._phase.roles
        kind = numpy_dtype(self._kinds[roles.logits].dtype)
        batch, rows = logits_of_last(shape, self._phase.first[roles.tokens])
        width = shape[-1] * kind.itemsize
        pinned = self._pinned.at_least(("logits",), batch * width)
        for number in range(batch):
            self._stream.copy(pinned.address + number * width, address + ((number + 1) * rows - 1) * width, width)
        self._stream.synchronize()
        found: NDArray[Any] = pinned.array[: batch * width].view(kind).reshape(batch, shape[-1]).copy()
        return found

    def close(self) -> None:
        """Free the context, the graphs and the buffers."""
        self._parts.close()


def nbytes_at(tensor: Tensor, shape: Shape) -> int:
    """Return the bytes of a tensor at a shape. Raises ModelError if the shape depends on the data."""
    if -1 in shape:
        raise ModelError(
            f"generate: the shape of {tensor.name!r} depends on the data: no memory can be set aside for it"
        )
    return math.prod(shape) * numpy_dtype(tensor.dtype).itemsize
