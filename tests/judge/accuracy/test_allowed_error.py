"""Test the allowed errors by precision and declaration."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_trt.judge.accuracy.allowed_error import (
    DEFAULTS,
    MAX_COLUMN_ERROR,
    MAX_OUTLIER_RATIO,
    AccuracyLimits,
    elementwise,
    limits_for,
    relative_to_rms,
)
from pytest_trt.judge.accuracy.verdicts import judge
from pytest_trt.spec.expectations import Accuracy


def test_limits_follow_the_precision_and_the_declaration() -> None:
    assert limits_for(Accuracy(), "fp32", tf32=False) == DEFAULTS["fp32"]
    assert limits_for(Accuracy(), "fp32", tf32=True) == DEFAULTS["tf32"]
    assert limits_for(Accuracy(), "best", tf32=True) == DEFAULTS["bf16"]
    assert limits_for(Accuracy(cosine=0.5), "int8", tf32=True).cosine == 0.5
    declared = AccuracyLimits(0.0, 0.1, None, atol_scaled=False, least_normal=2.0**-14)
    assert limits_for(Accuracy(atol=0.1), "fp16", tf32=True) == declared


def test_additional_measures_keep_the_default_tolerances() -> None:
    found = limits_for(Accuracy(top1=0.9, psnr_db=30.0), "fp16", False)
    assert (found.rtol, found.cosine, found.top1, found.psnr_db) == (5e-2, 0.9995, 0.9, 30.0)
    mixed = AccuracyLimits(0.0, 1.0, None, atol_scaled=False, top5=0.9, least_normal=2.0**-14)
    assert limits_for(Accuracy(atol=1.0, top5=0.9), "fp16", False) == mixed


@pytest.mark.parametrize(("precision", "wrong"), [("fp16", 1.2), ("bf16", 1.4)])
def test_defaults_accept_rounding_and_catch_errors_of_a_deep_network(precision: str, wrong: float) -> None:
    """The network has fifty layers; every weight and every result is rounded to the precision."""
    import ml_dtypes

    kind = np.dtype({"fp16": np.float16, "bf16": ml_dtypes.bfloat16}[precision])
    random = np.random.default_rng(0)
    exact = rounded = random.standard_normal((4, 128)).astype(np.float32)
    for _ in range(50):
        weights = random.standard_normal((128, 128)).astype(np.float32) * math.sqrt(2 / 128)
        exact = np.maximum(exact @ weights, 0)
        rounded = np.maximum(rounded @ weights.astype(kind).astype(np.float32), 0).astype(kind).astype(np.float32)
    limits = limits_for(Accuracy(), precision, tf32=False)
    assert judge({"y": rounded}, {"y": exact}, limits, "float32")[0].status == "ok"
    assert judge({"y": wrong * rounded}, {"y": exact}, limits, "float32")[0].status == "inaccurate"
    swapped = np.roll(rounded, 1, axis=-1)
    assert judge({"y": swapped}, {"y": exact}, limits, "float32")[0].status == "inaccurate"


@pytest.mark.parametrize(
    ("precision", "rtol", "atol", "cosine"),
    [
        ("fp32", 1e-4, 1e-4, 0.99999),
        ("tf32", 0.05, 0.05, 0.9995),
        ("fp16", 0.05, 0.1, 0.9995),
        ("bf16", 0.2, 0.3, 0.995),
        ("int8", 0.1, 0.5, 0.98),
        ("fp8", 0.1, 0.5, 0.98),
    ],
)
def test_every_precision_has_the_limits_of_the_documentation(
    precision: str, rtol: float, atol: float, cosine: float
) -> None:
    least = 2.0**-14 if precision == "fp16" else 0.0
    assert DEFAULTS[precision] == AccuracyLimits(rtol, atol, cosine, True, None, None, None, 1e-5, least)
    assert (MAX_OUTLIER_RATIO, MAX_COLUMN_ERROR) == (10, 0.2)


def test_integers_are_exact_unless_a_test_declares_tolerances() -> None:
    limits = DEFAULTS["fp16"]
    for kind in "iub":
        assert limits.for_kind(kind) == AccuracyLimits(0.0, 0.0, None, least_normal=2.0**-14)
    assert limits.for_kind("f") == limits
    declared = limits_for(Accuracy(rtol=0.5), "fp16", False)
    assert (declared.rtol, declared.atol, declared.outlier_share) == (0.5, 0.0, 0.0)
    assert declared.for_kind("i") == declared


def test_limits_of_any_tensor_are_those_of_elements_and_the_cosine() -> None:
    whole = limits_for(Accuracy(top1=0.9, top5=0.8, psnr_db=30.0), "fp16", False)
    assert elementwise(whole) == AccuracyLimits(0.05, 0.1, 0.9995, least_normal=2.0**-14)


def test_an_absolute_tolerance_becomes_a_share_of_the_size() -> None:
    reference = np.array([[3.0, -3.0], [3.0, 3.0]])
    declared = limits_for(Accuracy(atol=0.6), "fp32", False)
    found = relative_to_rms(declared, reference)
    assert (found.atol, found.atol_scaled) == (pytest.approx(0.2), True)
    assert relative_to_rms(declared, 0 * reference) == declared
    assert relative_to_rms(DEFAULTS["fp32"], reference) == DEFAULTS["fp32"]
