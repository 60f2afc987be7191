"""Open the runner that fits an engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from pytest_trt.engine.backends.base import Engine, HostEngine
from pytest_trt.engine.state import resolve_state
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
