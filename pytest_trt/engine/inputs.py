"""Generate inputs from a seed: the same on every machine and with every version of numpy."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.core.validation import suggest
from pytest_trt.engine.tensors import numpy_dtype
from pytest_trt.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_trt.engine.tensors import Tensor

INTEGER_RANGE = (0, 1)
"""The default range of integers. 0 and 1 are valid as an index, a token, a length, a mask or a class in nearly every
model; a wider range would exceed the bounds of a Gather or an embedding."""

NORMAL_LEVELS = 4096
"""How many different values the generated normal numbers have. The outermost are +-3.67."""


def generate_inputs(
    tensors: Iterable[Tensor], seed: int, ranges: Mapping[str, tuple[float, float]]
) -> dict[str, NDArray[np.generic]]:
    """Return an array for each of `tensors`.

    By default, floats are standard normal, integers are uniform in INTEGER_RANGE, and bools are uniform. Each input has
    its own generator, which is seeded by `seed` and the input's name, so the order of the inputs does not matter. The
    generator is numpy's RandomState, whose streams are frozen (NEP 19), so stored outputs stay comparable.

    Args:
        tensors: The inputs, with concrete shapes.
        seed: The seed of all inputs.
        ranges: By input name, the lowest and highest value of a uniform distribution. Integers include both.

    Raises:
        InputError: A range names no input or exceeds the dtype, a shape is dynamic, or arrays of a dtype cannot be
            generated.
    """
    tensors = tuple(tensors)
    names = [tensor.name for tensor in tensors]
    for name in ranges:
        if name not in names:
            hint = suggest(name, names, f"there are {', '.join(map(repr, names)) or 'none'}")
            raise InputError(f"input_ranges names {name!r}, which is no input: {hint}")
    return {tensor.name: _generate(tensor, seed, ranges.get(tensor.name)) for tensor in tensors}


def _generate(tensor: Tensor, seed: int, limits: tuple[float, float] | None) -> NDArray[np.generic]:
    import numpy as np

    if any(size < 0 for size in tensor.shape):
        raise InputError(f"input {tensor.name!r} has the shape {tensor.shape}: give its dynamic dimensions a size")
    dtype = _dtype(tensor)
    words = hashlib.sha256(f"{seed}\0{tensor.name}".encode()).digest()[:16]
    random = np.random.RandomState(np.frombuffer(words, dtype="<u4"))
    if dtype.kind == "b" or _is_integer(dtype):
        low, high = _integer_limits(tensor, dtype, limits)
        wide = np.uint64 if high > np.iinfo(np.int64).max else np.int64
        return random.randint(low, high + 1, tensor.shape, dtype=wide).astype(dtype)
    if limits is None:
        values = _normal(random, tensor.shape)
        if dtype.kind == "c":
            values = values + 1j * _normal(random, tensor.shape)
        return np.asarray(values).astype(dtype)
    with np.errstate(over="ignore"):
        rounded = np.array(limits).astype(dtype).astype(np.complex128)
    if not np.isfinite(rounded).all():
        raise InputError(f"input_ranges[{tensor.name!r}] is {limits}: that exceeds {tensor.dtype}")
    return np.asarray(random.uniform(*limits, size=tensor.shape)).astype(dtype)


def _normal(random: np.random.RandomState, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return standard normal numbers, each one of NORMAL_LEVELS equally likely quantiles.

    For a large batch this takes a tenth of the time of `standard_normal`.
    """
    import numpy as np

    normal = statistics.NormalDist()
    levels = [normal.inv_cdf((level + 0.5) / NORMAL_LEVELS) for level in range(NORMAL_LEVELS)]
    return np.array(levels, dtype=np.float32)[random.randint(0, NORMAL_LEVELS, shape, dtype=np.uint16)]


def _dtype(tensor: Tensor) -> np.dtype[Any]:
    try:
        return numpy_dtype(tensor.dtype)
    except ImportError as error:
        raise InputError(
            f"input {tensor.name!r} is {tensor.dtype}, which the package ml_dtypes defines: pip install ml_dtypes"
        ) from error
    except AttributeError as error:
        raise InputError(
            f"input {tensor.name!r} is {tensor.dtype}, for which no array can be generated: export the model with "
            "another type"
        ) from error


def _is_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" or dtype.name.lstrip("u") in ("int2", "int4")


def _integer_limits(tensor: Tensor, dtype: np.dtype[Any], limits: tuple[float, float] | None) -> tuple[int, int]:
    """Return the lowest and highest integer to generate."""
    bits = 1 if dtype.kind == "b" else int("".join(filter(str.isdigit, dtype.name)))
    signed = dtype.name.startswith("i")
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    low, high = (math.ceil(limits[0]), math.floor(limits[1])) if limits is not None else INTEGER_RANGE
    if low > high:
        raise InputError(f"input_ranges[{tensor.name!r}] is {limits}: it contains no integer")
    if low < least or high > most:
        raise InputError(f"input_ranges[{tensor.name!r}] is {limits}: {tensor.dtype} holds {least} to {most}")
    return low, high
