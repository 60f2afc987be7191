"""The error that an output may have: the defaults of each precision, and what a test declares."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_trt.judge.accuracy.norms import root_mean_square
from pytest_trt.spec.expectations import Accuracy

if TYPE_CHECKING:
    from pytest_trt.judge.accuracy.norms import Array


@dataclasses.dataclass(frozen=True)
class AccuracyLimits:
    """Limits on the difference of an output from its reference (see `difference.Difference`). None is no limit.

    Attributes:
        rtol: The part of an element's allowed error that is a share of the reference's element.
        atol: The part of an element's allowed error that does not depend on the element.
        cosine: The least cosine similarity of the whole output.
        atol_scaled: Whether `atol` is a share of the reference's root mean square, rather than in the output's unit.
        psnr_db: The least peak signal-to-noise ratio of the whole output, in dB.
        top1: The least share of rows with the same largest element.
        top5: The least share of the five largest elements of each row that are the same.
        outlier_share: The share of elements whose error may be up to `MAX_OUTLIER_RATIO` times the allowed one, in an
            output whose rows all have the same largest element.
        least_normal: The least positive number that the engine's precision holds with all its digits; 0 if it is not
            known.
    """

    rtol: float
    atol: float
    cosine: float | None
    atol_scaled: bool = True
    psnr_db: float | None = None
    top1: float | None = None
    top5: float | None = None
    outlier_share: float = 0.0
    least_normal: float = 0.0

    def for_kind(self, kind: str) -> AccuracyLimits:
        """Return the limits for an output of this NumPy kind.

        Integers and bools must be equal, unless a test declares tolerances.
        """
        exact = self.atol_scaled and kind in "iub"
        return dataclasses.replace(self, rtol=0.0, atol=0.0, cosine=None, outlier_share=0.0) if exact else self


OUTLIER_SHARE = 1e-5
"""The default of `AccuracyLimits.outlier_share`.

A healthy text recogniser in fp16 had 1 of 265,000 probabilities beyond the limits, and the same class in every row. An
output of fewer than 100,000 elements may have none.
"""

MAX_OUTLIER_RATIO = 10.0

MAX_COLUMN_ERROR = 0.2
"""The largest `Difference.column_relative` of an outlier. Beyond it, the element is part of a wrong class."""

DEFAULTS: Mapping[str, AccuracyLimits] = {
    "fp32": AccuracyLimits(1e-4, 1e-4, 0.99999, outlier_share=OUTLIER_SHARE),
    "tf32": AccuracyLimits(5e-2, 5e-2, 0.9995, outlier_share=OUTLIER_SHARE),
    "fp16": AccuracyLimits(5e-2, 1e-1, 0.9995, outlier_share=OUTLIER_SHARE, least_normal=2.0**-14),
    "bf16": AccuracyLimits(2e-1, 3e-1, 0.995, outlier_share=OUTLIER_SHARE),
    "int8": AccuracyLimits(1e-1, 5e-1, 0.98, outlier_share=OUTLIER_SHARE),
    "fp8": AccuracyLimits(1e-1, 5e-1, 0.98, outlier_share=OUTLIER_SHARE),
}
"""The limits of each precision, for tests that declare none.

A result rounded to a significand of p bits is off by up to u = 2**-p of its size: 2**-24 in fp32, 2**-11 in fp16 and
tf32, 2**-8 in bf16, 2**-4 in fp8's e4m3; int8's step is 1/127 of a tensor's largest value (IEEE 754; OCP OFP8). Through
a network, errors add up like a random walk. In random networks of 10 to 100 layers whose weights and results are all
rounded, the worst element was off by 0.002 to 0.03 root mean squares of the output in tf32 and fp16, by 8 times that in
bf16, and by 0.07 to 0.7 in int8. The lower ends are networks with residual connections.

A Softmax or a Sigmoid turns absolute errors into relative ones. In 31 trained networks (text and speech recognition,
detection, classification) whose weights alone were rounded, the worst element was within tf32's limits in 30, and
within rtol 0.01 with atol 0.03 in 23. It was within bf16's limits in 28 of 32, and within rtol 0.08 with atol 0.25 in
24. fp16 has wider limits than tf32 because TensorRT also accumulates in fp16, while tf32 and bf16 accumulate in fp32.
On an H200 the whole output was off by 0.1 to 1.5 % of its size (docs/results/2026-11-24-h200-networks.md; a cosine of
1 - e**2 / 2 is an error of e).

An element near zero has the error of the large terms that cancelled in it. That is why there is an absolute part, and
why it is a share of the root mean square. The error of fp32 comes from sums of thousands of terms in another order:
1e-4 is some 1000 u. Quantised networks move single elements far; there, the cosine shows whether the whole output still
points the same way.
"""


def limits_for(accuracy: Accuracy, precision: str, tf32: bool) -> AccuracyLimits:
    """Return the limits of a test: those that it declares, else `DEFAULTS` of the precision.

    If a test declares rtol or atol, both have the meaning of `numpy.allclose`, and one that it leaves out is 0.

    Args:
        accuracy: What the test declares.
        precision: The engine's precision.
        tf32: Whether fp32 may run as TF32.
    """
    name = {"fp32": "tf32" if tf32 else "fp32", "best": "bf16"}.get(precision, precision)
    limits = DEFAULTS[name]
    if accuracy.rtol is not None or accuracy.atol is not None:
        rtol, atol = accuracy.rtol or 0.0, accuracy.atol or 0.0
        limits = AccuracyLimits(rtol, atol, None, atol_scaled=False, least_normal=limits.least_normal)
    declared = {name: getattr(accuracy, name) for name in ("cosine", "psnr_db", "top1", "top5")}
    return dataclasses.replace(limits, **{name: limit for name, limit in declared.items() if limit is not None})


def elementwise(limits: AccuracyLimits) -> AccuracyLimits:
    """Return the limits that suit any tensor of a network: those on elements and on the cosine."""
    return dataclasses.replace(limits, psnr_db=None, top1=None, top5=None, outlier_share=0.0)


def relative_to_rms(limits: AccuracyLimits, reference: Array) -> AccuracyLimits:
    """Return the same limits with `atol` as a share of the reference's root mean square, for tensors of other sizes."""
    size = root_mean_square(reference.reshape(-1))
    if limits.atol_scaled or not size:
        return limits
    return dataclasses.replace(limits, atol=limits.atol / size, atol_scaled=True)
