"""Take a test's arrays: check them, and share those of other libraries without a copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from pytest_trt.engine.arrays import refuse_nan
from pytest_trt.engine.dlpack import DeviceArray, take_arrays
from pytest_trt.errors import InputError
from pytest_trt.measure.probe.input_ring import InputSet

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


def take_batches(batches: Iterable[Any]) -> Iterator[Arrays]:
    """Yield the arrays of each query. Raise as `take_inputs`."""
    for batch in batches:
        yield take_inputs(batch)


def take_measured_inputs(inputs: Any) -> Arrays:
    """Return the arrays that a measurement runs on, which are copied.

    Raises:
        InputError: There is NaN among them, or something that is no array, or an array on the GPU.
    """
    taken: Arrays = take_arrays(inputs)
    refuse_nan(taken)
    for name, array in taken.items():
        if isinstance(array, DeviceArray):
            raise InputError(f"measure(): input {name!r} is on the GPU: copy it to the host, such as with .cpu()")
    return taken
