"""Outputs that stand in an order of their own, as the boxes that a detector keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_trt.errors import InputError
from pytest_trt.judge.difference import absolute, root_mean_square

if TYPE_CHECKING:
    from pytest_trt.judge.difference import Array
    from pytest_trt.judge.tolerance import Allowed

    Arrays = Mapping[str, Array]

_COMPARED = 1 << 30
"""Elements compared at most to put an output in order, which takes some ten seconds: 16000 rows of 4, once."""

_SOUGHT = 1 << 24
"""Elements compared at most to find out whether an output that departs is only in another order."""

_ALIKE = (0.01, 0.03)
"""What two rows that are taken for the same differ by at most, as rtol and a share of the root mean square: what three
in four networks keep to in tf32 (tolerance.DEFAULTS)."""


def in_order(outputs: Arrays, reference: Arrays, unordered: Mapping[str, int]) -> Arrays:
    """`outputs`, where those that `unordered` names stand in the reference's order along their axis. Raises InputError
    for a name or an axis that the reference does not have."""
    for name, axis in unordered.items():
        if name not in reference:
            listed = ", ".join(map(repr, reference)) or "none"
            raise InputError(f"trt_accuracy: unordered: there is no output {name!r}: there are {listed}")
        shape = reference[name].shape
        if not -len(shape) <= axis < len(shape):
            raise InputError(f"trt_accuracy: unordered: output {name!r} has the shape {shape}: it has no axis {axis}")
        if name in outputs and outputs[name].shape == shape:
            outputs = {**outputs, name: aligned(outputs[name], reference[name], axis)}
    return outputs


def aligned(output: Array, reference: Array, axis: int) -> Array:
    """`output` with what stands along `axis` in the order of `reference`, which has its shape: each of the reference's
    in turn gets the nearest (by the sum of absolute differences) that is left. What stands along an axis before is kept
    apart, and has an order of its own. Raises InputError where that would take too long."""
    import numpy as np

    axis %= output.ndim
    folded = -1, output.shape[axis], math.prod(output.shape[axis + 1 :])
    if not output.size:
        return output
    ours, theirs = output.reshape(folded), reference.reshape(folded)
    pairs = zip(ours, theirs, strict=True)
    return np.stack([our[_nearest(our, their, len(ours))] for our, their in pairs]).reshape(output.shape)


def _nearest(ours: Array, theirs: Array, times: int) -> Array:
    """Which row of `ours` goes to each of `theirs`, for an output that has so many of both."""
    import numpy as np

    sorted_ours, sorted_theirs = np.lexsort(ours.T[::-1]), np.lexsort(theirs.T[::-1])
    order: Array = np.empty_like(sorted_ours)
    order[sorted_theirs] = sorted_ours
    if ours.shape[1] == 1 or (ours[order] == theirs).all():  # of single numbers, sorted ones are the nearest
        return order
    if times * theirs.size * len(theirs) > _COMPARED:
        often = f", {times} times," if times > 1 else ""
        raise InputError(
            f"trt_accuracy: unordered: the nearest of {len(theirs)} rows of {theirs.shape[1]}{often} cannot be found "
            "in time: sort them in the model, or compare them in the test (trt_runner(inputs))"
        )
    left, free = np.ascontiguousarray(ours.T, np.float64), np.ones(len(ours), bool)
    for place, wanted in enumerate(theirs.astype(np.float64)[:, :, None]):
        with np.errstate(over="ignore", invalid="ignore"):
            distances = np.abs(left - wanted).sum(0)
            if np.isnan(distances).any():  # NaN is at its like, and so is an infinity
                apart = np.where((left == wanted) | (np.isnan(left) & np.isnan(wanted)), 0, np.abs(left - wanted))
                distances = np.nan_to_num(apart, nan=np.inf, posinf=np.inf).sum(0)
        places = np.flatnonzero(free)
        order[place] = places[distances[places].argmin()]
        free[order[place]] = False
    return order


def reordered(output: Array, reference: Array, limits: Allowed) -> int | None:
    """The axis, the last or the one before it, along which `output` has what `reference` has in another order, if there
    is one: under these limits, but no looser ones than _ALIKE, since what may be far off is found anywhere. Not looked
    for where that is too much to compare."""
    import numpy as np

    flat = reference.reshape(-1)
    rtol = min(limits.rtol, _ALIKE[0])
    atol = min(absolute(limits, flat), _ALIKE[1] * root_mean_square(flat))
    for axis in range(reference.ndim - 1, max(reference.ndim - 3, -1), -1):
        if not 1 < reference.shape[axis] <= _SOUGHT // max(reference.size, 1):
            continue
        if np.isclose(aligned(output, reference, axis), reference, rtol, atol, equal_nan=True).all():
            return axis
    return None
