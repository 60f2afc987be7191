"""One context at work: its streams, its buffer sets, and the order of copying in, computing and copying out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import BackendError
from pytest_trt.pipeline.buffers import BufferSet, Copy, Layout
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.engine.backends.tensorrt.load import DeviceContext, DeviceEngine
    from pytest_trt.engine.tensors import Arrays
    from pytest_trt.pipeline.runner import OutputAllocator


@dataclasses.dataclass(frozen=True)
class ContextIO:
    """What an engine is run with: its input shapes, the values of inputs that the host reads, and what follows."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    profile: int
    input_layout: Layout
    output_layout: Layout

    @classmethod
    def of(
        cls, context: DeviceContext, engine: DeviceEngine, profile: int, shapes: Mapping[str, Shape], values: Arrays
    ) -> ContextIO:
        """Tell a context what it is run with, and ask what follows. Raises InputError where that is no inference."""
        inputs = tuple(dataclasses.replace(t, shape=tuple(shapes[t.name])) for t in engine.inputs)
        for tensor, declared in zip(inputs, engine.inputs, strict=True):
            if -1 in declared.shape:
                context.set_shape(tensor.name, tensor.shape)
        for name, value in values.items():
            context.set_address(name, int(value.ctypes.data))
        context.infer_shapes()
        outputs = tuple(dataclasses.replace(t, shape=context.shape(t.name)) for t in engine.outputs)
        most = {t.name: max(context.max_output_bytes(t.name), 1) for t in outputs if -1 in t.shape}
        return cls(inputs, outputs, profile, Layout(inputs), Layout(outputs, most))


class Slot:
    """A buffer set in a lane, its graph, and the calls that make one inference in it."""

    def __init__(self, lane: Lane, buffers: BufferSet) -> None:
        self.lane, self.buffers = lane, buffers
        self.graph: cuda.Graph | None = None
        #: the shapes that the data gave the last inference here; `sizes`, where they are known to stay as they are
        self.last_shapes: dict[str, Shape] = {}
        self.fixed_shapes: Mapping[str, Shape] = {}
        self.used = False
        #: where the outputs are wanted, and the arrays there once they are known
        self._allocate_outputs: OutputAllocator | None = None
        self._outputs: dict[str, Any] | None = None
        self.build_commands()

    def build_commands(self) -> None:
        """Put the calls together: anew once a graph is captured, or the outputs' sizes are known."""
        lane, buffers = self.lane, self.buffers
        self.compute_commands = cuda.Commands()
        if self.graph is not None:
            self.compute_commands.launch(self.graph, lane.compute)
        else:
            self.compute_commands.call(self.enqueue)
        #: what tells that the inputs may be overwritten: a graph has no event of its own inside
        self.inputs_free = buffers.computed if self.graph is not None else buffers.inputs_read
        self.inference_commands = self._inference_commands(
            [self.input_copy()], self.output_copies() if self.copies_outputs else []
        )

    def _inference_commands(self, entering: Iterable[Copy], leaving: Iterable[Copy]) -> cuda.Commands:
        """One inference: these copies in, the computation, and these copies out where the outputs' sizes are known."""
        lane, buffers, calls = self.lane, self.buffers, cuda.Commands()
        if lane.transfers:
            calls.wait(lane.copy_in, self.inputs_free)
            for copy in entering:
                calls.copy(lane.copy_in, *copy)
            calls.record(buffers.inputs_arrived, lane.copy_in)
            calls.wait(lane.compute, buffers.inputs_arrived)
            calls.wait(lane.compute, buffers.outputs_arrived)
        calls.extend(self.compute_commands)
        calls.record(buffers.computed, lane.compute)
        if self.copies_outputs:
            calls.wait(lane.copy_out, buffers.computed)
            for copy in leaving:
                calls.copy(lane.copy_out, *copy)
            calls.record(buffers.outputs_arrived, lane.copy_out)
        return calls

    @property
    def copies_outputs(self) -> bool:
        """Whether the outputs' copies can be given along with the inference: their sizes are known."""
        return self.lane.transfers and len(self.fixed_shapes) == len(self.buffers.outputs.data_dependent)

    def input_copy(self) -> Copy:
        return self.buffers.device_in.address, self.buffers.host_in.address, self.buffers.inputs.single_copy_bytes

    def output_copies(self) -> list[Copy]:
        return list(self.buffers.output_copies(self.fixed_shapes))

    def enqueue(self) -> None:
        """Compute, with TensorRT's own call."""
        self.lane.bind(self)
        self.lane.context.enqueue(self.lane.compute)

    def wait(self) -> None:
        """Until the last inference given to this slot is done."""
        (self.buffers.outputs_arrived if self.copies_outputs else self.buffers.computed).synchronize()

    def start(self) -> None:
        """Infer on the inputs that were put in place."""
        self._allocate_outputs = self._outputs = None
        if not self.lane.transfers:  # nothing brings them when timed, so that here something must
            self.upload([self.input_copy()])
        self.inference_commands.run()

    def start_in_place(self, inputs: Arrays, allocate_outputs: OutputAllocator) -> None:
        """Infer on inputs where they lie, with the outputs brought to where `place` wants them. The values of those
        that only the host reads were put in place when the lane was made for them."""
        self._allocate_outputs, self._outputs = (
            allocate_outputs,
            allocate_outputs(self._current_outputs()) if self.copies_outputs else None,
        )
        entering = list(self.buffers.input_copies_from(inputs))
        if not self.lane.transfers:
            self.upload(entering)
        self._inference_commands(entering, self.buffers.output_copies_to(self._outputs or {})).run()

    def _current_outputs(self) -> list[Tensor]:
        """The outputs, in the shapes that the last inference gave those that depend on the data."""
        outputs = self.lane.io.outputs
        return [dataclasses.replace(t, shape=self.last_shapes.get(t.name, t.shape)) for t in outputs]

    def fetch(self) -> dict[str, Any]:
        """The outputs of the last inference: the caller's own, or where it wanted them."""
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

    def upload(self, entering: Iterable[Copy]) -> None:
        """Bring inputs to the device, and wait for it."""
        for copy in entering:
            self.lane.copy_in.copy(*copy)
        self.lane.copy_in.synchronize()

    def capture(self) -> None:
        """Make a graph of this slot's computation, after one real run of it. Raises BackendError where it cannot be
        captured, or nothing was."""
        lane = self.lane
        if unknown := lane.io.output_layout.data_dependent:
            names = ", ".join(repr(region.tensor.name) for region in unknown)
            raise BackendError(f"the shape of {names} depends on the data")
        if lane.context.cannot_capture(lane.compute):
            raise BackendError("TensorRT says that this context cannot be captured")
        self.enqueue()
        lane.compute.synchronize()
        lane.context.set_consumed_event(None)
        try:
            graph = cuda.Graph(lane.compute, lambda: lane.context.enqueue(lane.compute))
        finally:
            lane.unbind()
        if not graph.nodes:
            graph.close()
            raise BackendError("the captured graph is empty: the work went to another device or stream")
        self.graph = graph
        self.build_commands()

    def drop_graph(self) -> None:
        """Go back to TensorRT's own call."""
        graph, self.graph = self.graph, None
        if graph is not None:
            graph.close()
            self.build_commands()

    def fix_output_shapes(self) -> None:
        """Take the outputs' sizes as those of the last inference: for inputs that stay as they are."""
        self.fixed_shapes = dict(self.last_shapes)
        self.build_commands()

    def unfix_output_shapes(self) -> None:
        """The inputs change: the outputs' sizes are unknown again."""
        if self.fixed_shapes:
            self.fixed_shapes = {}
            self.build_commands()

    def close(self) -> None:
        self.drop_graph()
        self.buffers.close()


class Lane:
    """A context with three streams and `depth` slots, for one ContextIO.

    Slots take turns: while one computes, the next is filled and the last is emptied.

    An output whose shape depends on the data has memory for the most it can be; TensorRT says in every run what it was.
    """

    def __init__(
        self,
        engine: DeviceEngine,
        profile: int,
        shapes: Mapping[str, Shape],
        values: Arrays,
        options: PipelineOptions,
    ) -> None:
        self.transfers, self.spin = options.transfers, options.spin_wait
        self.slots: list[Slot] = []
        self._bound_slot: Slot | None = None
        self._parts: list[Any] = []
        try:
            self.copy_in: cuda.Stream = self._keep(cuda.Stream())
            self.compute: cuda.Stream = self._keep(cuda.Stream())
            self.copy_out: cuda.Stream = self._keep(cuda.Stream())
            self.context: DeviceContext = self._keep(engine.create_context(profile, self.compute))
            self.io = io = ContextIO.of(self.context, engine, profile, shapes, values)
            for _ in range(options.depth):
                buffers = BufferSet(
                    io.input_layout, io.output_layout, pinned=options.pinned, blocking=not options.spin_wait
                )
                self._parts.append(buffers)
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

    def _set_output_allocator(self, name: str, offset: int, most: int) -> None:
        def allocate(nbytes: int) -> int:
            return self._bound_slot.buffers.device_out.address + offset if self._bound_slot and nbytes <= most else 0

        def notify(shape: Shape) -> None:
            if self._bound_slot:
                self._bound_slot.last_shapes[name] = shape

        self.context.set_output_allocator(name, allocate, notify)

    def bind(self, slot: Slot) -> None:
        """Point the context at a slot's memory."""
        if self._bound_slot is slot:
            return
        self._bound_slot = slot
        unknown = {region.tensor.name for region in self.io.output_layout.data_dependent}
        for name, address in slot.buffers.addresses():
            if name not in unknown:
                self.context.set_address(name, address)
        self.context.set_consumed_event(slot.buffers.inputs_read)

    def unbind(self) -> None:
        self._bound_slot = None

    @property
    def device_bytes(self) -> int:
        return sum(slot.buffers.device_bytes for slot in self.slots)

    def synchronize(self) -> None:
        for stream in (self.copy_in, self.compute, self.copy_out):
            stream.synchronize()

    def close(self) -> None:
        for slot in self.slots:
            slot.close()
        self.slots.clear()
        while self._parts:
            self._parts.pop().close()
