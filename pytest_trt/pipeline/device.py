"""The runner for engines on a device: pinned buffers, three streams a context, CUDA graphs, several contexts."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.core.nvtx import span
from pytest_trt.core.records import LayerProfile
from pytest_trt.engine.arrays import check_inputs
from pytest_trt.engine.backends import cuda
from pytest_trt.errors import BackendError, InputError
from pytest_trt.pipeline.block_timer import BlockTimer
from pytest_trt.pipeline.copying import Copier
from pytest_trt.pipeline.lane import Lane, Slot
from pytest_trt.pipeline.ordered import map_in_order
from pytest_trt.pipeline.passes import layer_profile, memory_bytes
from pytest_trt.pipeline.throughput import steady_throughput
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.engine.backends.tensorrt.load import DeviceEngine
    from pytest_trt.engine.tensors import Arrays
    from pytest_trt.pipeline.runner import OutputAllocator, Request

_FELL_BACK = "fell back: "

SHAPES_KEPT = 4
"""How many shapes keep their contexts and buffers at a time; the one least recently used goes."""


class LaneGroup:
    """An engine at one shape (and, for inputs that the host reads, with one set of values): `contexts` lanes."""

    def __init__(
        self, engine: DeviceEngine, shapes: Mapping[str, Shape], values: Arrays, options: PipelineOptions
    ) -> None:
        self.profile = engine.select_profile(shapes)
        self.options = options
        self.graph = "off" if options.cuda_graph is False else ""
        self.lanes: list[Lane] = []
        self._parts: list[Any] = []
        try:
            for _ in range(options.contexts):
                self.lanes.append(self._keep(Lane(engine, self.profile, shapes, values, options)))
            flush = self._keep(cuda.DeviceBuffer(2 * engine.device.l2_bytes)) if options.cold_l2 else None
            self.timer: BlockTimer = self._keep(BlockTimer(self.lanes[0], flush))
        except BaseException:
            self.close()
            raise
        io = self.lanes[0].io
        self.inputs, self.outputs, self.leaving = io.inputs, io.outputs, io.output_layout

    @property
    def slots(self) -> list[Slot]:
        """In the order in which they take turns: another lane each time."""
        return [slot for turn in zip(*(lane.slots for lane in self.lanes), strict=True) for slot in turn]

    def capture(self, inputs: Arrays, copier: Copier) -> None:
        """Capture a graph for every slot, once, on real inputs: for all or for none. `graph` says what came of it;
        raises BackendError where it failed and `cuda_graph=True`."""
        if not self.graph:
            self.graph = self._captured(inputs, copier)
        if self.options.cuda_graph and self.graph.startswith(_FELL_BACK):
            raise BackendError(f"trt_pipeline: cuda_graph=True, and {self.graph.removeprefix(_FELL_BACK)}")

    def _captured(self, inputs: Arrays, copier: Copier) -> str:
        try:
            with span("capture"):
                for slot in self.slots:
                    slot.buffers.write_inputs(inputs, copier)
                    slot.upload([slot.input_copy()])
                    slot.capture()
        except BackendError as error:
            for slot in self.slots:
                slot.drop_graph()
            return f"{_FELL_BACK}{error}"
        nodes = self.lanes[0].slots[0].graph
        return f"captured, {nodes.nodes if nodes else 0} nodes"

    def _keep(self, part: Any) -> Any:
        self._parts.append(part)
        return part

    def close(self) -> None:
        self.lanes.clear()
        while self._parts:
            self._parts.pop().close()


class DeviceRunner:
    """An engine on a device. Another shape than the one it was opened with gets contexts and buffers of its own, in the
    narrowest profile that fits."""

    def __init__(self, engine: DeviceEngine, shapes: Mapping[str, Shape], options: PipelineOptions) -> None:
        self._engine, self._options = engine, options
        engine.device.activate()
        self._kept: OrderedDict[Any, LaneGroup] = OrderedDict()
        self._copier = Copier()
        self._current: LaneGroup | None = None
        self._filled = False
        engine.select_profile(shapes)
        self.inputs = tuple(dataclasses.replace(t, shape=tuple(shapes[t.name])) for t in engine.inputs)
        self.outputs = engine.outputs
        if not any(t.on_host for t in engine.inputs):  # whose values decide shapes: they come with the first inputs
            self._use(self._shaped(shapes, {}))

    def _use(self, shaped: LaneGroup) -> None:
        self._current, self.inputs, self.outputs = shaped, shaped.inputs, shaped.outputs

    def _shaped(self, shapes: Mapping[str, Shape], values: Arrays) -> LaneGroup:
        key = (tuple(sorted(shapes.items())), tuple((name, values[name].tobytes()) for name in sorted(values)))
        if key not in self._kept:
            while len(self._kept) >= SHAPES_KEPT:
                self._kept.popitem(last=False)[1].close()
            self._kept[key] = LaneGroup(self._engine, shapes, values, self._options)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _take(self, inputs: Arrays) -> tuple[Arrays, LaneGroup]:
        """The inputs, checked, and what runs them. Raises InputError where they do not fit the engine."""
        ready = check_inputs(inputs, self._engine.inputs)
        shapes = {name: tuple(array.shape) for name, array in ready.items()}
        values = {t.name: ready[t.name] for t in self._engine.inputs if t.on_host}
        return ready, self._shaped(shapes, values)

    @property
    def proof(self) -> Mapping[str, str]:
        options, shaped = self._options, self._current
        return {
            "graph": (shaped.graph if shaped else "") or "not yet",
            "contexts": str(options.contexts),
            "depth": str(options.depth),
            "pinned": "yes" if options.pinned else "no",
            "transfers": "yes" if options.transfers else "no",
            "wait": "spin" if options.spin_wait else "sleep",
            "l2": "cold" if options.cold_l2 else "warm",
            "aux_streams": str(self._engine.aux_streams),
            **({"profile": str(shaped.profile)} if shaped else {}),
            **(
                {"events_us": f"{shaped.timer.event_cost_ms * 1000:.2f}"}
                if shaped and shaped.timer.event_cost_ms
                else {}
            ),
        }

    def infer(self, inputs: Arrays, allocate_outputs: OutputAllocator | None = None) -> Arrays:
        """The first inference of a shape is TensorRT's own call; from the second on it is a graph's launch."""
        ready, shaped = self._take(inputs)
        slot = shaped.slots[0]
        if slot.used:
            shaped.capture(ready, self._copier)
        self._start(slot, ready, allocate_outputs)
        return slot.fetch()

    def _start(self, slot: Slot, ready: Arrays, allocate_outputs: OutputAllocator | None) -> None:
        slot.used = True
        slot.unfix_output_shapes()
        if allocate_outputs is not None and slot.buffers.inputs.linear and slot.buffers.outputs.linear:
            slot.start_in_place(ready, allocate_outputs)
            return
        slot.buffers.write_inputs(ready, self._copier)
        slot.start()

    def stream(self, batches: Iterable[Arrays], postprocess: Callable[[Arrays], Any] | None = None) -> Iterator[Any]:
        outputs = self.serve((batch, None) for batch in batches)
        if postprocess is None:
            return outputs
        return map_in_order(outputs, postprocess, self._options.postprocess_threads)

    def serve(self, requests: Iterable[Request]) -> Iterator[Arrays]:
        """Outputs in order, while the next ones are made. What `requests` raises, or an inference that cannot be
        started, is raised after the outputs before."""
        waiting, flying = iter(requests), deque[Slot]()
        failure: Exception | None = None
        shaped: LaneGroup | None = None
        turn = 0
        try:
            while failure is None:
                try:
                    inputs, allocate_outputs = next(waiting)
                    ready, wanted = self._take(inputs)
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001 - raised below, at its turn
                    failure = error
                    break
                if wanted is not shaped:
                    while flying:
                        yield flying.popleft().fetch()
                    shaped, slots, turn = wanted, wanted.slots, 0
                if len(flying) == len(slots):
                    yield flying.popleft().fetch()
                slot = slots[turn % len(slots)]
                turn += 1
                try:
                    shaped.capture(ready, self._copier)
                    self._start(slot, ready, allocate_outputs)
                    flying.append(slot)
                except Exception as error:  # noqa: BLE001 - likewise
                    failure = error
            while flying:
                yield flying.popleft().fetch()
            if failure is not None:
                raise failure
        finally:
            for slot in flying:
                slot.wait()

    def set_inputs(self, inputs: Arrays) -> None:
        ready, shaped = self._take(inputs)
        shaped.capture(ready, self._copier)
        for slot in shaped.slots:
            slot.unfix_output_shapes()
            slot.buffers.write_inputs(ready, self._copier)
            slot.start()
            slot.fetch()
            slot.fix_output_shapes()
        if shaped.timer.event_cost_ms is None:
            shaped.timer.calibrate()
        self._filled = True
        self._use(shaped)

    def _ready(self, what: str) -> LaneGroup:
        if self._current is None or not self._filled:
            raise InputError(f"{what}: no inputs were put in place: call set_inputs first")
        return self._current

    def block(self, count: int) -> Mapping[str, tuple[float, ...]]:
        return self._ready("block").timer.block(count)

    def throughput(self, seconds: float) -> float:
        return steady_throughput(self._ready("throughput").lanes, seconds)

    def profile(self, runs: int) -> LayerProfile:
        return layer_profile(self._engine, self._ready("profile").lanes[0], runs)

    def memory(self) -> Mapping[str, int]:
        return memory_bytes(self._engine, self._ready("memory").lanes)

    def close(self) -> None:
        self._copier.close()
        while self._kept:
            self._kept.popitem()[1].close()
