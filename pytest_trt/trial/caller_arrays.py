"""Take a test's arrays: check them, and share those of other libraries without a copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.arrays import refuse_nan
from pytest_trt.engine.dlpack import DeviceArray, take_arrays
from pytest_trt.engine.state import State, check_write_index
from pytest_trt.errors import InputError
from pytest_trt.measure.probe.input_ring import InputSet
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays


def take_inputs(inputs: Any) -> Arrays:
    """Return the arrays of a query as the engine takes them; those of other libraries as they are, without a copy.

    Raises:
        InputError: There is NaN among them, or something that is no array. The arrays of `Case.inputs` are not
            searched for NaN, which takes too long.
    """
    if isinstance(inputs, InputSet):
        return inputs
    taken: Arrays = take_arrays(inputs)
    refuse_nan(taken)
    return taken


def take_batches(
    batches: Iterable[Any], spec: EngineSpec, state: State, shapes: Mapping[str, Shape]
) -> Iterator[Arrays]:
    """Yield the arrays of each query. Raise as `take_inputs` and `check_written`."""
    for batch in batches:
        taken = take_inputs(batch)
        check_written(taken, spec, state, shapes)
        yield taken


def check_written(inputs: Arrays, spec: EngineSpec, state: State, shapes: Mapping[str, Shape]) -> None:
    """Raise InputError if a write index among the inputs lies beyond the state. Arrays on the GPU are not read."""
    arrays = {name: inputs[name] for name in spec.write_index if getattr(inputs.get(name), "size", 0)}
    if written := {name: (array.min(), array.max()) for name, array in arrays.items()}:
        check_write_index(spec, state, shapes, written)


def take_measured_inputs(inputs: Any, spec: EngineSpec, state: State, shapes: Mapping[str, Shape]) -> Arrays:
    """Return the arrays that a measurement runs on, which are copied.

    Raises:
        InputError: There is NaN among them, or something that is no array, or an array on the GPU; or a write index
            lies beyond the state.
    """
    taken: Arrays = take_arrays(inputs)
    refuse_nan(taken)
    for name, array in taken.items():
        if isinstance(array, DeviceArray):
            raise InputError(f"measure(): input {name!r} is on the GPU: copy it to the host, such as with .cpu()")
    check_written(taken, spec, state, shapes)
    return taken
