"""The runner for engines on a device.

It uses page-locked buffers, three streams per context, CUDA graphs and one or more contexts.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.core.records import LayerProfile
from pytest_trt.engine.arrays import check_inputs
from pytest_trt.engine.state import State, StatePair
from pytest_trt.errors import InputError
from pytest_trt.pipeline.carried import check_left_out, peek, without_state
from pytest_trt.pipeline.copying import Copier
from pytest_trt.pipeline.formats import LINEAR
from pytest_trt.pipeline.lane import Lane, Slot
from pytest_trt.pipeline.lane_group import LaneGroup
from pytest_trt.pipeline.ordered import map_in_order
from pytest_trt.pipeline.passes import layer_profile, memory_bytes
from pytest_trt.pipeline.throughput import steady_throughput
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.engine.backends.device_engine import DeviceEngine
    from pytest_trt.engine.tensors import Arrays
    from pytest_trt.pipeline.runner import OutputAllocator, Request

MAX_SHAPES = 4
"""The most shapes that keep their contexts and buffers at a time; the least recently used shape is freed first."""


class DeviceRunner:
    """Runs an engine on a device.

    Inputs of another shape than the first get contexts and buffers of their own, in the profile that fits them best.

    Args:
        engine: The engine.
        shapes: The first input shapes by name.
        options: How the engine is run.
        delay_ms: How much longer a computation takes in a block, in ms.
        state: The outputs and inputs that are state.

    Raises:
        InputError: No profile of the engine covers the shapes.
        BackendError: There is not enough memory.
    """

    def __init__(
        self,
        engine: DeviceEngine,
        shapes: Mapping[str, Shape],
        options: PipelineOptions,
        delay_ms: float = 0.0,
        state: State = (),
    ) -> None:
        self._engine, self._options, self._delay_ms = engine, options, delay_ms
        aliases = (StatePair(output, name) for output, name in engine.aliases.items())
        self._state = tuple(dict.fromkeys((*state, *aliases)))
        read = {t.name for t in engine.inputs if t.on_host} | {pair.input for pair in self._state}
        linear = all(t.format == LINEAR for t in (*engine.inputs, *engine.outputs))
        self._read_on_host = read if linear else {t.name for t in engine.inputs}  # the host packs other formats
        engine.device.activate()
        self._groups: OrderedDict[Any, LaneGroup] = OrderedDict()
        self._copier = Copier()
        self._current: LaneGroup | None = None
        self._has_inputs = False
        engine.select_profile(shapes)
        self.inputs = tuple(dataclasses.replace(t, shape=tuple(shapes[t.name])) for t in engine.inputs)
        self.outputs = engine.outputs
        # The values of inputs that the host reads decide shapes, and come only with the first inputs.
        if not any(t.on_host for t in engine.inputs):
            self._set_current(self._lane_group(shapes, {}))

    def _set_current(self, group: LaneGroup) -> None:
        self._current, self.inputs, self.outputs = group, group.inputs, group.outputs

    def _lane_group(self, shapes: Mapping[str, Shape], values: Arrays) -> LaneGroup:
        """Return the lane group of these shapes and values; create it if it does not exist."""
        key = (tuple(sorted(shapes.items())), tuple((name, values[name].tobytes()) for name in sorted(values)))
        if key not in self._groups:
            while len(self._groups) >= MAX_SHAPES:
                self._groups.popitem(last=False)[1].close()
            self._groups[key] = LaneGroup(self._engine, shapes, values, self._options, self._delay_ms, self._state)
        self._groups.move_to_end(key)
        return self._groups[key]

    def _prepare(self, inputs: Arrays) -> tuple[Arrays, LaneGroup]:
        """Return the checked inputs and the lane group that runs them; raise InputError if they do not fit."""
        checked = check_inputs(inputs, self._engine.inputs, self._read_on_host)
        shapes = {name: tuple(array.shape) for name, array in checked.items()}
        values = {t.name: checked[t.name] for t in self._engine.inputs if t.on_host}
        return checked, self._lane_group(shapes, values)

    @property
    def proof(self) -> Mapping[str, str]:
        """How the engine really runs, as text by name; see `Runner.proof`."""
        options, group = self._options, self._current
        return {
            "graph": (group.graph if group else "") or "not yet",
            "contexts": str(options.contexts),
            "depth": "1" if self._state else str(options.depth),
            "pinned": "yes" if options.pinned else "no",
            "transfers": "exposed" if options.expose_dma else "yes" if options.transfers else "no",
            "wait": "spin" if options.spin_wait else "sleep",
            "l2": "cold" if options.cold_l2 else "warm",
            **self._engine.proof,
            **({"state": f"{len(self._state)} tensors stay on the device"} if self._state else {}),
            **({"profile": str(group.profile)} if group else {}),
            **({"events_us": f"{group.timer.event_cost_ms * 1000:.2f}"} if group and group.timer.event_cost_ms else {}),
        }

    def infer(self, inputs: Arrays, allocate_outputs: OutputAllocator | None = None) -> Arrays:
        """Run one inference; see `Runner.infer`.

        The first inference at a shape is the backend's own call; from the second on, a graph is launched.
        """
        checked, group = self._prepare(inputs)
        slot = group.slots[0]
        if slot.used:
            group.capture(checked, self._copier)
        self._start(slot, checked, allocate_outputs)
        outputs = slot.fetch()
        return {**outputs, **slot.lane.state.read()} if self._state else outputs

    def _start(self, slot: Slot, checked: Arrays, allocate_outputs: OutputAllocator | None) -> None:
        """Start an inference in a slot, without copies on the host if the caller has an allocator."""
        slot.used = True
        slot.unfix_output_shapes()
        if self._state:
            slot.lane.state.write(checked)
        if allocate_outputs is not None and slot.buffers.inputs.linear and slot.buffers.outputs.linear:
            slot.start_in_place(checked, allocate_outputs)
            return
        slot.buffers.write_inputs(checked, self._copier)
        slot.start()

    def stream(self, batches: Iterable[Arrays], postprocess: Callable[[Arrays], Any] | None = None) -> Iterator[Any]:
        """Run the batches through the overlapped pipeline and yield their outputs in order; see `Runner.stream`."""
        outputs = self.serve((batch, None) for batch in batches)
        if postprocess is None:
            return outputs
        return map_in_order(outputs, postprocess, self._options.postprocess_threads)

    def serve(self, requests: Iterable[Request]) -> Iterator[Arrays]:
        """Run the requests through the overlapped pipeline and yield their outputs in order; see `Runner.serve`.

        An exception from `requests`, or from starting an inference, is raised after the outputs before it.
        """
        carries, pending = peek(self._state, requests)
        if carries:
            yield from self._serve_steps(pending)
            return
        in_flight = deque[Slot]()
        failure: Exception | None = None
        group: LaneGroup | None = None
        turn = 0
        try:
            while failure is None:
                try:
                    inputs, allocate_outputs = next(pending)
                    checked, next_group = self._prepare(inputs)
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001 - raised below, after the outputs before it
                    failure = error
                    break
                if next_group is not group:
                    while in_flight:
                        yield in_flight.popleft().fetch()
                    group, slots, turn = next_group, next_group.slots, 0
                if len(in_flight) == len(slots):
                    yield in_flight.popleft().fetch()
                slot = slots[turn % len(slots)]
                turn += 1
                try:
                    group.capture(checked, self._copier)
                    self._start(slot, checked, allocate_outputs)
                    in_flight.append(slot)
                except Exception as error:  # noqa: BLE001 - raised below, after the outputs before it
                    failure = error
            while in_flight:
                yield in_flight.popleft().fetch()
            if failure is not None:
                raise failure
        finally:
            for slot in in_flight:
                slot.wait()

    def _serve_steps(self, requests: Iterable[Request]) -> Iterator[Arrays]:
        """Run each request on the state that the one before it left on the device; the first one on zeros."""
        given = without_state(self._engine.inputs, self._state)
        state = {t.name: t.shape for t in self.inputs if t not in without_state(self.inputs, self._state)}
        lane: Lane | None = None
        for inputs, _allocate_outputs in requests:
            check_left_out(inputs, self._state)
            checked = check_inputs(inputs, given, {tensor.name for tensor in given})
            shapes = {name: tuple(array.shape) for name, array in checked.items()}
            values = {tensor.name: checked[tensor.name] for tensor in given if tensor.on_host}
            group = self._lane_group({**shapes, **state}, values)
            group.capture(checked, self._copier)
            if lane is None:
                lane = group.lanes[0]
                lane.state.clear()
            elif lane is not group.lanes[0]:
                raise InputError("stream: all batches must have the same shapes if they leave the state out")
            slot = lane.slots[0]
            slot.used = True
            slot.unfix_output_shapes()
            slot.buffers.write_inputs(checked, self._copier)
            slot.start()
            lane.state.carry()
            yield slot.fetch()

    def set_inputs(self, inputs: Arrays) -> None:
        """Store the inputs on which `block`, `throughput`, `profile` and `memory` run, and run them in every slot.

        The first call at a shape also measures the cost of events.
        """
        checked, group = self._prepare(inputs)
        group.capture(checked, self._copier)
        for slot in group.slots:
            self._start(slot, checked, None)
            slot.fetch()
            slot.fix_output_shapes()
        if group.timer.event_cost_ms is None:
            group.timer.calibrate()
        self._has_inputs = True
        self._set_current(group)

    def _group_with_inputs(self, purpose: str) -> LaneGroup:
        """Return the lane group whose inputs are set. Raises InputError if there is none."""
        if self._current is None or not self._has_inputs:
            raise InputError(f"{purpose}: the runner has no inputs: call set_inputs first")
        return self._current

    def block(self, count: int) -> Mapping[str, tuple[float, ...]]:
        """Time `count` inferences; see `BlockTimer.block`."""
        return self._group_with_inputs("block").timer.block(count)

    def throughput(self, seconds: float) -> float:
        """Return the inferences per second of the overlapped pipeline; see `steady_throughput`."""
        return steady_throughput(self._group_with_inputs("throughput").lanes, seconds)

    def profile(self, runs: int) -> LayerProfile:
        """Return the time of each layer; see `layer_profile`."""
        return layer_profile(self._engine, self._group_with_inputs("profile").lanes[0], runs)

    def memory(self) -> Mapping[str, int]:
        """Return the device memory of the engine in bytes by name; see `memory_bytes`."""
        return memory_bytes(self._engine, self._group_with_inputs("memory").lanes)

    def close(self) -> None:
        """Free the contexts and buffers of every shape."""
        self._copier.close()
        while self._groups:
            self._groups.popitem()[1].close()
