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
    reference's root mean square where `scaled`; the cosine similarity of the whole must reach `cosine`."""

    rtol: float
    atol: float
    cosine: float | None
    scaled: bool = True

    def for_kind(self, kind: str) -> Allowed:
        """These limits for an output of numpy's `kind`: integers and bools are exact unless a test says otherwise."""
        return Allowed(0.0, 0.0, None) if self.scaled and kind in "iub" else self


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
    where that is not 0. `psnr_db` takes the reference's range as the peak. `top1` and `top5` are the shares of rows
    (last axis) whose largest, and whose five largest, are the same; None for rows of fewer than 10 elements. `nan` and
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
    usual = DEFAULTS[name]
    if accuracy.rtol is None and accuracy.atol is None:
        return usual if accuracy.cosine is None else dataclasses.replace(usual, cosine=accuracy.cosine)
    return Allowed(accuracy.rtol or 0.0, accuracy.atol or 0.0, accuracy.cosine, scaled=False)


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
    verdicts = [_judge(name, outputs, wanted, limits, source) for name, wanted in reference.items()]
    if unseen:
        listed = ", ".join(map(repr, unseen))
        last = verdicts[-1]
        verdicts[-1] = dataclasses.replace(
            last, details=(*last.details, f"not compared, {source} lacks them: {listed}")
        )
    return tuple(verdicts)


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
    if not faults:
        return Verdict(
            "ok", "accuracy", name, f"output {name!r} agrees with {source}: {figures}", details=_details(found)
        )
    text = f"output {name!r} departs from {source}: {'; '.join(faults)} ({figures})"
    return Verdict("inaccurate", "accuracy", name, text, details=(*_details(found), *_worst(found)))


def _details(found: Difference) -> tuple[str, ...]:
    noise = f", PSNR {found.psnr_db:.1f} dB" if math.isfinite(found.psnr_db) else ""
    lines = [f"max relative {found.max_relative:.3g}, mean relative {found.mean_relative:.3g}{noise}"]
    if found.top1 is not None and found.top5 is not None:
        lines.append(f"largest of a row the same in {100 * found.top1:.1f} %, five largest in {100 * found.top5:.1f} %")
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
    top1, top5 = _top(output, reference)
    return Difference(
        elements=theirs.size,
        beyond=int(sums["beyond"]),
        max_abs=max_abs,
        mean_abs=sums["abs"] / max(sums["finite"], 1),
        max_relative=max_relative,
        mean_relative=sums["relative"] / max(sums["nonzero"], 1),
        cosine=_cosine(sums["ab"], sums["aa"], sums["bb"]),
        psnr_db=_psnr_db(high - low, sums["squares"] / max(sums["finite"], 1)),
        top1=top1,
        top5=top5,
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


def _top(output: Array, reference: Array) -> tuple[float | None, float | None]:
    """How much of the largest and of the five largest elements of a row are the same, on average over the rows."""
    import numpy as np

    width = reference.shape[-1] if reference.ndim else 0
    if width < 2 * 5 or not reference.size or reference.dtype.kind == "b":
        return None, None
    ours, theirs = output.reshape(-1, width), reference.reshape(-1, width)
    step, first, five = max(1, _CHUNK // width), 0.0, 0.0
    for at in range(0, len(theirs), step):
        a, b = (rows[at : at + step].astype(np.float64) for rows in (ours, theirs))
        first += float((a.argmax(-1) == b.argmax(-1)).sum())
        best = [np.argpartition(rows, -5)[:, -5:] for rows in (a, b)]
        five += float((best[0][:, :, None] == best[1][:, None, :]).any(2).sum()) / 5
    return first / len(theirs), five / len(theirs)
