"""What is measured in a pass of its own, so that it does not disturb latency: layers and memory."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_trt.core.records import Layer, LayerProfile
from pytest_trt.engine.backends.tensorrt.layers import parse_layers
from pytest_trt.engine.backends.tensorrt.memory import AllocationTracker, counting_allocator
from pytest_trt.pipeline.lane import ContextIO, Lane

if TYPE_CHECKING:
    from pytest_trt.engine.backends.tensorrt.load import DeviceContext, DeviceEngine

WARM_UP = 3


def _prepare_context(context: DeviceContext, engine: DeviceEngine, lane: Lane) -> None:
    """A second context on the buffers of a lane's first slot, whose inputs are in place."""
    slot, io = lane.slots[0], lane.io
    shapes = {tensor.name: tensor.shape for tensor in io.inputs}
    values = {t.name: slot.buffers.arrays[t.name] for t in io.inputs if t.on_host}
    ContextIO.of(context, engine, io.profile, shapes, values)
    unknown = {region.tensor.name: region for region in io.output_layout.data_dependent}
    for name, address in slot.buffers.addresses():
        if name in unknown:
            context.set_output_allocator(name, lambda _nbytes, address=address: address, lambda _shape: None)  # type: ignore[misc]
        else:
            context.set_address(name, address)


def layer_profile(engine: DeviceEngine, lane: Lane, runs: int) -> LayerProfile:
    """Per-layer times in ms, medians over `runs` inferences, by TensorRT's own call with its profiler on: the layers of
    a graph are the same ones. Names that the inspector does not have (reformats of some versions) are kept too."""
    times: dict[str, list[float]] = {}
    with engine.create_context(lane.io.profile, lane.compute) as context:
        _prepare_context(context, engine, lane)
        context.profile_layers(lambda name, ms: times.setdefault(name, []).append(ms))
        for _ in range(runs + WARM_UP):
            context.enqueue(lane.compute)
            lane.compute.synchronize()
        inspected = engine.inspect(context)
    known = {layer.name: layer for layer in parse_layers(inspected)}
    # a layer in a loop reports several times a run: what counts is the time of all its turns
    medians = {name: _median_per_run(samples, runs + WARM_UP) for name, samples in times.items()}
    layers = tuple(dataclasses.replace(known.get(name, Layer(name)), ms=ms) for name, ms in medians.items())
    return LayerProfile(layers, runs, tuple(t.name for t in (*engine.inputs, *engine.outputs)), inspected)


def _median_per_run(samples: Sequence[float], runs: int) -> float:
    turns = max(1, len(samples) // runs)
    sums = [sum(samples[i : i + turns]) for i in range(0, len(samples), turns)]
    return statistics.median(sums[WARM_UP:] or sums)


def memory_bytes(engine: DeviceEngine, lanes: Sequence[Lane]) -> Mapping[str, int]:
    """Bytes by name, exact whatever else is on the device: the plan is loaded once more with an allocator that counts.

    `weights` (what loading left), `context` (all contexts, after a run), `io` (all buffer sets), and `peak`, the most
    that all of it took at a time.
    """
    tracker = AllocationTracker()
    io = sum(lane.device_bytes for lane in lanes)
    try:
        again = engine.with_allocator(counting_allocator(engine.trt, tracker))
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
