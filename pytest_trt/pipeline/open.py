"""Open the runner that fits an engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from pytest_trt.engine.backends.base import Engine, HostEngine
from pytest_trt.engine.backends.device_engine import SelfProfiling
from pytest_trt.engine.state import kept_state, prompt_state, resolve_state
from pytest_trt.errors import BackendError
from pytest_trt.pipeline.generation import Phase, StepRunner
from pytest_trt.pipeline.runner import Runner
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.engine.backends.device_engine import DeviceEngine


def open_runner(
    engine: Engine,
    shapes: Mapping[str, Shape],
    options: PipelineOptions,
    delay_ms: float = 0.0,
    state: Mapping[str, str] | None = None,
) -> Runner:
    """Return the runner for the kind of `engine`, at the given input shapes.

    Args:
        engine: The engine.
        shapes: The input shapes by name.
        options: How the engine is run.
        delay_ms: How much longer an inference takes in a block, in ms: a known slowdown.
        state: The outputs that become inputs of the next step (`EngineSpec.state`).

    Raises:
        ModelError: The state does not fit the engine.
        InputError: The shapes do not fit the engine.
        BackendError: There is not enough memory, or the engine cannot be run with these options.
    """
    pairs = resolve_state(state or {}, engine.inputs, engine.outputs)
    # Each runner is imported only when it is used: a process without a GPU does not load the device pipeline.
    if engine.kind == "host":
        from pytest_trt.pipeline.host import HostRunner

        return HostRunner(cast(HostEngine, engine), shapes, options, delay_ms, pairs)
    from pytest_trt.pipeline.device import DeviceRunner

    return DeviceRunner(cast("DeviceEngine", engine), shapes, options, delay_ms, pairs)


def open_steps(
    prompt_engine: Engine,
    engine: Engine,
    reading: Phase,
    decoding: Phase,
    state: Mapping[str, str],
    options: PipelineOptions,
) -> StepRunner:
    """Return what runs the steps of a generation.

    Args:
        prompt_engine: The engine that reads the prompt.
        engine: The engine that runs the steps; it may be the same one.
        reading: How the prompt is read.
        decoding: How the steps are run.
        state: The outputs that become inputs of the next step (`EngineSpec.state`).
        options: `cuda_graph` applies.

    Raises:
        ModelError: The state does not fit an engine.
        BackendError: There is not enough memory, or the backend cannot run steps of these shapes.
    """
    pairs = resolve_state(state, engine.inputs, engine.outputs)
    before = prompt_state(pairs, prompt_engine.inputs, prompt_engine.outputs)
    kept = kept_state(state, pairs, engine.inputs, prompt_engine.outputs)
    if engine.kind == "host":
        from pytest_trt.pipeline.host_steps import HostSteps

        host, prompt_host = cast(HostEngine, engine), cast(HostEngine, prompt_engine)
        return HostSteps(prompt_host, host, reading, decoding, before, pairs, kept)
    from pytest_trt.pipeline.device_steps import DeviceSteps

    if isinstance(engine, SelfProfiling) and decoding.first != decoding.last:
        raise BackendError(
            "generate: ONNX Runtime on a GPU binds the outputs of a new shape only after a run, so that the steps of a "
            "growing cache cannot be timed: use a cache of a fixed capacity, or another backend"
        )
    device, prompt_device = cast("DeviceEngine", engine), cast("DeviceEngine", prompt_engine)
    return DeviceSteps(prompt_device, device, reading, decoding, before, pairs, kept, options)
