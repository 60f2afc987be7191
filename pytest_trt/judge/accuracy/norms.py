"""Norms of arrays too large for a copy in float64."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

CHUNK = 1 << 20
"""Elements compared at a time: an output of a gigabyte is not copied as float64."""


def root_mean_square(flat: Array) -> float:
    import numpy as np

    total, count = 0.0, 0
    for start in range(0, flat.size, CHUNK):
        part = flat[start : start + CHUNK].astype(np.float64)
        part = part[np.isfinite(part)]
        with np.errstate(over="ignore"):
            total, count = total + float(part @ part), count + part.size
    return math.sqrt(total / count) if count else 0.0
