"""Run the steps of a generation on a device, where the state of a step is the memory that the step before wrote."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.decoder import check_handover
from pytest_trt.engine.state import State
from pytest_trt.engine.tensors import Tensor, numpy_dtype
from pytest_trt.errors import BackendError, ModelError
from pytest_trt.pipeline.generation import Phase
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_trt.engine.backends.device_engine import DeviceContext, DeviceEngine
    from pytest_trt.engine.tensors import Arrays


class _Memory:
    """Buffers by name that are replaced by larger ones as they are needed."""

    def __init__(self, kind: type[cuda.DeviceBuffer] | type[cuda.PinnedBuffer]) -> None:
        self._kind = kind
        self._buffers: dict[Any, Any] = {}

    def at_least(self, name: Any, nbytes: int, room: int = 0) -> Any:
        """Return a buffer of at least `nbytes`; a new one has `room` bytes more."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.nbytes < nbytes:
            if buffer is not None:
                self._buffers.pop(name).close()
            buffer = self._buffers[name] = self._kind(nbytes + room)
        return buffer

    def close(self) -> None:
        """Free the buffers."""
        while self._buffers:
            self._buffers.popitem()[1].close()


class _StepContext:
    """An execution context for one kind of steps, with the buffers of its inputs and outputs that are no state.

    A step whose shapes and addresses are those of an earlier one is captured as a CUDA graph, and launched from then
    on. That is so for state of a fixed capacity; a growing cache has other shapes in every step.

    Args:
        engine: The engine.
        phase: How it is run.
        stream: The stream that computes.
        options: `cuda_graph` applies.
    """

    def __init__(self, engine: DeviceEngine, phase: Phase, stream: cuda.Stream, options: PipelineOptions) -> None:
        self._engine, self._stream, self._phase = engine, stream, phase
        self._captures = options.cuda_graph is not False and not any(tensor.on_host for tensor in engine.inputs)
        self._parts = contextlib.ExitStack()
        self._kinds = {tensor.name: tensor for tensor in (*engine.inputs, *engine.outputs)}
        self._shapes: dict[str, Shape] = {}
        self._inputs: dict[str, int] = {}
        self._addresses: dict[str, int] = {}
        self._graphs: dict[Any, cuda.Graph | None] = {}
        self._pinned, self._device = (
            self._parts.enter_context(contextlib.closing(_Memory(kind)))
            for kind in (cuda.PinnedBuffer, cuda.DeviceBuffer)
        )
        profile = engine.select_profile(phase.last)
        self._context: DeviceContext = engine.create_context(profile, stream)
        self._parts.callback(self._context.close)

    def prepare(self, inputs: Arrays, state: Mapping[str, Shape]) -> dict[str, Shape]:
        """Copy the inputs of a step in, and return the shapes of its outputs.

        Args:
            inputs: The inputs that are no state.
            state: The shapes of the inputs that are state.
        """
        self._inputs = {name: self._copy_in(name, array) for name, array in inputs.items()}
        shapes = {**{name: tuple(array.shape) for name, array in inputs.items()}, **state}
        changed = {name: shape for name, shape in shapes.items() if self._shapes.get(name) != shape}
        for name, shape in changed.items():
            if -1 in self._kinds[name].shape:
                self._context.set_shape(name, shape)
        read = {name: address for name, address in self._inputs.items() if self._kinds[name].on_host}
        self._set_addresses(read)  # their values decide shapes
        if changed or read:
            self._context.infer_shapes()
        self._shapes.update(changed)
        return {tensor.name: self._context.shape(tensor.name) for tensor in self._engine.outputs}

    def _copy_in(self, name: str, array: NDArray[Any]) -> int:
        """Return the address of an array that the engine reads: a copy on the device, or on the host."""
        pinned = self._pinned.at_least(name, array.nbytes)
        pinned.array[: array.nbytes] = array.reshape(-1).view("uint8")
        if self._kinds[name].on_host:
            return int(pinned.address)
        address = int(self._device.at_least(name, array.nbytes).address)
        self._stream.copy(address, pinned.address, array.nbytes)
        return address

    def run(self, outputs: Mapping[str, Shape], state: Mapping[str, int]) -> NDArray[Any]:
        """Run the engine on the inputs of `prepare`, and return the last row of the logits.

        Args:
            outputs: The shapes of all outputs.
            state: The addresses of the inputs and outputs that are state.
        """
        addresses = {**self._inputs, **state}
        for name, shape in outputs.items():
            if name not in addresses:
                memory = self._pinned if self._kinds[name].on_host else self._device
                addresses[name] = memory.at_least(name, _nbytes(self._kinds[name], shape)).address
        self._compute(addresses)
        return self._fetch_logits(addresses[self._phase.roles.logits], outputs[self._phase.roles.logits])

    def _set_addresses(self, addresses: Mapping[str, int]) -> None:
        for name, address in addresses.items():
            if self._addresses.get(name) != address:
                self._context.set_address(name, address)
                self._addresses[name] = address

    def _compute(self, addresses: Mapping[str, int]) -> None:
        key = (tuple(self._shapes.items()), tuple(addresses.items()))
        known = self._graphs.get(key)
        if known is not None:
            known.launch(self._stream)
            return
        self._set_addresses(addresses)
        self._context.enqueue(self._stream)
        if self._captures and self._repeats:
            self._stream.synchronize()
            self._graphs[key] = self._capture() if key in self._graphs else None

    @property
    def _repeats(self) -> bool:
        """Whether all steps have the same shapes."""
        return self._phase.steps > 1 and self._phase.first == self._phase.last

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
        kind = numpy_dtype(self._kinds[self._phase.roles.logits].dtype)
        batch, width = shape[0], shape[-1] * kind.itemsize
        rows = math.prod(shape[1:-1])
        pinned = self._pinned.at_least(("logits",), batch * width)
        for number in range(batch):
            self._stream.copy(pinned.address + number * width, address + ((number + 1) * rows - 1) * width, width)
        self._stream.synchronize()
        found: NDArray[Any] = pinned.array[: batch * width].view(kind).reshape(batch, shape[-1]).copy()
        return found

    def close(self) -> None:
        """Free the context, the graphs and the buffers."""
        self._parts.close()


class DeviceSteps:
    """Runs steps on a device (see `generation.StepRunner`).

    Each step reads the memory that the step before wrote, and writes another: two parts take turns. State that
    TensorRT updates in place has one part.

    Args:
        prompt_engine: The engine that reads the prompt.
        engine: The engine that runs the steps; it may be the same one.
        reading: How the prompt is read.
        decoding: How the steps are run.
        prompt_state: The outputs and inputs of the first engine that are state.
        state: Those of the second engine.
        options: `cuda_graph` applies.
    """

    def __init__(
        self,
        prompt_engine: DeviceEngine,
        engine: DeviceEngine,
        reading: Phase,
        decoding: Phase,
        prompt_state: State,
        state: State,
        options: PipelineOptions,
    ) -> None:
        self._engines, self._phases = (prompt_engine, engine), (reading, decoding)
        self._prompt_state, self._state = prompt_state, state
        self.prompt_inputs, self.inputs = prompt_engine.inputs, engine.inputs
        self._kinds = {tensor.name: tensor for tensor in (*engine.inputs, *prompt_engine.inputs)}
        self._held: dict[str, tuple[int, Shape]] = {}
        self._turn = 0
        self._parts = contextlib.ExitStack()
        try:
            engine.device.activate()
            self._stream = self._parts.enter_context(cuda.Stream())
            self._memory = self._parts.enter_context(contextlib.closing(_Memory(cuda.DeviceBuffer)))
            self._contexts = tuple(
                self._parts.enter_context(contextlib.closing(_StepContext(one, phase, self._stream, options)))
                for one, phase in zip(self._engines, self._phases, strict=True)
            )
        except BaseException:
            self.close()
            raise

    def reset(self) -> None:
        """Forget the state: it is empty, or holds zeros."""
        self._held, self._turn = {}, 0
        for pair in self._prompt_state:
            shape = self._phases[0].first[pair.input]
            nbytes = _nbytes(self._kinds[pair.input], shape)
            buffer = self._memory.at_least((pair.input, 0), nbytes)
            if nbytes:
                self._stream.fill(buffer.address, nbytes)
            self._held[pair.input] = (buffer.address, shape)
        self._stream.synchronize()

    def read_prompt(self, inputs: Arrays) -> NDArray[Any]:
        """Read the prompt; see `StepRunner`."""
        logits = self._run(0, inputs, self._phases[1].steps)
        if self._phases[1].steps:
            check_handover({name: shape for name, (_, shape) in self._held.items()}, self._phases[1].first)
        return logits

    def step(self, inputs: Arrays) -> NDArray[Any]:
        """Run one step; see `StepRunner`."""
        return self._run(1, inputs, self._phases[1].steps)

    def _run(self, number: int, inputs: Arrays, steps: int) -> NDArray[Any]:
        context, aliases = self._contexts[number], self._engines[number].aliases
        read = {pair.input for pair in (self._prompt_state, self._state)[number]}
        held = {name: found for name, found in self._held.items() if name in read}
        outputs = context.prepare(inputs, {name: shape for name, (_, shape) in held.items()})
        self._turn += 1
        addresses = {name: address for name, (address, _) in held.items()}
        left: dict[str, tuple[int, Shape]] = {}
        for pair in self._state:
            shape, kind = outputs[pair.output], self._kinds[pair.input]
            nbytes = _nbytes(kind, shape)
            if pair.output in aliases:
                address = addresses[aliases[pair.output]]
            else:
                growth = nbytes - _nbytes(kind, held[pair.input][1]) if number and pair.input in held else 0
                address = self._memory.at_least((pair.input, self._turn % 2), nbytes, growth * steps).address
            addresses[pair.output] = address
            left[pair.input] = (address, shape)
        logits = context.run(outputs, addresses)
        self._held = left
        return logits

    @property
    def state_bytes(self) -> int:
        """The size of the state that the last step left, in bytes."""
        return sum(_nbytes(self._kinds[name], shape) for name, (_, shape) in self._held.items())

    def close(self) -> None:
        """Free the contexts and the memory."""
        self._parts.close()


def _nbytes(tensor: Tensor, shape: Shape) -> int:
    if -1 in shape:
        raise ModelError(
            f"generate: the shape of {tensor.name!r} depends on the data: no memory can be set aside for it"
        )
    return math.prod(shape) * numpy_dtype(tensor.dtype).itemsize
