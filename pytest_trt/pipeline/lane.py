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
    from pytest_trt.pipeline.runner import Place


@dataclasses.dataclass(frozen=True)
class Form:
    """What an engine is run with: its input shapes, the values of inputs that the host reads, and what follows."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    profile: int
    entering: Layout
    leaving: Layout

    @classmethod
    def of(
        cls, context: DeviceContext, engine: DeviceEngine, profile: int, shapes: Mapping[str, Shape], values: Arrays
    ) -> Form:
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
        self.seen: dict[str, Shape] = {}
        self.sizes: Mapping[str, Shape] = {}
        self.used = False
        #: where the outputs are wanted, and the arrays there once they are known
        self._place: Place | None = None
        self._placed: dict[str, Any] | None = None
        self.arrange()

    def arrange(self) -> None:
        """Put the calls together: anew once a graph is captured, or the outputs' sizes are known."""
        lane, buffers = self.lane, self.buffers
        self.launch = cuda.Commands()
        if self.graph is not None:
            self.launch.launch(self.graph, lane.compute)
        else:
            self.launch.call(self.enqueue)
        #: what tells that the inputs may be overwritten: a graph has no event of its own inside
        self.read = buffers.computed if self.graph is not None else buffers.read
        self.all = self._calls([self.entering()], self.leaving() if self.returns else [])

    def _calls(self, entering: Iterable[Copy], leaving: Iterable[Copy]) -> cuda.Commands:
        """One inference: these copies in, the computation, and these copies out where the outputs' sizes are known."""
        lane, buffers, calls = self.lane, self.buffers, cuda.Commands()
        if lane.transfers:
            calls.wait(lane.copy_in, self.read)
            for copy in entering:
                calls.copy(lane.copy_in, *copy)
            calls.record(buffers.entered, lane.copy_in)
            calls.wait(lane.compute, buffers.entered)
            calls.wait(lane.compute, buffers.left)
        calls.extend(self.launch)
        calls.record(buffers.computed, lane.compute)
        if self.returns:
            calls.wait(lane.copy_out, buffers.computed)
            for copy in leaving:
                calls.copy(lane.copy_out, *copy)
            calls.record(buffers.left, lane.copy_out)
        return calls

    @property
    def returns(self) -> bool:
        """Whether the outputs' copies can be given along with the inference: their sizes are known."""
        return self.lane.transfers and len(self.sizes) == len(self.buffers.outputs.unknown)

    def entering(self) -> Copy:
        return self.buffers.device_in.address, self.buffers.host_in.address, self.buffers.inputs.together

    def leaving(self) -> list[Copy]:
        return list(self.buffers.leaving(self.sizes))

    def enqueue(self) -> None:
        """Compute, with TensorRT's own call."""
        self.lane.bind(self)
        self.lane.context.enqueue(self.lane.compute)

    def wait(self) -> None:
        """Until the last inference given to this slot is done."""
        (self.buffers.left if self.returns else self.buffers.computed).synchronize()

    def start(self) -> None:
        """Infer on the inputs that were put in place."""
        self._place = self._placed = None
        if not self.lane.transfers:  # nothing brings them when timed, so that here something must
            self.upload([self.entering()])
        self.all.run()

    def start_from(self, inputs: Arrays, place: Place) -> None:
        """Infer on inputs where they lie, with the outputs brought to where `place` wants them. The values of those
        that only the host reads were put in place when the lane was made for them."""
        self._place, self._placed = place, place(self._results()) if self.returns else None
        entering = list(self.buffers.entering_from(inputs))
        if not self.lane.transfers:
            self.upload(entering)
        self._calls(entering, self.buffers.leaving_to(self._placed or {})).run()

    def _results(self) -> list[Tensor]:
        """The outputs, in the shapes that the last inference gave those that depend on the data."""
        outputs = self.lane.form.outputs
        return [dataclasses.replace(t, shape=self.seen.get(t.name, t.shape)) for t in outputs]

    def fetch(self) -> dict[str, Any]:
        """The outputs of the last inference: the caller's own, or where it wanted them."""
        self.wait()
        buffers = self.buffers
        if self._place is None:
            if not self.returns:
                self._bring(buffers.leaving(self.seen))
            return buffers.result(self.seen)
        if self._placed is None:
            self._placed = self._place(self._results())
            self._bring(buffers.leaving_to(self._placed))
        for name, array in self._placed.items():
            if buffers.outputs.places[name].tensor.on_host:
                array[...] = buffers.outputs.places[name].view(buffers.host_out.array, self.seen.get(name))
        return self._placed

    def _bring(self, copies: Iterable[Copy]) -> None:
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
        if unknown := lane.form.leaving.unknown:
            names = ", ".join(repr(place.tensor.name) for place in unknown)
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
        self.arrange()

    def drop_graph(self) -> None:
        """Go back to TensorRT's own call."""
        graph, self.graph = self.graph, None
        if graph is not None:
            graph.close()
            self.arrange()

    def learn(self) -> None:
        """Take the outputs' sizes as those of the last inference: for inputs that stay as they are."""
        self.sizes = dict(self.seen)
        self.arrange()

    def forget(self) -> None:
        """The inputs change: the outputs' sizes are unknown again."""
        if self.sizes:
            self.sizes = {}
            self.arrange()

    def close(self) -> None:
        self.drop_graph()
        self.buffers.close()


class Lane:
    """A context with three streams and `depth` slots, in one form. Slots take turns: while one computes, the next is
    filled and the last is emptied.

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
        self._bound: Slot | None = None
        self._parts: list[Any] = []
        try:
            self.copy_in: cuda.Stream = self._keep(cuda.Stream())
            self.compute: cuda.Stream = self._keep(cuda.Stream())
            self.copy_out: cuda.Stream = self._keep(cuda.Stream())
            self.context: DeviceContext = self._keep(engine.create_context(profile, self.compute))
            self.form = form = Form.of(self.context, engine, profile, shapes, values)
            for _ in range(options.depth):
                buffers = BufferSet(form.entering, form.leaving, pinned=options.pinned, blocking=not options.spin_wait)
                self._parts.append(buffers)
                self.compute.fill(buffers.device_in.address, buffers.device_in.nbytes)
                for name, value in values.items():
                    buffers.arrays[name][...] = value
                self.slots.append(Slot(self, buffers))
            for place in form.leaving.unknown:
                self._let_allocate(place.tensor.name, place.offset, place.nbytes)
            self.compute.synchronize()
        except BaseException:
            self.close()
            raise

    def _keep(self, part: Any) -> Any:
        self._parts.append(part)
        return part

    def _let_allocate(self, name: str, offset: int, most: int) -> None:
        def allocate(nbytes: int) -> int:
            return self._bound.buffers.device_out.address + offset if self._bound and nbytes <= most else 0

        def notify(shape: Shape) -> None:
            if self._bound:
                self._bound.seen[name] = shape

        self.context.set_output_allocator(name, allocate, notify)

    def bind(self, slot: Slot) -> None:
        """Point the context at a slot's memory."""
        if self._bound is slot:
            return
        self._bound = slot
        unknown = {place.tensor.name for place in self.form.leaving.unknown}
        for name, address in slot.buffers.addresses():
            if name not in unknown:
                self.context.set_address(name, address)
        self.context.set_consumed_event(slot.buffers.read)

    def unbind(self) -> None:
        self._bound = None

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
