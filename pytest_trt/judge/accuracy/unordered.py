"""Match the rows of outputs whose order does not matter, such as the boxes of a detector."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_trt.errors import InputError
from pytest_trt.judge.accuracy.difference import absolute_tolerance
from pytest_trt.judge.accuracy.norms import root_mean_square

if TYPE_CHECKING:
    from pytest_trt.judge.accuracy.allowed_error import AccuracyLimits
    from pytest_trt.judge.accuracy.norms import Array, Arrays

_MOST_COMPARED = 1 << 30
"""The most elements that are compared to match an output's rows. That takes some ten seconds: 16000 rows of 4, once."""

_MOST_SEARCHED = 1 << 24
"""The most elements that are compared to find out whether an output differs only in the order of its rows."""

_ALIKE_RTOL, _ALIKE_ATOL = 0.01, 0.03
"""How far rows may differ that count as the same in another order; the second is a share of the root mean square. Three
in four networks are within that in tf32 (allowed_error.DEFAULTS)."""


def restore_order(outputs: Arrays, reference: Arrays, unordered: Mapping[str, int]) -> Arrays:
    """Return the outputs with the rows of unordered ones in the reference's order.

    Outputs with the same number of rows, and the same sizes before that axis, are columns of one table, such as boxes
    and their scores: their rows are moved together.

    Args:
        outputs: The outputs by name.
        reference: The reference's outputs by name.
        unordered: For each unordered output, the axis of its rows.

    Raises:
        InputError: The reference lacks such an output or axis, or matching the rows would take too long.
    """
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
        columns = align_rows([outputs[name] for name in names], [reference[name] for name in names], sizes)
        outputs = {**outputs, **dict(zip(names, columns, strict=True))}
    return outputs


def align_rows(outputs: Sequence[Array], reference: Sequence[Array], sizes: tuple[int, ...]) -> list[Array]:
    """Return the columns of a table with its rows in the reference's order.

    Each row of the reference in turn gets the nearest row that is left, by the sum of absolute differences. If there
    are several columns, the differences are shares of each column's root mean square. Each index along the axes before
    the rows is a table with an order of its own.

    Args:
        outputs: The columns.
        reference: The reference's columns.
        sizes: The first sizes of every column's shape; the last of them is the number of rows.

    Raises:
        InputError: Matching the rows would take too long.
    """
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
    """Return, for each row of `theirs`, the index of the row of `ours` that it gets.

    Args:
        ours: The rows to match.
        theirs: The reference's rows.
        times: How many such tables there are, for the limit on the time of all.
    """
    import numpy as np

    sorted_ours, sorted_theirs = np.lexsort(ours.T[::-1]), np.lexsort(theirs.T[::-1])
    order: Array = np.empty_like(sorted_ours)
    order[sorted_theirs] = sorted_ours
    if ours.shape[1] == 1 or (ours[order] == theirs).all():  # for rows of one number, sorting is the match
        return order
    if times * theirs.size * len(theirs) > _MOST_COMPARED:
        tables = f" in {times} tables" if times > 1 else ""
        raise InputError(
            f"trt_accuracy: unordered: matching {len(theirs)} rows of {theirs.shape[1]} elements{tables} would take "
            "too long: sort them in the model, or compare them in the test (trt_runner(inputs))"
        )
    left, free = np.ascontiguousarray(ours.T, np.float64), np.ones(len(ours), bool)
    for row, target in enumerate(theirs.astype(np.float64)[:, :, None]):
        with np.errstate(over="ignore", invalid="ignore"):
            distances = np.abs(left - target).sum(0)
            if np.isnan(distances).any():  # a NaN is near a NaN, and an infinity near the same infinity
                apart = np.where((left == target) | (np.isnan(left) & np.isnan(target)), 0, np.abs(left - target))
                distances = np.nan_to_num(apart, nan=np.inf, posinf=np.inf).sum(0)
        candidates = np.flatnonzero(free)
        order[row] = candidates[distances[candidates].argmin()]
        free[order[row]] = False
    return order


def find_reordered_axis(output: Array, reference: Array, limits: AccuracyLimits) -> int | None:
    """Return the axis along which an output has the reference's values in another order; None if there is none.

    Only the last two axes are tried, and only if there are not too many elements to compare. Rows count as the same
    within the limits, but within `_ALIKE_RTOL` and `_ALIKE_ATOL` at most, since loose limits match any row.

    Args:
        output: The output.
        reference: An array of the same shape.
        limits: The error that is allowed.
    """
    import numpy as np

    flat = reference.reshape(-1)
    rtol = min(limits.rtol, _ALIKE_RTOL)
    atol = min(absolute_tolerance(limits, flat), _ALIKE_ATOL * root_mean_square(flat))
    for axis in range(reference.ndim - 1, max(reference.ndim - 3, -1), -1):
        if not 1 < reference.shape[axis] <= _MOST_SEARCHED // max(reference.size, 1):
            continue
        (aligned,) = align_rows([output], [reference], reference.shape[: axis + 1])
        if np.isclose(_promotable(aligned), _promotable(reference), rtol, atol, equal_nan=True).all():
            return axis
    return None


def _promotable(array: Array) -> Array:
    """Return bfloat16 and float8 as float32: NumPy 1 cannot combine them with a float."""
    return array.astype("float32") if array.dtype.kind == "V" else array
