"""Inputs drawn from a seed: the same on every machine, for every version of numpy."""

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
"""What integers are drawn from unless a range is set. An index, a token, a length, a mask or a class may be 0 or 1
nearly everywhere; a wider range would reach outside what a Gather or an embedding has."""


NORMAL_LEVELS = 4096
"""How many normal numbers there are to draw from; the outermost are +-3.67."""


def generate_inputs(
    tensors: Iterable[Tensor], seed: int, ranges: Mapping[str, tuple[float, float]]
) -> dict[str, NDArray[np.generic]]:
    """An array for each of `tensors`, whose shapes are concrete.

    Floats are standard normal, integers uniform in INTEGER_RANGE, bools even; where `ranges` names an input, uniform
    from low to high, both included for integers. Each input has a generator of its own, seeded by `seed` and its name,
    so that their order does not matter. numpy's RandomState is used because its streams are frozen (NEP 19): stored
    outputs stay comparable. Raises InputError for a range that names no input or that the dtype cannot hold.
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
        raise InputError(f"input {tensor.name!r} has the shape {tensor.shape}: fill its dynamic dimensions first")
    dtype = _numpy_dtype(tensor)
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
        held = np.array(limits).astype(dtype).astype(np.complex128)
    if not np.isfinite(held).all():
        raise InputError(f"input_ranges[{tensor.name!r}] is {limits}: {tensor.dtype} does not hold that")
    return np.asarray(random.uniform(*limits, size=tensor.shape)).astype(dtype)


def _normal(random: np.random.RandomState, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Standard normal numbers, each one of LEVELS equally likely quantiles: a large batch is drawn in a tenth of the
    time that `standard_normal` takes."""
    import numpy as np

    normal = statistics.NormalDist()
    quantiles = np.array(
        [normal.inv_cdf((level + 0.5) / NORMAL_LEVELS) for level in range(NORMAL_LEVELS)], dtype=np.float32
    )
    return quantiles[random.randint(0, NORMAL_LEVELS, shape, dtype=np.uint16)]


def _numpy_dtype(tensor: Tensor) -> np.dtype[Any]:
    try:
        return numpy_dtype(tensor.dtype)
    except ImportError as error:
        raise InputError(f"input {tensor.name!r} is {tensor.dtype}: pip install ml_dtypes, which has it") from error
    except AttributeError as error:
        raise InputError(f"input {tensor.name!r} is {tensor.dtype}: no array of that can be drawn") from error


def _is_integer(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" or dtype.name.lstrip("u") in ("int2", "int4")


def _integer_limits(tensor: Tensor, dtype: np.dtype[Any], limits: tuple[float, float] | None) -> tuple[int, int]:
    bits = 1 if dtype.kind == "b" else int("".join(filter(str.isdigit, dtype.name)))
    signed = dtype.name.startswith("i")
    least, most = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    low, high = (math.ceil(limits[0]), math.floor(limits[1])) if limits is not None else INTEGER_RANGE
    if low > high:
        raise InputError(f"input_ranges[{tensor.name!r}] is {limits}: no whole number lies in it")
    if low < least or high > most:
        raise InputError(f"input_ranges[{tensor.name!r}] is {limits}: {tensor.dtype} holds {least} to {most}")
    return low, high
