"""Measure the difference of an array from a reference."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import TYPE_CHECKING

from pytest_trt.judge.accuracy.norms import CHUNK, root_mean_square

if TYPE_CHECKING:
    from pytest_trt.judge.accuracy.allowed_error import AccuracyLimits
    from pytest_trt.judge.accuracy.norms import Array

WORST = 5
"""How many of the worst elements a verdict shows."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """The difference of an output from its reference. Means and cosine are over elements where both are finite.

    Attributes:
        elements: The number of elements.
        beyond: The number of elements whose error is beyond the limits.
        max_abs: The largest absolute error.
        mean_abs: The mean absolute error.
        max_relative: The largest relative error, over elements where the reference is not 0.
        mean_relative: The mean relative error, over the same elements.
        cosine: The cosine similarity.
        psnr_db: The peak signal-to-noise ratio in dB, with the reference's range as the peak.
        top1: The share of rows (along the last axis) whose largest element has the same index. None for bools, and for
            rows of fewer than 2 elements.
        top5: The mean share of the five largest elements of a row that have the same indices. None for bools, and for
            rows of fewer than 10 elements.
        nan: The number of NaNs in the output and in the reference.
        inf: The number of infinities in the output and in the reference.
        worst: Index, output and reference of the elements that are furthest beyond the limits, the worst first.
        worst_ratio: The largest error of an element as a share of the error that is allowed there.
        column_relative: The median relative error of the other elements with the last index of a worst element, in
            the worst of these columns. A single outlier does not change it; a class that is computed wrongly does.
    """

    elements: int
    beyond: int
    max_abs: float
    mean_abs: float
    max_relative: float
    mean_relative: float
    cosine: float
    psnr_db: float
    top1: float | None
    top5: float | None
    nan: tuple[int, int]
    inf: tuple[int, int]
    worst: tuple[tuple[tuple[int, ...], float, float], ...]
    worst_ratio: float = 0.0
    column_relative: float = 0.0


def compare(output: Array, reference: Array, limits: AccuracyLimits) -> Difference:
    """Return the difference of an output from its reference.

    A NaN agrees with a NaN, and an infinity with the same infinity. Any other value is infinitely far from them.

    Args:
        output: The output.
        reference: An array of the same shape.
        limits: The error that is allowed.
    """
    import numpy as np

    ours, theirs = output.reshape(-1), reference.reshape(-1)
    atol = absolute_tolerance(limits, theirs)
    sums: Counter[str] = Counter()
    max_abs = max_relative = worst_ratio = 0.0
    low, high = math.inf, -math.inf
    worst: list[tuple[float, int]] = []
    for start in range(0, theirs.size, CHUNK):
        raw = ours[start : start + CHUNK], theirs[start : start + CHUNK]
        a, b = (part.astype(np.float64) for part in raw)
        with np.errstate(over="ignore", invalid="ignore"):
            apart = np.abs(a - b)
        apart[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
        apart[np.isnan(apart)] = np.inf
        if all(part.dtype.kind in "iu" for part in raw):
            apart = np.maximum(apart, raw[0] != raw[1])  # beyond 2**53, neighbours are equal as float64
        finite = np.isfinite(a) & np.isfinite(b)
        allowed = atol + limits.rtol * np.where(np.isfinite(b), np.abs(b), 0)
        excess = apart - allowed
        with np.errstate(divide="ignore", invalid="ignore"):
            worst_ratio = max(worst_ratio, float(np.where(apart > 0, apart / allowed, 0).max()))
        beyond = np.flatnonzero(excess > 0)
        sums["beyond"] += beyond.size
        worst += [(-float(excess[at]), start + int(at)) for at in beyond[np.argsort(-excess[beyond])[:WORST]]]
        worst = sorted(worst)[:WORST]
        max_abs = max(max_abs, float(apart.max()))
        for name, part in (("ours", a), ("theirs", b)):
            sums[f"{name} nan"] += int(np.isnan(part).sum())
            sums[f"{name} inf"] += int(np.isinf(part).sum())
        a, b, apart = a[finite], b[finite], apart[finite]
        if not a.size:
            continue
        low, high = min(low, float(b.min())), max(high, float(b.max()))
        with np.errstate(over="ignore", invalid="ignore"):
            relative = apart[b != 0] / np.abs(b[b != 0])
            sums.update({
                "finite": a.size, "abs": float(apart.sum()), "squares": float(apart @ apart), "nonzero": relative.size,
                "relative": float(relative.sum()), "ab": float(a @ b), "aa": float(a @ a), "bb": float(b @ b),
            })  # fmt: skip
        max_relative = max(max_relative, float(relative.max(initial=0)))
    return Difference(
        elements=theirs.size,
        beyond=int(sums["beyond"]),
        max_abs=max_abs,
        mean_abs=sums["abs"] / max(sums["finite"], 1),
        max_relative=max_relative,
        mean_relative=sums["relative"] / max(sums["nonzero"], 1),
        cosine=_cosine(sums["ab"], sums["aa"], sums["bb"]),
        psnr_db=_psnr_db(high - low, sums["squares"] / max(sums["finite"], 1)),
        top1=_top(output, reference, 1),
        top5=_top(output, reference, 5),
        nan=(int(sums["ours nan"]), int(sums["theirs nan"])),
        inf=(int(sums["ours inf"]), int(sums["theirs inf"])),
        worst=tuple(
            (tuple(map(int, np.unravel_index(at, reference.shape))), float(ours[at]), float(theirs[at]))
            for _, at in worst
        ),
        worst_ratio=worst_ratio,
        column_relative=_column_relative(output, reference, [at for _, at in worst], limits.least_normal / 64),
    )


def _column_relative(output: Array, reference: Array, worst: list[int], least: float) -> float:
    """Return `Difference.column_relative`, over the elements of the reference that are at least `least`.

    Below a 64th of the least normal number, rounding alone moves a number by more than 3 %.
    """
    import numpy as np

    if not reference.ndim:
        return 0.0
    found, width = 0.0, reference.shape[-1]
    for column in {at % width for at in worst}:
        a, b = (array[..., column].astype(np.float64).reshape(-1) for array in (output, reference))
        usable = np.isfinite(a) & np.isfinite(b) & (np.abs(b) >= max(least, 1e-300))
        usable[[at // width for at in worst if at % width == column]] = False
        if usable.any():
            with np.errstate(over="ignore"):
                found = max(found, float(np.median(np.abs(a[usable] - b[usable]) / np.abs(b[usable]))))
    return found


def absolute_tolerance(limits: AccuracyLimits, flat: Array) -> float:
    """Return the absolute error that is allowed for every element of a one-dimensional reference.

    It is 0 if the root mean square is beyond float64.
    """
    atol = limits.atol * root_mean_square(flat) if limits.atol_scaled else limits.atol
    return atol if math.isfinite(atol) else 0.0


def _cosine(ab: float, aa: float, bb: float) -> float:
    """Return the cosine of the angle between two vectors: 1 if both are zero, 0 if only one is."""
    if not aa or not bb:
        return 1.0 if aa == bb else 0.0
    return ab / (math.sqrt(aa) * math.sqrt(bb))


def _psnr_db(peak: float, mean_square: float) -> float:
    """Return the peak signal-to-noise ratio, 10 log10(peak**2 / mean square error), in dB; infinite without error."""
    if mean_square == 0:
        return math.inf
    ratio = peak * peak / mean_square
    return 10 * math.log10(ratio) if 0 < ratio < math.inf else -math.inf


def has_rows(array: Array, count: int) -> bool:
    """Return whether rows are long enough for a top `count`, which must be at most half of a row."""
    return bool(array.ndim and array.size and array.shape[-1] >= 2 * count and array.dtype.kind != "b")


def _top(output: Array, reference: Array, count: int) -> float | None:
    """Return the mean share of a row's `count` largest elements that have the same indices; None for short rows."""
    import numpy as np

    if not has_rows(reference, count):
        return None
    width = reference.shape[-1]
    ours, theirs = output.reshape(-1, width), reference.reshape(-1, width)
    step, same = max(1, CHUNK // width), 0
    for at in range(0, len(theirs), step):
        a, b = (rows[at : at + step].astype(np.float64) for rows in (ours, theirs))
        if count == 1:  # the first of several equal ones
            same += int((a.argmax(-1) == b.argmax(-1)).sum())
        else:
            best = [np.argpartition(rows, -count)[:, -count:] for rows in (a, b)]
            same += int((best[0][:, :, None] == best[1][:, None, :]).any(2).sum())
    return same / count / len(theirs)
