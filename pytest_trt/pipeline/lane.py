"""A lane: an execution context with its streams and buffer sets.

This module also orders the work in the streams: copy the inputs in, compute, copy the outputs out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.state import State
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import BackendError
from pytest_trt.pipeline.buffers import BufferSet, Copy
from pytest_trt.pipeline.context_io import ContextIO
from pytest_trt.pipeline.state_buffers import StateBuffers
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.engine.backends.device_engine import DeviceContext, DeviceEngine
    from pytest_trt.engine.tensors import Arrays
    from pytest_trt.pipeline.runner import OutputAllocator


class Slot:
    """A buffer set of a lane, its CUDA graph, and the commands that run one inference in it.

    Attributes:
        graph: The captured graph, or None while inference is the backend's own call.
        last_shapes: The shapes of the data-dependent outputs in the last inference, by name.
        fixed_shapes: The same shapes, if they are known to stay the same because the inputs do.
        used: Whether the slot has run an inference.
        compute_commands: Runs the engine, without copies.
        inputs_free: The event after which the inputs may be overwritten.
        inference_commands: Runs a whole inference, from the inputs in host memory to the outputs there.
    """

    def __init__(self, lane: Lane, buffers: BufferSet) -> None:
        self.lane, self.buffers = lane, buffers
        self.graph: cuda.Graph | None = None
        self.last_shapes: dict[str, Shape] = {}
        self.fixed_shapes: Mapping[str, Shape] = {}
        self.used = False
        # The caller's allocator of the last inference, if it has one, and the arrays that it returned.
        self._allocate_outputs: OutputAllocator | None = None
        self._outputs: dict[str, Any] | None = None
        self.build_commands()

    def build_commands(self) -> None:
        """Build the commands; again when a graph is captured or dropped, or the outputs' shapes become known."""
        lane, buffers = self.lane, self.buffers
        self.compute_commands = cuda.Commands()
        if self.graph is not None:
            self.compute_commands.launch(self.graph, lane.compute)
        else:
            self.compute_commands.call(self.enqueue)
        # The backend records `inputs_read` once it has read the inputs; a graph does not contain that event.
        self.inputs_free = buffers.computed if self.graph is not None else buffers.inputs_read
        self.inference_commands = self._inference_commands(
            [self.input_copy()], self.output_copies() if self.copies_outputs else []
        )

    def _inference_commands(self, input_copies: Iterable[Copy], output_copies: Iterable[Copy]) -> cuda.Commands:
        """Return the commands of one inference: copy in, compute, and copy out if `copies_outputs`."""
        lane, buffers, commands = self.lane, self.buffers, cuda.Commands()
        if lane.transfers:
            commands.wait(lane.copy_in, self.inputs_free)
            for copy in input_copies:
                commands.copy(lane.copy_in, *copy)
            commands.record(buffers.inputs_arrived, lane.copy_in)
            commands.wait(lane.compute, buffers.inputs_arrived)
            commands.wait(lane.compute, buffers.outputs_arrived)
        commands.extend(self.compute_commands)
        commands.record(buffers.computed, lane.compute)
        if self.copies_outputs:
            commands.wait(lane.copy_out, buffers.computed)
            for copy in output_copies:
                commands.copy(lane.copy_out, *copy)
            commands.record(buffers.outputs_arrived, lane.copy_out)
        return commands

    @property
    def copies_outputs(self) -> bool:
        """Whether an inference copies its outputs itself, because it transfers data and knows all output shapes."""
        return self.lane.transfers and len(self.fixed_shapes) == len(self.buffers.outputs.data_dependent)

    def input_copy(self) -> Copy:
        """Return the copy of all inputs from host memory to the device."""
        return self.buffers.device_in.address, self.buffers.host_in.address, self.buffers.inputs.single_copy_bytes

    def output_copies(self) -> list[Copy]:
        """Return the copies of the outputs from the device to host memory, at the fixed shapes."""
        return list(self.buffers.output_copies(self.fixed_shapes))

    def enqueue(self) -> None:
        """Run the engine by the backend's own call, without a graph."""
        self.lane.bind(self)
        self.lane.context.enqueue(self.lane.compute)

    def wait(self) -> None:
        """Wait until the last inference of this slot has ended."""
        (self.buffers.outputs_arrived if self.copies_outputs else self.buffers.computed).synchronize()

    def start(self) -> None:
        """Start an inference on the inputs in the slot's host memory."""
        self._allocate_outputs = self._outputs = None
        if not self.lane.transfers:  # The commands copy nothing, so the inputs are copied here.
            self.upload([self.input_copy()])
        self.inference_commands.run()

    def start_in_place(self, inputs: Arrays, allocate_outputs: OutputAllocator) -> None:
        """Start an inference that reads the caller's inputs and writes to the memory of `allocate_outputs`.

        Inputs that only the host reads are not copied: the lane was made for their values.
        """
        self._allocate_outputs = allocate_outputs
        self._outputs = allocate_outputs(self._current_outputs()) if self.copies_outputs else None
        input_copies = list(self.buffers.input_copies_from(inputs))
        if not self.lane.transfers:
            self.upload(input_copies)
        self._inference_commands(input_copies, self.buffers.output_copies_to(self._outputs or {})).run()

    def _current_outputs(self) -> list[Tensor]:
        """Return the outputs that are copied; those that depend on the data have the shapes of the last inference."""
        outputs = [t for t in self.lane.io.outputs if t.name in self.buffers.outputs.regions]
        return [dataclasses.replace(t, shape=self.last_shapes.get(t.name, t.shape)) for t in outputs]

    def fetch(self) -> dict[str, Any]:
        """Wait for the last inference and return its outputs: new arrays, or those of the caller's allocator."""
        self.wait()
        buffers = self.buffers
        if self._allocate_outputs is None:
            if not self.copies_outputs:
                self._copy_out(buffers.output_copies(self.last_shapes))
            return buffers.read_outputs(self.last_shapes)
        if self._outputs is None:
            self._outputs = self._allocate_outputs(self._current_outputs())
            self._copy_out(buffers.output_copies_to(self._outputs))
        for name, array in self._outputs.items():
            if buffers.outputs.regions[name].tensor.on_host:
                array[...] = buffers.outputs.regions[name].view(buffers.host_out.array, self.last_shapes.get(name))
        return self._outputs

    def _copy_out(self, copies: Iterable[Copy]) -> None:
        for copy in copies:
            self.lane.copy_out.copy(*copy)
        self.lane.copy_out.synchronize()

    def upload(self, input_copies: Iterable[Copy]) -> None:
        """Copy inputs to the device and wait for the copies."""
        for copy in input_copies:
            self.lane.copy_in.copy(*copy)
        self.lane.copy_in.synchronize()

    def capture(self) -> None:
        """Capture this slot's computation as a CUDA graph, after running it once.

        Raises:
            BackendError: The computation cannot be captured, or the captured graph is empty.
        """
        lane = self.lane
        if data_dependent := lane.io.output_layout.data_dependent:
            names = ", ".join(repr(region.tensor.name) for region in data_dependent)
            raise BackendError(f"the shape of {names} depends on the data")
        lane.context.check_capturable(lane.compute)
        self.enqueue()
        lane.compute.synchronize()
        lane.context.set_consumed_event(None)
        try:
            graph = cuda.Graph(lane.compute, lambda: lane.context.enqueue(lane.compute))
        finally:
            lane.bound_slot = None  # the next `bind` sets all addresses
        if reason := graph.fault or lane.context.reason_not_replayable(graph):
            graph.close()
            raise BackendError(reason)
        self.graph = graph
        self.build_commands()

    def drop_graph(self) -> None:
        """Discard the graph and run the engine by the backend's own call again."""
        graph, self.graph = self.graph, None
        if graph is not None:
            graph.close()
            self.build_commands()

    def fix_output_shapes(self) -> None:
        """Take the output shapes of the last inference as fixed. Call this only if the inputs stay the same."""
        self.fixed_shapes = dict(self.last_shapes)
        self.build_commands()

    def unfix_output_shapes(self) -> None:
        """Treat the shapes of data-dependent outputs as unknown again, because the inputs change."""
        if self.fixed_shapes:
            self.fixed_shapes = {}
            self.build_commands()

    def close(self) -> None:
        """Free the graph and the buffers."""
        self.drop_graph()
        self.buffers.close()


class Lane:
    """An execution context with three streams, or one with `expose_dma`, and `depth` slots.

    The slots take turns: while one computes, the inputs of the next are copied in and the outputs of the previous one
    are copied out.

    An output whose shape depends on the data has memory for its largest possible size. TensorRT reports its shape in
    every inference.

    Args:
        engine: The engine to run.
        profile: The number of the optimisation profile.
        shapes: The input shapes by name.
        values: The inputs that the host reads, by name.
        options: How the engine is run. With state, `depth` counts as 1: steps follow each other.
        state: The outputs and inputs that are state.

    Attributes:
        transfers: Whether an inference copies its inputs and outputs.
        spin: Whether the host spins while it waits for the device.
        copy_in: The stream that copies inputs.
        compute: The stream that runs the engine.
        copy_out: The stream that copies outputs.
        io: The inputs and outputs, and how they lie in memory.
        state: The memory of the state, which is on the device only.
        slots: The slots, in the order in which they take turns.
        bound_slot: The slot whose memory the context reads and writes.
    """

    def __init__(
        self,
        engine: DeviceEngine,
        profile: int,
        shapes: Mapping[str, Shape],
        values: Arrays,
        options: PipelineOptions,
        state: State = (),
    ) -> None:
        self.transfers, self.spin = options.transfers, options.spin_wait
        self.slots: list[Slot] = []
        self.bound_slot: Slot | None = None
        self._parts: list[Any] = []
        try:
            self.compute: cuda.Stream = self._keep(cuda.Stream())
            exposed = self.compute if options.expose_dma else None  # in one stream, nothing runs beside anything else
            self.copy_in, self.copy_out = (exposed or self._keep(cuda.Stream()) for _ in range(2))
            self.context: DeviceContext = self._keep(engine.create_context(profile, self.compute))
            self.io = io = ContextIO.from_context(self.context, engine, profile, shapes, values, state)
            self.state: StateBuffers = self._keep(StateBuffers(io.state_layout, self.compute))
            for _ in range(1 if state else options.depth):
                buffers = BufferSet(
                    io.input_layout, io.output_layout, pinned=options.pinned, blocking=not options.spin_wait
                )
                self._parts.append(buffers)
                # Zeros instead of arbitrary bytes: an input of indices must never be out of range.
                self.compute.fill(buffers.device_in.address, buffers.device_in.nbytes)
                for name, value in values.items():
                    buffers.arrays[name][...] = value
                self.slots.append(Slot(self, buffers))
            for region in io.output_layout.data_dependent:
                self._set_output_allocator(region.tensor.name, region.offset, region.nbytes)
            self.compute.synchronize()
        except BaseException:
            self.close()
            raise

    def _keep(self, part: Any) -> Any:
        self._parts.append(part)
        return part

    def _set_output_allocator(self, name: str, offset: int, max_bytes: int) -> None:
        """Let TensorRT write a data-dependent output to the bound slot's memory and report its shape there."""

        def allocate(nbytes: int) -> int:
            if self.bound_slot is None or nbytes > max_bytes:
                return 0
            outputs: cuda.DeviceBuffer = self.bound_slot.buffers.device_out
            return outputs.address + offset

        def notify(shape: Shape) -> None:
            if self.bound_slot:
                self.bound_slot.last_shapes[name] = shape

        self.context.set_output_allocator(name, allocate, notify)

    def bind(self, slot: Slot) -> None:
        """Make the context read and write a slot's memory."""
        if self.bound_slot is slot:
            return
        self.bound_slot = slot
        data_dependent = {region.tensor.name for region in self.io.output_layout.data_dependent}
        for name, address in (*slot.buffers.addresses(), *self.state.addresses()):
            if name not in data_dependent:
                self.context.set_address(name, address)
        self.context.set_consumed_event(slot.buffers.inputs_read)

    @property
    def device_bytes(self) -> int:
        """The device memory of all buffer sets and of the state."""
        return self.state.nbytes + sum(slot.buffers.device_bytes for slot in self.slots)

    def synchronize(self) -> None:
        """Wait until all streams are idle."""
        for stream in (self.copy_in, self.compute, self.copy_out):
            stream.synchronize()

    def close(self) -> None:
        """Free the slots, the context and the streams."""
        for slot in self.slots:
            slot.close()
        self.slots.clear()
        while self._parts:
            self._parts.pop().close()
