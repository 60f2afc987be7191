"""The tensors that an engine declares, and arrays by tensor name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]
    """Arrays by the name of the input or output that they belong to."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output of an engine.

    Attributes:
        name: The tensor's name in the model.
        dtype: The name of its type in numpy, or in ml_dtypes (`bfloat16`, ...).
        shape: Its shape. A dynamic dimension is -1.
        on_host: Whether it is a shape tensor, which TensorRT reads from host memory.
        format: The name of its layout in device memory, as TensorRT calls it.
    """

    name: str
    dtype: str
    shape: Shape
    on_host: bool = False
    format: str = "linear"

    def accepts(self, shape: Shape) -> bool:
        """Return whether an array of this shape fits the tensor."""
        return len(shape) == len(self.shape) and all(
            declared in (-1, size) for declared, size in zip(self.shape, shape, strict=True)
        )


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Return the dtype with the name that a Tensor declares.

    Raises:
        ImportError: The type is defined by ml_dtypes, which is not installed.
        AttributeError: Neither numpy nor ml_dtypes defines the type.
    """
    import numpy as np

    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return found
