"""Arrays from a user, checked against what the engine takes, before anything is copied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_trt.core.validation import suggest
from pytest_trt.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_trt.engine.tensors import Arrays, Tensor


def check_inputs(inputs: Arrays, tensors: Sequence[Tensor]) -> Arrays:
    """`inputs` in the engine's order, contiguous. Raises InputError, naming the input, for a name that is unknown or
    missing, a value that is no array, and a dtype or shape that is not the engine's; nothing is cast or reshaped, but
    for the order of bytes."""
    import numpy as np

    names = [tensor.name for tensor in tensors]
    for name in inputs:
        if name not in names:
            hint = suggest(name, names, f"it has {', '.join(map(repr, names))}")
            raise InputError(f"the engine has no input {name!r}: {hint}")
    ready = {}
    for tensor in tensors:
        if tensor.name not in inputs:
            raise InputError(f"input {tensor.name!r} is missing: give an array {_expected(tensor)}")
        array = inputs[tensor.name]
        if not isinstance(array, np.ndarray):
            raise InputError(
                f"input {tensor.name!r} is a {type(array).__name__}: give a numpy array {_expected(tensor)}"
            )
        if array.dtype.name != tensor.dtype:
            raise InputError(f"input {tensor.name!r} is {array.dtype.name}: it must be {tensor.dtype} (astype it)")
        if not tensor.accepts(array.shape):
            raise InputError(f"input {tensor.name!r} has the shape {array.shape}: it must be {tensor.shape}")
        as_it_is = array.dtype.isnative and array.flags.c_contiguous
        # not ascontiguousarray, which makes a scalar 1-d
        ready[tensor.name] = array if as_it_is else np.asarray(array, array.dtype.newbyteorder("="), order="C")
    return ready


def refuse_nan(inputs: Arrays) -> None:
    """Raise InputError where inputs are no arrays of numbers by name, or a float input holds NaN: nothing measured or
    compared on it would mean anything."""
    import numpy as np

    if not isinstance(inputs, Mapping):
        raise InputError(f"inputs are a {type(inputs).__name__}: give a dict of numpy arrays by the inputs' names")
    for name, array in inputs.items():
        if not isinstance(array, np.ndarray):
            raise InputError(f"input {name!r} is a {type(array).__name__}: give a numpy array (numpy.asarray)")
        if array.dtype.hasobject or array.dtype.kind in "SUmM":
            raise InputError(f"input {name!r} is an array of {array.dtype.name}: give numbers")
        if _has_nan(array):
            missing = int(np.isnan(array).sum())
            raise InputError(f"input {name!r} holds {missing} NaN of {array.size} values: feed numbers")


def _has_nan(array: NDArray[Any]) -> bool:
    """By the maximum, which passes NaN on and is several times faster than asking each value; numpy has no fast one of
    half precision, whose bits tell."""
    import numpy as np

    if array.dtype.kind != "f" or not array.size:
        return False
    if array.dtype == np.float16:
        return bool((array.view(np.uint16) & 0x7FFF).max() > 0x7C00)
    return bool(np.isnan(array.max()))


def _expected(tensor: Tensor) -> str:
    return f"of {tensor.dtype} with the shape {tensor.shape}"
