"""The formats in which inputs and outputs lie on the device; a caller's arrays are linear ones always.

From TensorRT's documentation of TensorFormat: `hwc` and its like have the channels last, padded to a multiple of 8 or
16; `chw4` and its like have them in vectors of 2 to 32, padded to whole ones, which come last. The channels are the
dimension before the two (or, with a depth, three) of space.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_trt.errors import BackendError
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

LINEAR = "linear"


def _parsed(name: str, rank: int) -> tuple[int, int, bool]:
    """Which dimension has the channels, how many of them make a whole, and whether they all come last. Raises
    BackendError for a format that is not laid out here."""
    found = re.fullmatch(r"(c?)(d?)hwc?(\d*)", name)
    space = 3 if found and found[2] else 2
    if found is None or rank <= space:
        raise BackendError(f"an input or output has the format {name}, in which no array of {rank} dimensions is laid")
    return rank - space - 1, int(found[3] or 1), not found[1]


def storage_shape(shape: Shape, name: str) -> Shape:
    """The shape of the memory that a tensor takes in that format."""
    if name == LINEAR:
        return shape
    axis, whole, last = _parsed(name, len(shape))
    vectors = -(-shape[axis] // whole)
    before, after = shape[:axis], shape[axis + 1 :]
    return (*before, *after, vectors * whole) if last else (*before, vectors, *after, whole)


def pack(memory: NDArray[Any], array: NDArray[Any], name: str) -> None:
    """Lay an array out in memory of its storage shape."""
    for part, of in _parts(memory, array.shape, name):
        part[...] = array[of].reshape(part.shape)


def unpack(memory: NDArray[Any], shape: Shape, name: str) -> NDArray[Any]:
    """A linear array of what lies in memory in that format."""
    import numpy as np

    array = np.empty(shape, memory.dtype)
    for part, of in _parts(memory, shape, name):
        array[of] = part.reshape(array[of].shape)
    return array


def _parts(memory: NDArray[Any], shape: Shape, name: str) -> list[tuple[NDArray[Any], tuple[slice, ...]]]:
    """Views of the memory with the dimensions in a linear array's order, each with the part of the array that it is of:
    whole vectors, and the rest of the channels in the last one."""
    import numpy as np

    if name == LINEAR:
        return [(memory, ())]
    axis, whole, last = _parsed(name, len(shape))
    channels, before = shape[axis], (slice(None),) * axis

    def at(*index: Any) -> Any:
        return before + index

    if last:
        return [(np.moveaxis(memory, -1, axis)[at(slice(channels))], ())]
    view, full = np.moveaxis(memory, -1, axis + 1), channels // whole
    parts = [(view[at(slice(full))], at(slice(full * whole)))]
    if channels % whole:
        parts.append((view[at(full, slice(channels % whole))], at(slice(full * whole, None))))
    return parts
