"""Convert between a caller's linear arrays and the formats in which inputs and outputs lie on the device.

TensorRT's documentation of TensorFormat describes the formats:

- `hwc`, `hwc8` and the like store the channels last, padded to a multiple of 8 or 16.
- `chw4` and the like store the channels in vectors of 2 to 32. The vector is the last dimension, and the last vector is
  padded.

The channels are the dimension before the two spatial dimensions, or before the three of a format with depth (`dhwc8`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pytest_trt.errors import BackendError
from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

LINEAR = "linear"


def _parse_format(name: str, rank: int) -> tuple[int, int, bool]:
    """Return the channel dimension, the channels of a vector, and whether all channels come last.

    Args:
        name: The format's name.
        rank: The number of dimensions of the tensor.

    Raises:
        BackendError: The format is unknown, or has more dimensions than the tensor.
    """
    found = re.fullmatch(r"(c?)(d?)hwc?(\d*)", name)
    space = 3 if found and found[2] else 2
    if found is None or rank <= space:
        raise BackendError(
            f"an input or output has the format {name!r}, which is not supported for a tensor of {rank} dimensions: "
            "build the engine with another format in io_formats"
        )
    return rank - space - 1, int(found[3] or 1), not found[1]


def storage_shape(shape: Shape, name: str) -> Shape:
    """Return the shape of the memory that a tensor of `shape` takes in the format `name`, padding included."""
    if name == LINEAR:
        return shape
    axis, width, last = _parse_format(name, len(shape))
    vectors = -(-shape[axis] // width)
    before, after = shape[:axis], shape[axis + 1 :]
    return (*before, *after, vectors * width) if last else (*before, vectors, *after, width)


def pack(memory: NDArray[Any], array: NDArray[Any], name: str) -> None:
    """Write a linear array to memory in the format `name`; `memory` has the array's storage shape."""
    for part, index in _parts(memory, array.shape, name):
        part[...] = array[index].reshape(part.shape)


def unpack(memory: NDArray[Any], shape: Shape, name: str) -> NDArray[Any]:
    """Return a linear array of `shape` from memory in the format `name`."""
    import numpy as np

    array = np.empty(shape, memory.dtype)
    for part, index in _parts(memory, shape, name):
        array[index] = part.reshape(array[index].shape)
    return array


def _parts(memory: NDArray[Any], shape: Shape, name: str) -> list[tuple[NDArray[Any], tuple[slice, ...]]]:
    """Return views of the memory with the dimensions in a linear array's order, each with its index in the array.

    There are two parts if the last vector of channels is padded: the full vectors, and the rest of the channels.
    """
    import numpy as np

    if name == LINEAR:
        return [(memory, ())]
    axis, width, last = _parse_format(name, len(shape))
    channels, before = shape[axis], (slice(None),) * axis

    def at(*index: Any) -> Any:
        return before + index

    if last:
        return [(np.moveaxis(memory, -1, axis)[at(slice(channels))], ())]
    view, full = np.moveaxis(memory, -1, axis + 1), channels // width
    parts = [(view[at(slice(full))], at(slice(full * width)))]
    if channels % width:
        parts.append((view[at(full, slice(channels % width))], at(slice(full * width, None))))
    return parts
