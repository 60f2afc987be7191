"""Measure layer times and device memory, in passes of their own that do not disturb the latency measurement."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from pytest_trt.core.records import Layer, LayerProfile
from pytest_trt.engine.backends.cuda.tracker import AllocationTracker
from pytest_trt.engine.backends.device_engine import SelfProfiling
from pytest_trt.engine.backends.tensorrt.layers import parse_layers
from pytest_trt.engine.backends.tensorrt.memory import counting_allocator
from pytest_trt.engine.tensors import numpy_dtype
from pytest_trt.pipeline.context_io import ContextIO
from pytest_trt.pipeline.lane import Lane

if TYPE_CHECKING:
    from pytest_trt.engine.backends.device_engine import DeviceEngine
    from pytest_trt.engine.backends.tensorrt.context import DeviceContext
    from pytest_trt.engine.backends.tensorrt.load import DeviceEngine as TensorRTEngine
    from pytest_trt.engine.tensors import Arrays

WARM_UP = 3
"""Inferences of a layer profile that are not counted."""


def _prepare_context(context: DeviceContext, engine: TensorRTEngine, lane: Lane) -> None:
    """Make a new context use the buffers and the inputs of a lane's first slot."""
    slot, io = lane.slots[0], lane.io
    shapes = {tensor.name: tensor.shape for tensor in io.inputs}
    values = {t.name: slot.buffers.arrays[t.name] for t in io.inputs if t.on_host}
    ContextIO.from_context(context, engine, io.profile, shapes, values)
    data_dependent = {region.tensor.name for region in io.output_layout.data_dependent}
    for name, address in (*slot.buffers.addresses(), *lane.state.addresses()):
        if name in data_dependent:
            context.set_output_allocator(name, lambda _nbytes, address=address: address, lambda _shape: None)  # type: ignore[misc]
        else:
            context.set_address(name, address)


def layer_profile(engine: DeviceEngine, lane: Lane, runs: int) -> LayerProfile:
    """Return the median time of each layer in ms.

    A TensorRT engine runs by its own call with the profiler attached, since a CUDA graph reports no layers; the layers
    of a graph are the same. Layers that the profiler reports but the inspector does not (reformats, in some versions)
    are kept.

    Args:
        engine: The engine.
        lane: A lane of the engine, whose inputs are set.
        runs: The number of inferences to measure, after the warm-up.
    """
    names = tuple(t.name for t in (*engine.inputs, *engine.outputs))
    if isinstance(engine, SelfProfiling):
        return LayerProfile(engine.profile(_current_inputs(engine, lane), runs), runs, names)
    tensorrt = cast("TensorRTEngine", engine)
    times: dict[str, list[float]] = {}
    with tensorrt.create_context(lane.io.profile, lane.compute) as context:
        _prepare_context(context, tensorrt, lane)
        context.profile_layers(lambda name, ms: times.setdefault(name, []).append(ms))
        for _ in range(runs + WARM_UP):
            context.enqueue(lane.compute)
            lane.compute.synchronize()
        inspected = tensorrt.inspect(context)
    known = {layer.name: layer for layer in parse_layers(inspected)}
    # A layer in a loop is reported several times in a run; its time in the run is the sum of these.
    medians = {name: _median_per_run(samples, runs + WARM_UP) for name, samples in times.items()}
    layers = tuple(dataclasses.replace(known.get(name, Layer(name)), ms=ms) for name, ms in medians.items())
    return LayerProfile(layers, runs, names, inspected)


def _current_inputs(engine: DeviceEngine, lane: Lane) -> Arrays:
    """Return copies of the inputs of a lane's first slot; zeros for state, which is on the device only."""
    import numpy as np

    known = lane.slots[0].buffers.arrays
    return {
        t.name: known[t.name].copy() if t.name in known else np.zeros(lane.context.shape(t.name), numpy_dtype(t.dtype))
        for t in engine.inputs
    }


def _median_per_run(samples: Sequence[float], runs: int) -> float:
    """Return the median over the runs after the warm-up; a run has one or more samples."""
    per_run = max(1, len(samples) // runs)
    sums = [sum(samples[i : i + per_run]) for i in range(0, len(samples), per_run)]
    return statistics.median(sums[WARM_UP:] or sums)


def memory_bytes(engine: DeviceEngine, lanes: Sequence[Lane]) -> Mapping[str, int]:
    """Return the device memory that the engine needs, in bytes by name.

    The plan is loaded once more with an allocator that counts its allocations. The figures are therefore exact,
    whatever else uses the device.

    Returns:
        `weights`: what the loaded engine holds; `context`: what all contexts hold after an inference; `io`: all buffer
        sets; `peak`: the largest sum of all these at any time.
    """
    io = sum(lane.device_bytes for lane in lanes)
    if isinstance(engine, SelfProfiling):
        return engine.memory({t.name: lanes[0].context.shape(t.name) for t in engine.inputs}, len(lanes), io)
    tensorrt = cast("TensorRTEngine", engine)
    tracker = AllocationTracker()
    try:
        again = tensorrt.with_allocator(counting_allocator(tensorrt.trt, tracker))
        try:
            weights = tracker.current_bytes
            contexts: list[DeviceContext] = []
            try:
                for lane in lanes:
                    contexts.append(again.create_context(lane.io.profile, lane.compute))
                    _prepare_context(contexts[-1], again, lane)
                    contexts[-1].enqueue(lane.compute)
                    lane.compute.synchronize()
                return {
                    "weights": weights,
                    "context": tracker.current_bytes - weights,
                    "io": io,
                    "peak": tracker.peak_bytes + io,
                }
            finally:
                for context in contexts:
                    context.close()
        finally:
            again.close()
    finally:
        tracker.close()
