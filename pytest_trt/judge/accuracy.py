"""Outputs against a reference: how far they are apart, where most, and whether that is right for the precision."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.records import Verdict
from pytest_trt.spec import Accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Arrays = Mapping[str, Array]

WORST = 5
"""How many of the worst elements a verdict shows."""

_CHUNK = 1 << 20
"""Elements compared at a time: an output of a gigabyte is not copied as float64."""


@dataclasses.dataclass(frozen=True)
class Allowed:
    """An element may differ by `rtol` times the reference's size there, plus `atol`, which is a share of the
    reference's root mean square where `scaled`. The whole must reach `cosine` similarity and `psnr_db`, its rows `top1`
    and `top5` agreement, where these are given (see Difference)."""

    rtol: float
    atol: float
    cosine: float | None
    scaled: bool = True
    psnr_db: float | None = None
    top1: float | None = None
    top5: float | None = None

    def for_kind(self, kind: str) -> Allowed:
        """These limits for an output of numpy's `kind`: integers and bools are exact unless a test says otherwise."""
        exact = self.scaled and kind in "iub"
        return dataclasses.replace(self, rtol=0.0, atol=0.0, cosine=None) if exact else self


DEFAULTS: Mapping[str, Allowed] = {
    "fp32": Allowed(1e-4, 1e-4, 0.99999),
    "tf32": Allowed(1e-2, 3e-2, 0.9999),
    "fp16": Allowed(1e-2, 3e-2, 0.9999),
    "bf16": Allowed(8e-2, 2.5e-1, 0.995),
    "int8": Allowed(1e-1, 5e-1, 0.98),
    "fp8": Allowed(1e-1, 5e-1, 0.98),
}
"""What is allowed by precision where a test says nothing.

A result rounded to a significand of p bits is off by up to u = 2**-p of its size: 2**-24 in fp32, 2**-11 in fp16 and
tf32, 2**-8 in bf16, 2**-4 in fp8's e4m3; int8's step is 1/127 of a tensor's largest value (IEEE 754; OCP OFP8). Through
a network errors add up like a random walk. In random networks of 10 to 100 layers whose weights and results are all
rounded, the worst element ends 0.002 to 0.03 root mean squares of the output off in fp16, 8 times that in bf16, and
0.07 to 0.7 in int8; the lower ends are networks with residual connections. Elements near zero carry the error of the
large ones that cancelled in them: hence the absolute part, and hence it goes with the root mean square. In fp32 what
shows is that sums of thousands of terms are taken in another order: 1e-4 is some 1000 u. Quantised networks move single
elements far; there it is the cosine that tells whether the whole still points the same way.
"""


@dataclasses.dataclass(frozen=True)
class Difference:
    """How far one output is from its reference. `relative` errors are shares of the reference's size, over elements
    where that is not 0. `psnr_db` takes the reference's range as the peak. `top1` is the share of rows (along the last
    axis) whose largest element is at the same place, `top5` the share of the five largest that are the same ones; None
    where rows have fewer than twice that many elements, and for bools. `nan` and
    `inf` count those of the output and of the reference. `worst` gives index, output and reference, the worst first.
    `used` is the worst element's error as a share of what is allowed there."""

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
    used: float = 0.0


def allowed(accuracy: Accuracy, precision: str, tf32: bool) -> Allowed:
    """What a test allows: what it says itself, else DEFAULTS for the precision. `tf32` is whether fp32 may run as TF32.
    Once a test gives rtol or atol, both are meant as numpy.allclose means them, and what it leaves out is 0."""
    name = {"fp32": "tf32" if tf32 else "fp32", "best": "bf16"}.get(precision, precision)
    limits = DEFAULTS[name]
    if accuracy.rtol is not None or accuracy.atol is not None:
        limits = Allowed(accuracy.rtol or 0.0, accuracy.atol or 0.0, None, scaled=False)
    said = {name: getattr(accuracy, name) for name in ("cosine", "psnr_db", "top1", "top5")}
    return dataclasses.replace(limits, **{name: limit for name, limit in said.items() if limit is not None})


def by_element(limits: Allowed) -> Allowed:
    """What these limits say of elements and directions, and not of rows or the whole."""
    return dataclasses.replace(limits, psnr_db=None, top1=None, top5=None)


def scaled(limits: Allowed, reference: Array) -> Allowed:
    """The same limits, the absolute part as a share of the root mean square: what they allow of `reference`, for
    tensors of any size."""
    size = _root_mean_square(reference.reshape(-1))
    return limits if limits.scaled or not size else dataclasses.replace(limits, atol=limits.atol / size, scaled=True)


def judge(outputs: Arrays, reference: Arrays, limits: Allowed, source: str) -> tuple[Verdict, ...]:
    """A verdict for each output of `reference`, by name; `source` says what the reference is. An output that is missing
    or of another shape is inaccurate; so is a reference that leaves nothing to compare, for it proves nothing."""
    if not reference:
        return (Verdict("inaccurate", "accuracy", "", f"{source} has no outputs: there is nothing to compare with"),)
    unseen = [name for name in outputs if name not in reference]
    verdicts = [
        _judge(name, outputs, wanted, _for_rows(limits, wanted, reference), source)
        for name, wanted in reference.items()
    ]
    if unseen:
        listed = ", ".join(map(repr, unseen))
        last = verdicts[-1]
        verdicts[-1] = dataclasses.replace(
            last, details=(*last.details, f"not compared, {source} lacks them: {listed}")
        )
    return tuple(verdicts)


def _for_rows(limits: Allowed, wanted: Array, reference: Arrays) -> Allowed:
    """These limits without a top 1 or 5 that this output's rows are too short for, if those of another one are not."""

    def kept(least: float | None, count: int) -> float | None:
        elsewhere = not _has_rows(wanted, count) and any(_has_rows(array, count) for array in reference.values())
        return None if elsewhere else least

    return dataclasses.replace(limits, top1=kept(limits.top1, 1), top5=kept(limits.top5, 5))


def _judge(name: str, outputs: Arrays, wanted: Array, limits: Allowed, source: str) -> Verdict:
    if (fault := misfit(name, outputs, wanted.shape, source)) is not None:
        return fault
    limits = limits.for_kind(wanted.dtype.kind)
    return verdict(name, compare(outputs[name], wanted, limits), limits, source)


def misfit(name: str, outputs: Arrays, shape: tuple[int, ...], source: str) -> Verdict | None:
    """The verdict on an output that is missing or of another shape; None where it can be compared."""
    if name not in outputs:
        text = f"there is no output {name!r}, which {source} has: there are {', '.join(map(repr, outputs))}"
    elif outputs[name].shape != shape:
        text = f"output {name!r} has the shape {outputs[name].shape}, and {shape} in {source}"
    else:
        return None
    return Verdict("inaccurate", "accuracy", name, text)


def verdict(name: str, found: Difference, limits: Allowed, source: str) -> Verdict:
    """What a difference means under `limits`."""
    figures = f"max abs {found.max_abs:.3g}, mean abs {found.mean_abs:.3g}, cosine {found.cosine:.6f}"
    faults = []
    if found.elements and found.nan[1] == found.elements:
        faults.append("the reference is NaN everywhere and proves nothing")
    if found.beyond:
        scale = " of the root mean square" if limits.scaled else ""
        faults.append(
            f"{found.beyond} of {found.elements} elements are beyond rtol {limits.rtol:g}, atol {limits.atol:g}{scale}"
        )
    if limits.cosine is not None and found.cosine < limits.cosine:
        faults.append(f"its cosine is {found.cosine:.6f}, below {limits.cosine:g}")
    if limits.psnr_db is not None and found.psnr_db < limits.psnr_db:
        faults.append(f"its PSNR is {found.psnr_db:.1f} dB, below {limits.psnr_db:g}")
    for count, share, least in ((1, found.top1, limits.top1), (5, found.top5, limits.top5)):
        if least is not None and share is None:
            faults.append(f"its rows are too short to tell the top {count} of")
        elif least is not None and share is not None and share < least:
            faults.append(f"its top {count} is the same in {share:.2%}, below {least:.2%}")
    if not faults:
        return Verdict(
            "ok", "accuracy", name, f"output {name!r} agrees with {source}: {figures}", details=_details(found)
        )
    text = f"output {name!r} departs from {source}: {'; '.join(faults)} ({figures})"
    return Verdict("inaccurate", "accuracy", name, text, details=(*_details(found), *_worst(found)))


def _details(found: Difference) -> tuple[str, ...]:
    noise = f", PSNR {found.psnr_db:.1f} dB" if math.isfinite(found.psnr_db) else ""
    lines = [f"max relative {found.max_relative:.3g}, mean relative {found.mean_relative:.3g}{noise}"]
    tops = [(count, share) for count, share in ((1, found.top1), (5, found.top5)) if share is not None]
    if tops:
        lines.append("of its rows " + ", ".join(f"the top {count} the same in {share:.1%}" for count, share in tops))
    for what, (ours, theirs) in (("NaN", found.nan), ("Inf", found.inf)):
        if ours or theirs:
            lines.append(f"{ours} {what}, {theirs} in the reference")
    return tuple(lines)


def _worst(found: Difference) -> tuple[str, ...]:
    return tuple(
        f"at [{', '.join(map(str, index))}] {got:.6g}, and {wanted:.6g} in the reference"
        for index, got, wanted in found.worst
    )


def compare(output: Array, reference: Array, limits: Allowed) -> Difference:
    """How far `output` is from `reference`, which has its shape. NaN agrees with NaN, and an infinity with the same
    one; against anything else they are infinitely far. Means and cosine are over elements where both are finite."""
    import numpy as np

    ours, theirs = output.reshape(-1), reference.reshape(-1)
    atol = limits.atol * _root_mean_square(theirs) if limits.scaled else limits.atol
    sums: Counter[str] = Counter()
    max_abs = max_relative = used = 0.0
    low, high = math.inf, -math.inf
    worst: list[tuple[float, int]] = []
    for start in range(0, theirs.size, _CHUNK):
        raw = ours[start : start + _CHUNK], theirs[start : start + _CHUNK]
        a, b = (part.astype(np.float64) for part in raw)
        with np.errstate(invalid="ignore"):
            apart = np.abs(a - b)
        apart[(a == b) | (np.isnan(a) & np.isnan(b))] = 0
        apart[np.isnan(apart)] = np.inf
        if all(part.dtype.kind in "iu" for part in raw):
            apart = np.maximum(apart, raw[0] != raw[1])  # beyond 2**53 float64 takes neighbours for the same
        finite = np.isfinite(a) & np.isfinite(b)
        room = atol + limits.rtol * np.where(np.isfinite(b), np.abs(b), 0)
        excess = apart - room
        with np.errstate(divide="ignore", invalid="ignore"):
            used = max(used, float(np.where(apart > 0, apart / room, 0).max()))
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
        relative = apart[b != 0] / np.abs(b[b != 0])
        max_relative = max(max_relative, float(relative.max(initial=0)))
        sums.update(
            {
                "finite": a.size, "abs": float(apart.sum()), "squares": float(apart @ apart), "nonzero": relative.size,
                "relative": float(relative.sum()), "ab": float(a @ b), "aa": float(a @ a), "bb": float(b @ b),
            }
        )  # fmt: skip
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
        used=used,
    )


def _root_mean_square(flat: Array) -> float:
    import numpy as np

    total, count = 0.0, 0
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK].astype(np.float64)
        part = part[np.isfinite(part)]
        total, count = total + float(part @ part), count + part.size
    return math.sqrt(total / count) if count else 0.0


def _cosine(ab: float, aa: float, bb: float) -> float:
    """The cosine of the angle between two vectors; 1 for two that are zero, 0 where only one is."""
    if not aa or not bb:
        return 1.0 if aa == bb else 0.0
    return ab / (math.sqrt(aa) * math.sqrt(bb))


def _psnr_db(peak: float, mean_square: float) -> float:
    """Peak signal-to-noise ratio, 10 log10(peak**2 / mean square error), in dB; infinite where there is no error."""
    if mean_square == 0:
        return math.inf
    return 10 * math.log10(peak * peak / mean_square) if 0 < peak < math.inf else -math.inf


def _has_rows(array: Array, count: int) -> bool:
    """Whether the `count` largest of a row say anything: they are half of it at most."""
    return bool(array.ndim and array.size and array.shape[-1] >= 2 * count and array.dtype.kind != "b")


def _top(output: Array, reference: Array, count: int) -> float | None:
    """How much of the `count` largest elements of a row are the same ones, on average over the rows."""
    import numpy as np

    if not _has_rows(reference, count):
        return None
    width = reference.shape[-1]
    ours, theirs = output.reshape(-1, width), reference.reshape(-1, width)
    step, same = max(1, _CHUNK // width), 0
    for at in range(0, len(theirs), step):
        a, b = (rows[at : at + step].astype(np.float64) for rows in (ours, theirs))
        if count == 1:  # the first of several that are the largest
            same += int((a.argmax(-1) == b.argmax(-1)).sum())
        else:
            best = [np.argpartition(rows, -count)[:, -count:] for rows in (a, b)]
            same += int((best[0][:, :, None] == best[1][:, None, :]).any(2).sum())
    return same / count / len(theirs)
