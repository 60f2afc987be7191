"""Outputs that stand in an order of their own, as the boxes that a detector keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_trt.errors import InputError
from pytest_trt.judge.accuracy.difference import absolute_tolerance
from pytest_trt.judge.accuracy.norms import root_mean_square

if TYPE_CHECKING:
    from pytest_trt.judge.accuracy.allowed_error import AccuracyLimits
    from pytest_trt.judge.accuracy.norms import Array

    Arrays = Mapping[str, Array]

_COMPARED = 1 << 30
"""Elements compared at most to put an output in order, which takes some ten seconds: 16000 rows of 4, once."""

_SOUGHT = 1 << 24
"""Elements compared at most to find out whether an output that departs is only in another order."""

_ALIKE = (0.01, 0.03)
"""What two rows that are taken for the same differ by at most, as rtol and a share of the root mean square: what three
in four networks keep to in tf32 (tolerance.DEFAULTS)."""


def restore_order(outputs: Arrays, reference: Arrays, unordered: Mapping[str, int]) -> Arrays:
    """`outputs`, where those that `unordered` names stand in the reference's order along their axis. Those that have as
    many along it, and the same sizes before it, are taken for columns of one table, as boxes and their scores are, and
    stand in one order. Raises InputError for a name or an axis that the reference does not have."""
    tables: dict[tuple[int, ...], list[str]] = {}
    for name, axis in unordered.items():
        if name not in reference:
            listed = ", ".join(map(repr, reference)) or "none"
            raise InputError(f"trt_accuracy: unordered: there is no output {name!r}: there are {listed}")
        shape = reference[name].shape
        if not -len(shape) <= axis < len(shape):
            raise InputError(f"trt_accuracy: unordered: output {name!r} has the shape {shape}: it has no axis {axis}")
        if name in outputs and outputs[name].shape == shape:
            tables.setdefault(shape[: axis % len(shape) + 1], []).append(name)
    for sizes, names in tables.items():
        put = align_rows([outputs[name] for name in names], [reference[name] for name in names], sizes)
        outputs = {**outputs, **dict(zip(names, put, strict=True))}
    return outputs


def align_rows(outputs: Sequence[Array], reference: Sequence[Array], sizes: tuple[int, ...]) -> list[Array]:
    """`outputs`, columns of one table, with its rows in the order of `reference`. All have `sizes` first, of which the
    last is the number of rows: each row of the reference in turn gets the nearest that is left, by the sum of absolute
    differences, of several columns as shares of each one's size. What stands along an axis before is kept apart, and
    has an order of its own. Raises InputError where that would take too long."""
    import numpy as np

    *before, rows = sizes
    tables = math.prod(before)
    if not tables * rows or not any(array.size for array in reference):
        return list(outputs)
    folded = [
        [array.reshape(tables, rows, array.size // (tables * rows)) for array in side] for side in (outputs, reference)
    ]
    scales = [root_mean_square(array.reshape(-1)) or 1.0 for array in reference]
    ours, theirs = (
        side[0]
        if len(side) == 1
        else np.concatenate([column / scale for column, scale in zip(side, scales, strict=True)], axis=2)
        for side in folded
    )
    orders = [_nearest(our, their, tables) for our, their in zip(ours, theirs, strict=True)]
    return [
        np.stack([table[order] for table, order in zip(column, orders, strict=True)]).reshape(output.shape)
        for column, output in zip(folded[0], outputs, strict=True)
    ]


def _nearest(ours: Array, theirs: Array, times: int) -> Array:
    """Which row of `ours` goes to each of `theirs`, which is done so many times."""
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


def find_reordered_axis(output: Array, reference: Array, limits: AccuracyLimits) -> int | None:
    """The axis, the last or the one before it, along which `output` has what `reference` has in another order, if there
    is one: under these limits, but no looser ones than _ALIKE, since what may be far off is found anywhere. Not looked
    for where that is too much to compare."""
    import numpy as np

    flat = reference.reshape(-1)
    rtol = min(limits.rtol, _ALIKE[0])
    atol = min(absolute_tolerance(limits, flat), _ALIKE[1] * root_mean_square(flat))
    for axis in range(reference.ndim - 1, max(reference.ndim - 3, -1), -1):
        if not 1 < reference.shape[axis] <= _SOUGHT // max(reference.size, 1):
            continue
        (put,) = align_rows([output], [reference], reference.shape[: axis + 1])
        if np.isclose(_promotable(put), _promotable(reference), rtol, atol, equal_nan=True).all():
            return axis
    return None


def _promotable(array: Array) -> Array:
    """Return bfloat16 and float8 as float32: NumPy 1 cannot combine them with a float."""
    return array.astype("float32") if array.dtype.kind == "V" else array
