"""Judge outputs against a reference: how far apart they are, where, and whether that is within the limits."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from pytest_trt.core.records import Verdict
from pytest_trt.judge.accuracy.allowed_error import MAX_COLUMN_ERROR, MAX_OUTLIER_RATIO, AccuracyLimits
from pytest_trt.judge.accuracy.difference import WORST, Difference, compare, has_rows
from pytest_trt.judge.accuracy.unordered import find_reordered_axis, restore_order

if TYPE_CHECKING:
    from pytest_trt.judge.accuracy.norms import Array, Arrays


@dataclasses.dataclass(frozen=True)
class ComparedOutput:
    """The comparison of one output.

    Attributes:
        verdict: Its verdict.
        difference: Its difference from the reference; None if the two cannot be compared.
    """

    verdict: Verdict
    difference: Difference | None = None


def judge(
    outputs: Arrays,
    reference: Arrays,
    limits: AccuracyLimits,
    source: str,
    unordered: Mapping[str, int] = MappingProxyType({}),
) -> tuple[Verdict, ...]:
    """Return the verdicts of `compare_outputs`."""
    return tuple(found.verdict for found in compare_outputs(outputs, reference, limits, source, unordered))


def compare_outputs(
    outputs: Arrays,
    reference: Arrays,
    limits: AccuracyLimits,
    source: str,
    unordered: Mapping[str, int] = MappingProxyType({}),
) -> tuple[ComparedOutput, ...]:
    """Compare the outputs with each output of the reference.

    An output that is missing or has another shape is `inaccurate`. So is an empty reference, which proves nothing.

    Args:
        outputs: The outputs by name.
        reference: The reference's outputs by name.
        limits: The error that is allowed.
        source: What the reference is, as text.
        unordered: For outputs whose rows may be in any order, the axis of the rows (see `unordered.restore_order`).

    Raises:
        InputError: `unordered` has a name or an axis that the reference lacks, or matching the rows takes too long.
    """
    if (fault := empty_reference({name: expected.size for name, expected in reference.items()}, source)) is not None:
        return (ComparedOutput(fault),)
    outputs = restore_order(outputs, reference, unordered)
    *found, last = (
        _compare_output(name, outputs, expected, _drop_top_limits(limits, expected, reference), source, unordered)
        for name, expected in reference.items()
    )
    if extra := ", ".join(repr(name) for name in outputs if name not in reference):
        details = (*last.verdict.details, f"not compared, {source} lacks them: {extra}")
        last = dataclasses.replace(last, verdict=dataclasses.replace(last.verdict, details=details))
    return (*found, last)


def empty_reference(sizes: Mapping[str, int], source: str) -> Verdict | None:
    """Return the verdict on a reference without any element; None if it has some.

    Args:
        sizes: The number of elements of each of its outputs.
        source: What the reference is, as text.
    """
    if any(sizes.values()):
        return None
    text = f"{source} has no outputs: there is nothing to compare with"
    if sizes:
        names = ", ".join(map(repr, sizes))
        text = f"{names} of {source} {'are' if len(sizes) > 1 else 'is'} empty: use inputs for which they are not"
    return Verdict("inaccurate", "accuracy", "", text)


def _drop_top_limits(limits: AccuracyLimits, expected: Array, reference: Arrays) -> AccuracyLimits:
    """Return the limits for one output, without a top 1 or top 5 that its rows are too short for.

    If the rows of all outputs are too short, the limit stays, and the verdict says so.
    """

    def applicable(least: float | None, count: int) -> float | None:
        elsewhere = not has_rows(expected, count) and any(has_rows(array, count) for array in reference.values())
        return None if elsewhere else least

    return dataclasses.replace(limits, top1=applicable(limits.top1, 1), top5=applicable(limits.top5, 5))


def _compare_output(
    name: str, outputs: Arrays, expected: Array, limits: AccuracyLimits, source: str, unordered: Mapping[str, int]
) -> ComparedOutput:
    if (fault := shape_mismatch(name, outputs, expected.shape, source)) is not None:
        return ComparedOutput(fault)
    limits = limits.for_kind(outputs[name].dtype.kind)
    found = compare(outputs[name], expected, limits)
    judged = judge_difference(name, found, limits, source)
    if judged.status != "ok" and (hint := _too_small(expected, limits)):
        judged = dataclasses.replace(judged, details=(hint, *judged.details))
    if (
        judged.status != "ok"
        and found.beyond
        and (axis := find_reordered_axis(outputs[name], expected, limits)) is not None
    ):
        same = "it has the same values in another order"
        hint = f"{same}: if any order will do, declare trt_accuracy(unordered={{{name!r}: {axis}}})"
        if others := [other for other in unordered if name in unordered and other != name]:
            hint = f"{same} than {', '.join(map(repr, others))}: rows that belong together are apart"
        judged = dataclasses.replace(judged, details=(hint, *judged.details), departs=bool(others))
    return ComparedOutput(judged, found)


def _too_small(expected: Array, limits: AccuracyLimits) -> str:
    """Return the sentence on a reference whose values the precision cannot hold; "" if it holds the largest."""
    import numpy as np

    finite = np.abs(expected[np.isfinite(expected)]) if expected.dtype.kind == "f" else expected[:0]
    peak = float(finite.max(initial=0))
    if not 0 < peak < limits.least_normal:
        return ""
    return (
        f"the largest value of the reference is {peak:.3g}, but fp16 holds numbers below {limits.least_normal:.2g} "
        "only in part, and none below 6e-08: scale the output up, or build in fp32 or bf16"
    )


def shape_mismatch(name: str, outputs: Arrays, shape: tuple[int, ...], source: str) -> Verdict | None:
    """Return the verdict on an output that is missing or has another shape; None if it can be compared."""
    if name not in outputs:
        names = ", ".join(map(repr, outputs)) or "none"
        text = f"there is no output {name!r}, which {source} has: the engine's outputs are {names}"
    elif outputs[name].shape != shape:
        text = f"output {name!r} has the shape {outputs[name].shape}, but {shape} in {source}"
    else:
        return None
    return Verdict("inaccurate", "accuracy", name, text)


def judge_difference(name: str, found: Difference, limits: AccuracyLimits, source: str) -> Verdict:
    """Return the verdict of a difference.

    Args:
        name: The output's name.
        found: Its difference from the reference.
        limits: The error that is allowed.
        source: What the reference is, as text.
    """
    figures = f"max abs {found.max_abs:.3g}, mean abs {found.mean_abs:.3g}, cosine {found.cosine:.6f}"
    faults = []
    if found.elements and found.nan[1] == found.elements:
        faults.append("the reference is NaN everywhere and proves nothing")
    if found.beyond and not _are_outliers(found, limits):
        scale = " of the root mean square" if limits.atol_scaled else ""
        beyond = f"are beyond rtol {limits.rtol:g}, atol {limits.atol:g}{scale}"
        faults.append(
            f"{found.beyond} of {found.elements} elements {beyond if limits.rtol or limits.atol else 'differ'}"
        )
    if limits.cosine is not None and found.cosine < limits.cosine:
        faults.append(f"its cosine is {found.cosine:.6f}, below {limits.cosine:g}")
    if limits.psnr_db is not None and found.psnr_db < limits.psnr_db:
        faults.append(f"its PSNR is {found.psnr_db:.1f} dB, below {limits.psnr_db:g}")
    for count, share, least in ((1, found.top1, limits.top1), (5, found.top5, limits.top5)):
        if least is not None and share is None:
            faults.append(f"its rows are too short for a top {count}")
        elif least is not None and share is not None and share < least:
            faults.append(f"its top {count} is the same in {share:.2%}, below {least:.2%}")
    if not faults:
        if found.beyond:
            figures += f", {found.beyond} of {found.elements} elements slightly beyond the limits"
        return Verdict(
            "ok", "accuracy", name, f"output {name!r} agrees with {source}: {figures}", details=_detail_lines(found)
        )
    text = f"output {name!r} departs from {source}: {'; '.join(faults)} ({figures})"
    details = (*_detail_lines(found), *_worst_lines(found))
    return Verdict("inaccurate", "accuracy", name, text, details=details, departs=True)


def _are_outliers(found: Difference, limits: AccuracyLimits) -> bool:
    """Return whether the elements beyond the limits are so few, and so little beyond them, that they do not matter.

    This needs rows whose largest elements can be compared: they show that no row means something else.
    """
    return (
        found.beyond <= min(limits.outlier_share * found.elements, WORST)
        and found.column_relative <= MAX_COLUMN_ERROR
        and found.worst_ratio <= MAX_OUTLIER_RATIO
        and found.top5 is not None
        and found.top1 == 1.0
    )


def _detail_lines(found: Difference) -> tuple[str, ...]:
    noise = f", PSNR {found.psnr_db:.1f} dB" if math.isfinite(found.psnr_db) else ""
    lines = [f"max relative {found.max_relative:.3g}, mean relative {found.mean_relative:.3g}{noise}"]
    tops = [(count, share) for count, share in ((1, found.top1), (5, found.top5)) if share is not None]
    if tops:
        lines.append(", ".join(f"same top {count}: {share:.1%}" for count, share in tops))
    for kind, (ours, theirs) in (("NaN", found.nan), ("Inf", found.inf)):
        if ours or theirs:
            lines.append(f"{ours} {kind}, {theirs} in the reference")
    return tuple(lines)


def _worst_lines(found: Difference) -> tuple[str, ...]:
    return tuple(
        f"at [{', '.join(map(str, index))}]: {got:.6g}, {expected:.6g} in the reference"
        for index, got, expected in found.worst
    )
