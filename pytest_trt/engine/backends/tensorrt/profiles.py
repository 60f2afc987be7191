"""Optimisation profiles: the shapes, and the values of shape tensors, that an engine is built for."""

from __future__ import annotations

from typing import Any

from pytest_trt.engine.backends.base import BuildJob
from pytest_trt.errors import BuildError
from pytest_trt.spec.engine_spec import EngineSpec


def add_profiles(builder: Any, network: Any, config: Any, job: BuildJob) -> None:
    inputs = {tensor.name: tensor for tensor in map(network.get_input, range(network.num_inputs))}
    read_by_host = [tensor for tensor in inputs.values() if tensor.is_shape_tensor]
    later = [tensor for tensor in map(network.get_output, range(network.num_outputs)) if -1 in tuple(tensor.shape)]
    for ranges in job.profiles or (({},) if read_by_host or later else ()):  # else 8.6 tells no shapes at all
        profile = builder.create_optimization_profile()
        for name, (low, best, high) in ranges.items():
            if name not in inputs:
                raise BuildError(f"the model, parsed, has no input {name!r}: it has {', '.join(inputs)}")
            if -1 in tuple(inputs[name].shape):
                profile.set_shape(name, low, best, high)
        for tensor in read_by_host:
            profile.set_shape_input(tensor.name, *_shape_values(tensor, job.spec))
        if config.add_optimization_profile(profile) < 0:
            raise BuildError(f"TensorRT refuses the profile {dict(ranges)}: give min <= opt <= max for every input")


def _shape_values(tensor: Any, spec: EngineSpec) -> tuple[list[int], list[int], list[int]]:
    """The (min, opt, max) values of a shape tensor, from the range that inputs are drawn from."""
    if tensor.name not in spec.input_ranges:
        message = f"input {tensor.name!r} is read by the host to know shapes: give its values a range, input_ranges"
        raise BuildError(f"{message}={{{tensor.name!r}: (low, high)}}")
    low, high = map(int, spec.input_ranges[tensor.name])
    count = 1
    for size in tensor.shape:
        count *= size
    return [low] * count, [(low + high) // 2] * count, [high] * count
