"""Check a user's arrays against the inputs of an engine before anything is copied."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_trt.core.validation import suggest
from pytest_trt.engine.dlpack import DeviceArray
from pytest_trt.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_trt.engine.tensors import Arrays, Tensor


def check_inputs(inputs: Arrays, tensors: Sequence[Tensor], read_on_host: Collection[str] | None = None) -> Arrays:
    """Return contiguous arrays in native byte order, in the order of `tensors`.

    Nothing is cast or reshaped.

    Args:
        inputs: The arrays by name; `DeviceArray` for arrays on the GPU.
        tensors: The inputs of the engine.
        read_on_host: The inputs that may not be on the GPU; None for all of them.

    Raises:
        InputError: A name is unknown or missing, a value is not an array, or its dtype or shape does not fit the
            engine. The message names the input.
    """
    import numpy as np

    names = [tensor.name for tensor in tensors]
    for name in inputs:
        if name not in names:
            hint = suggest(name, names, f"it has {', '.join(map(repr, names))}")
            raise InputError(f"the engine has no input {name!r}: {hint}")
    checked = {}
    for tensor in tensors:
        if tensor.name not in inputs:
            raise InputError(f"input {tensor.name!r} is missing: give an array {_expected(tensor)}")
        array = inputs[tensor.name]
        on_gpu = isinstance(array, DeviceArray)
        if not (on_gpu or isinstance(array, np.ndarray)):
            type_name = type(array).__name__
            raise InputError(f"input {tensor.name!r} is of type {type_name}: give a numpy array {_expected(tensor)}")
        if on_gpu and (read_on_host is None or tensor.name in read_on_host):
            raise InputError(
                f"input {tensor.name!r} is on the GPU, but is read on the host: copy it there, such as with .cpu()"
            )
        if array.dtype.name != tensor.dtype:
            raise InputError(f"input {tensor.name!r} is {array.dtype.name}: it must be {tensor.dtype} (astype it)")
        if not tensor.accepts(array.shape):
            raise InputError(f"input {tensor.name!r} has the shape {array.shape}: it must be {tensor.shape}")
        if not (on_gpu or (array.dtype.isnative and array.flags.c_contiguous)):
            # ascontiguousarray would turn a scalar into an array of one dimension
            array = np.asarray(array, array.dtype.newbyteorder("="), order="C")
        checked[tensor.name] = array
    return checked


def refuse_nan(inputs: Arrays) -> None:
    """Raise InputError unless `inputs` maps names to arrays of numbers without NaN and masked values.

    With NaN among the inputs, neither a measurement nor a comparison of outputs is valid. Arrays on the GPU are not
    searched.
    """
    import numpy as np

    if not isinstance(inputs, Mapping):
        raise InputError(
            f"the inputs are of type {type(inputs).__name__}: give a dict of numpy arrays by the inputs' names"
        )
    for name, array in inputs.items():
        if isinstance(array, DeviceArray):
            continue
        if not isinstance(array, np.ndarray):
            raise InputError(f"input {name!r} is of type {type(array).__name__}: give a numpy array (numpy.asarray)")
        refuse_masked(f"input {name!r}", array)
        if array.dtype.hasobject or array.dtype.kind in "SUmM":
            raise InputError(f"input {name!r} is an array of {array.dtype.name}: give numbers")
        if _has_nan(array):
            count = int(np.isnan(array).sum())
            raise InputError(f"input {name!r} holds {count} NaN of {array.size} values: give numbers")


def refuse_masked(what: str, array: Any) -> None:
    """Raise InputError if an array has masked values: an engine would read what lies under the mask."""
    import numpy as np

    if np.ma.is_masked(array):
        raise InputError(f"{what} has masked values, which no engine can read: fill them, such as with .filled(0)")


def _has_nan(array: NDArray[Any]) -> bool:
    """Return whether an array contains NaN.

    The maximum of an array with NaN is NaN, and computing it is several times faster than testing each value. numpy
    has no fast maximum for float16, so its bits are compared instead.
    """
    import numpy as np

    if array.dtype.kind != "f" or not array.size:
        return False
    if array.dtype == np.float16:
        return bool((array.view(np.uint16) & 0x7FFF).max() > 0x7C00)
    return bool(np.isnan(array.max()))


def _expected(tensor: Tensor) -> str:
    return f"of {tensor.dtype} with the shape {tensor.shape}"
