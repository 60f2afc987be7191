"""What is allowed of an output, by precision and by what a test says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_trt.judge.accuracy.norms import root_mean_square
from pytest_trt.spec.expectations import Accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class AccuracyLimits:
    """An element may differ by `rtol` times the reference's size there, plus `atol`, which is a share of the
    reference's root mean square where `atol_scaled`. The whole must reach `cosine` similarity and `psnr_db`, its rows
    `top1`
    and `top5` agreement, where these are given (see Difference)."""

    rtol: float
    atol: float
    cosine: float | None
    atol_scaled: bool = True
    psnr_db: float | None = None
    top1: float | None = None
    top5: float | None = None

    def for_kind(self, kind: str) -> AccuracyLimits:
        """These limits for an output of numpy's `kind`: integers and bools are exact unless a test says otherwise."""
        exact = self.atol_scaled and kind in "iub"
        return dataclasses.replace(self, rtol=0.0, atol=0.0, cosine=None) if exact else self


DEFAULTS: Mapping[str, AccuracyLimits] = {
    "fp32": AccuracyLimits(1e-4, 1e-4, 0.99999),
    "tf32": AccuracyLimits(5e-2, 5e-2, 0.9995),
    "fp16": AccuracyLimits(5e-2, 1e-1, 0.9995),
    "bf16": AccuracyLimits(2e-1, 3e-1, 0.995),
    "int8": AccuracyLimits(1e-1, 5e-1, 0.98),
    "fp8": AccuracyLimits(1e-1, 5e-1, 0.98),
}
"""What is allowed by precision where a test says nothing.

A result rounded to a significand of p bits is off by up to u = 2**-p of its size: 2**-24 in fp32, 2**-11 in fp16 and
tf32, 2**-8 in bf16, 2**-4 in fp8's e4m3; int8's step is 1/127 of a tensor's largest value (IEEE 754; OCP OFP8). Through
a network errors add up like a random walk. In random networks of 10 to 100 layers whose weights and results are all
rounded, the worst element ends 0.002 to 0.03 root mean squares of the output off in tf32 and fp16, 8 times that in
bf16, and 0.07 to 0.7 in int8; the lower ends are networks with residual connections. A Softmax or a Sigmoid makes
relative errors of absolute ones: in 31 trained networks (readers of text and of speech, detectors, classifiers) whose
weights alone were rounded, the worst element was within tf32's limits in 30, and within rtol 0.01 with atol 0.03 in 23;
within bf16's in 28 of 32, and within 0.08 with 0.25 in 24. fp16 is allowed more than tf32: TensorRT also adds up in it,
where tf32 and bf16 add up in fp32. On an H200 the whole output was off by 0.1 to 1.5 % of its size
(docs/results/2026-11-24-h200-networks.md; a cosine of 1 - e**2 / 2 is an error of e). Elements near zero carry the
error of the large ones that cancelled in them: hence the absolute part, and hence it goes with the root mean square. In
fp32 what shows is that sums of thousands of terms are taken in another order: 1e-4 is some 1000 u. Quantised networks
move single elements far; there it is the cosine that tells whether the whole still points the same way.
"""


def limits_for(accuracy: Accuracy, precision: str, tf32: bool) -> AccuracyLimits:
    """What a test allows: what it says itself, else DEFAULTS for the precision. `tf32` is whether fp32 may run as TF32.
    Once a test gives rtol or atol, both are meant as numpy.allclose means them, and what it leaves out is 0."""
    name = {"fp32": "tf32" if tf32 else "fp32", "best": "bf16"}.get(precision, precision)
    limits = DEFAULTS[name]
    if accuracy.rtol is not None or accuracy.atol is not None:
        limits = AccuracyLimits(accuracy.rtol or 0.0, accuracy.atol or 0.0, None, atol_scaled=False)
    said = {name: getattr(accuracy, name) for name in ("cosine", "psnr_db", "top1", "top5")}
    return dataclasses.replace(limits, **{name: limit for name, limit in said.items() if limit is not None})


def elementwise(limits: AccuracyLimits) -> AccuracyLimits:
    """What these limits say of elements and directions, and not of rows or the whole."""
    return dataclasses.replace(limits, psnr_db=None, top1=None, top5=None)


def relative_to_rms(limits: AccuracyLimits, reference: Array) -> AccuracyLimits:
    """The same limits, the absolute part as a share of the root mean square: what they allow of `reference`, for
    tensors of any size."""
    size = root_mean_square(reference.reshape(-1))
    if limits.atol_scaled or not size:
        return limits
    return dataclasses.replace(limits, atol=limits.atol / size, atol_scaled=True)
