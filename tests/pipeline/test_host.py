"""Test that a host engine which times its GPU adds that time to a block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from pytest_trt.engine.tensors import Tensor
from pytest_trt.pipeline.host import HostRunner
from pytest_trt.spec.declaration import PipelineOptions


class Doubling:
    """An engine that doubles its input on the host."""

    kind = "host"
    inputs = (Tensor("x", "float32", (-1,)),)
    outputs = (Tensor("y", "float32", (-1,)),)
    proof: Mapping[str, str] = {}

    def run(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"y": 2 * inputs["x"]}

    def bind_inputs(self, inputs: Mapping[str, Any]) -> Callable[[], None]:
        return lambda: None


class OnGpu(Doubling):
    """The same, with a GPU that takes as many ms as the input has elements."""

    def device_times(self, inputs: Mapping[str, Any], count: int) -> tuple[float, ...]:
        return (float(inputs["x"].size),) * count


class WithoutGpu(Doubling):
    """The same on a machine without a GPU."""

    def device_times(self, inputs: Mapping[str, Any], count: int) -> tuple[float, ...]:
        return ()


@pytest.mark.parametrize(("engine", "expected"), [(OnGpu, (3.0,) * 5), (WithoutGpu, None), (Doubling, None)])
def test_block_has_the_time_of_the_gpu_if_there_is_one(engine: type, expected: tuple[float, ...] | None) -> None:
    runner = HostRunner(engine(), {"x": (3,)}, PipelineOptions())
    runner.set_inputs({"x": np.ones(3, np.float32)})
    times = runner.block(5)
    assert times.get("gpu_ms") == expected
    assert len(times["ms"]) == 5
