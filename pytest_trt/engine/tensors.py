"""Tensors as an engine declares them, and arrays by the names of its inputs and outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.spec.shape_ranges import Shape

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.generic]]
    """Arrays by the names of the inputs or outputs they are for."""


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input or output of an engine. `numpy_dtype` is numpy's name, or ml_dtypes' (`bfloat16`, ...); -1 in `shape` is
    dynamic. `on_host`: a shape tensor, read by the host. `format`: how it lies on the device, in TensorRT's name."""

    name: str
    dtype: str
    shape: Shape
    on_host: bool = False
    format: str = "linear"

    def accepts(self, shape: Shape) -> bool:
        """Whether an array of that shape is one of these."""
        return len(shape) == len(self.shape) and all(
            size in (-1, given) for size, given in zip(self.shape, shape, strict=True)
        )


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The dtype that a Tensor names. Raises ImportError where ml_dtypes is needed and absent, AttributeError for a name
    that neither has."""
    import numpy as np

    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return found
