"""Add optimisation profiles: the shapes, and the values of shape tensors, for which an engine is built."""

from __future__ import annotations

from typing import Any

from pytest_trt.engine.backends.base import BuildJob
from pytest_trt.errors import BuildError
from pytest_trt.spec.engine_spec import EngineSpec


def add_profiles(builder: Any, network: Any, config: Any, job: BuildJob) -> None:
    """Add the profiles of `job` to the builder's configuration.

    Raises:
        BuildError: A profile names an unknown input or is rejected by TensorRT, or a shape tensor has no range.
    """
    inputs = {tensor.name: tensor for tensor in map(network.get_input, range(network.num_inputs))}
    read_by_host = [tensor for tensor in inputs.values() if tensor.is_shape_tensor]
    outputs = map(network.get_output, range(network.num_outputs))
    has_dynamic_output = any(-1 in tuple(tensor.shape) for tensor in outputs)
    # Without any profile, an engine of TensorRT 8.6 with such an output reports no shapes at all.
    for ranges in job.profiles or (({},) if read_by_host or has_dynamic_output else ()):
        profile = builder.create_optimization_profile()
        for name, (low, best, high) in ranges.items():
            if name not in inputs:
                raise BuildError(f"the parsed model has no input {name!r}: it has {', '.join(inputs)}")
            if -1 in tuple(inputs[name].shape):
                profile.set_shape(name, low, best, high)
        for tensor in read_by_host:
            profile.set_shape_input(tensor.name, *_shape_values(tensor, job.spec))
        if config.add_optimization_profile(profile) < 0:
            raise BuildError(f"TensorRT rejects the profile {dict(ranges)}: give min <= opt <= max for every input")


def _shape_values(tensor: Any, spec: EngineSpec) -> tuple[list[int], list[int], list[int]]:
    """Return the (min, opt, max) values of a shape tensor, from the range that the spec gives for the input."""
    if tensor.name not in spec.input_ranges:
        raise BuildError(
            f"input {tensor.name!r} is read by the host because its values decide shapes: give them a range with "
            f"input_ranges={{{tensor.name!r}: (low, high)}}"
        )
    low, high = map(int, spec.input_ranges[tensor.name])
    count = 1
    for size in tensor.shape:
        count *= size
    return [low] * count, [(low + high) // 2] * count, [high] * count
