"""Norms of arrays that are too large to copy as float64."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Arrays = Mapping[str, Array]

CHUNK = 1 << 20
"""How many elements are compared at a time, so that an output of a gigabyte is not copied as float64."""


def root_mean_square(flat: Array) -> float:
    """Return the root mean square of the finite elements of a one-dimensional array; 0 if there are none."""
    import numpy as np

    total, count = 0.0, 0
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK].astype(np.float64)
        part = part[np.isfinite(part)]
        with np.errstate(over="ignore"):
            total, count = total + float(part @ part), count + part.size
    return math.sqrt(total / count) if count else 0.0
