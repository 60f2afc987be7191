"""How far one array is from another."""

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
    """How far one output is from its reference. `relative` errors are shares of the reference's size, over elements
    where that is not 0. `psnr_db` takes the reference's range as the peak. `top1` is the share of rows (along the last
    axis) whose largest element is at the same place, `top5` the share of the five largest that are the same ones; None
    where rows have fewer than twice that many elements, and for bools. `nan` and
    `inf` count those of the output and of the reference. `worst` gives index, output and reference, the worst first.
    `worst_ratio` is the worst element's error as a share of what is allowed there."""

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


def compare(output: Array, reference: Array, limits: AccuracyLimits) -> Difference:
    """How far `output` is from `reference`, which has its shape. NaN agrees with NaN, and an infinity with the same
    one; against anything else they are infinitely far. Means and cosine are over elements where both are finite."""
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
            apart = np.maximum(apart, raw[0] != raw[1])  # beyond 2**53 float64 takes neighbours for the same
        finite = np.isfinite(a) & np.isfinite(b)
        room = atol + limits.rtol * np.where(np.isfinite(b), np.abs(b), 0)
        excess = apart - room
        with np.errstate(divide="ignore", invalid="ignore"):
            worst_ratio = max(worst_ratio, float(np.where(apart > 0, apart / room, 0).max()))
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
    )


def absolute_tolerance(limits: AccuracyLimits, flat: Array) -> float:
    """What `limits` allow of every element of `flat`: nothing beside `rtol` where squares are beyond float64."""
    atol = limits.atol * root_mean_square(flat) if limits.atol_scaled else limits.atol
    return atol if math.isfinite(atol) else 0.0


def _cosine(ab: float, aa: float, bb: float) -> float:
    """The cosine of the angle between two vectors; 1 for two that are zero, 0 where only one is."""
    if not aa or not bb:
        return 1.0 if aa == bb else 0.0
    return ab / (math.sqrt(aa) * math.sqrt(bb))


def _psnr_db(peak: float, mean_square: float) -> float:
    """Peak signal-to-noise ratio, 10 log10(peak**2 / mean square error), in dB; infinite where there is no error."""
    if mean_square == 0:
        return math.inf
    ratio = peak * peak / mean_square
    return 10 * math.log10(ratio) if 0 < ratio < math.inf else -math.inf


def has_rows(array: Array, count: int) -> bool:
    """Whether the `count` largest of a row say anything: they are half of it at most."""
    return bool(array.ndim and array.size and array.shape[-1] >= 2 * count and array.dtype.kind != "b")


def _top(output: Array, reference: Array, count: int) -> float | None:
    """How much of the `count` largest elements of a row are the same ones, on average over the rows."""
    import numpy as np

    if not has_rows(reference, count):
        return None
    width = reference.shape[-1]
    ours, theirs = output.reshape(-1, width), reference.reshape(-1, width)
    step, same = max(1, CHUNK // width), 0
    for at in range(0, len(theirs), step):
        a, b = (rows[at : at + step].astype(np.float64) for rows in (ours, theirs))
        if count == 1:  # the first of several that are the largest
            same += int((a.argmax(-1) == b.argmax(-1)).sum())
        else:
            best = [np.argpartition(rows, -count)[:, -count:] for rows in (a, b)]
            same += int((best[0][:, :, None] == best[1][:, None, :]).any(2).sum())
    return same / count / len(theirs)
