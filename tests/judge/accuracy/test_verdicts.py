"""Test verdicts on outputs against a reference."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_trt.judge.accuracy.allowed_error import DEFAULTS, AccuracyLimits, limits_for
from pytest_trt.judge.accuracy.difference import compare
from pytest_trt.judge.accuracy.verdicts import judge, judge_difference
from pytest_trt.spec.expectations import Accuracy

EXACT = AccuracyLimits(0.0, 0.0, None, atol_scaled=False)


def noise(shape: tuple[int, ...] = (4, 50), seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_equal_outputs_are_ok_under_the_strictest_limits() -> None:
    found = compare(noise(), noise(), EXACT)
    assert (found.beyond, found.max_abs, found.cosine, found.psnr_db) == (0, 0.0, pytest.approx(1.0), math.inf)
    assert (found.top1, found.top5) == (1.0, 1.0)
    assert judge({"y": noise()}, {"y": noise()}, EXACT, "it")[0].status == "ok"


def test_worst_elements_are_shown_with_index_and_values() -> None:
    expected = np.zeros((5, 6), np.float32)
    output = expected.copy()
    output[4, 2], output[1, 5], output[0, 0] = 3.0, -7.0, 0.5
    found = compare(output, expected, AccuracyLimits(0.0, 1.0, None, atol_scaled=False))
    assert found.worst == (((1, 5), -7.0, 0.0), ((4, 2), 3.0, 0.0))
    verdict = judge({"y": output}, {"y": expected}, AccuracyLimits(0.0, 1.0, None, atol_scaled=False), "the reference")[
        0
    ]
    assert verdict.status == "inaccurate"
    assert "at [1, 5]: -7, 0 in the reference" in verdict.details
    assert "2 of 30 elements are beyond rtol 0, atol 1" in verdict.text


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinities_are_never_within_tolerance(bad: float) -> None:
    output = noise()
    output[1, 1] = bad
    verdict = judge({"y": output}, {"y": noise()}, AccuracyLimits(1e30, 1e30, None, atol_scaled=False), "it")[0]
    assert verdict.status == "inaccurate"
    other_way = judge({"y": noise()}, {"y": output}, AccuracyLimits(1e30, 1e30, None, atol_scaled=False), "it")[0]
    assert other_way.status == "inaccurate"
    assert any(("NaN" in line) == math.isnan(bad) and "1" in line for line in verdict.details[-2:])


def test_reference_of_only_nan_is_inaccurate() -> None:
    nothing = np.full((2, 3), np.nan, np.float32)
    verdict = judge({"y": nothing}, {"y": nothing}, DEFAULTS["fp16"], "it")[0]
    assert verdict.status == "inaccurate"
    assert "proves nothing" in verdict.text


def test_empty_reference_is_inaccurate() -> None:
    assert judge({"y": noise()}, {}, EXACT, "ref.npz")[0].status == "inaccurate"


def test_only_outputs_without_elements_are_inaccurate() -> None:
    empty, one = np.zeros((0, 4)), np.ones(1)
    found = judge({"y": empty, "n": one}, {"y": empty, "n": one}, DEFAULTS["fp32"], "it")
    assert [verdict.status for verdict in found] == ["ok", "ok"]
    (alone,) = judge({"y": empty, "z": empty}, {"y": empty, "z": empty}, DEFAULTS["fp32"], "it")
    assert alone.status == "inaccurate"
    assert alone.text == "'y', 'z' of it are empty: use inputs for which they are not"


def test_missing_output_and_other_shape_are_named() -> None:
    reference = {"y": noise(), "z": noise((2, 2))}
    verdicts = judge({"y": noise((4, 51)), "extra": noise()}, reference, EXACT, "ref.npz")
    assert [verdict.status for verdict in verdicts] == ["inaccurate", "inaccurate"]
    assert "(4, 51), but (4, 50) in ref.npz" in verdicts[0].text
    assert "no output 'z'" in verdicts[1].text
    assert "not compared, ref.npz lacks them: 'extra'" in verdicts[1].details


def test_integers_are_compared_exactly_by_default() -> None:
    expected = np.array([1, 2, 2**53], np.int64)
    output = np.array([1, 2, 2**53 + 1], np.int64)
    (exact,) = judge({"y": output}, {"y": expected}, DEFAULTS["fp16"], "it")
    assert exact.status == "inaccurate"
    assert "departs from it: 1 of 3 elements differ (" in exact.text
    assert judge({"y": output}, {"y": expected}, limits_for(Accuracy(atol=1.0), "fp16", True), "it")[0].status == "ok"


def test_type_of_the_output_decides_on_exact_comparison() -> None:
    labels, scores = np.array([1000, 7]), np.array([1.00001, 2.0], np.float32)
    assert judge({"y": labels}, {"y": np.array([1001.0, 7.0])}, DEFAULTS["tf32"], "ref.npz")[0].status == "inaccurate"
    assert judge({"y": scores}, {"y": np.array([1, 2])}, DEFAULTS["fp32"], "ref.npz")[0].status == "ok"


@pytest.mark.filterwarnings("error")
def test_values_whose_squares_overflow_are_compared() -> None:
    large = np.array([1e300, -1e250, 3.0])
    assert judge({"y": large}, {"y": large}, DEFAULTS["fp32"], "it")[0].status == "ok"
    for other in (large * 2, -large, np.zeros(3), large[::-1]):
        assert judge({"y": large}, {"y": other}, DEFAULTS["fp16"], "it")[0].status == "inaccurate"
        assert judge({"y": other}, {"y": large}, DEFAULTS["fp16"], "it")[0].status == "inaccurate"


@pytest.mark.parametrize("expected", [np.arange(30).reshape(10, 3), noise((2, 20, 6)), noise((1, 50)), noise((12,))])
def test_other_order_is_inaccurate_and_suggests_unordered(expected: NDArray[Any]) -> None:
    axis = 1 if expected.ndim == 1 or len(expected) == 1 else 2
    output = np.take(expected, np.random.default_rng(0).permutation(expected.shape[-axis]), -axis)
    output = output * 1.001 if output.dtype.kind == "f" else output
    found = judge({"y": output}, {"y": expected}, DEFAULTS["int8"], "it")[0]
    assert found.status == "inaccurate"
    allowed_by = f"trt_accuracy(unordered={{'y': {expected.ndim - axis}}})"
    assert found.details[0] == f"it has the same values in another order: if any order will do, declare {allowed_by}"
    assert judge({"y": output}, {"y": expected}, DEFAULTS["int8"], "it", {"y": -axis})[0].status == "ok"


def test_wrong_values_do_not_suggest_unordered() -> None:
    repeated = np.array([[1, 2], [1, 2], [3, 4]])
    pairs = [
        (noise((4, 1000)), noise((4, 1000), 1)),
        (noise((300, 4)), noise((300, 4), 1)),
        (repeated[[0, 2, 2]], repeated),
    ]
    for output, expected in [*pairs, (noise((1, 1 << 13)), noise((1, 1 << 13))[:, ::-1])]:
        found = judge({"y": output}, {"y": expected}, DEFAULTS["int8"], "it")[0]
        assert found.status == "inaccurate"
        assert not any("order" in line for line in found.details)
    short = judge({"y": noise((4, 3))}, {"y": noise((4, 3))}, limits_for(Accuracy(top5=0.5), "fp32", False), "it")[0]
    assert short.status == "inaccurate"
    assert not any("order" in line for line in short.details)


def test_default_atol_is_scaled_to_the_output() -> None:
    expected = 1000 * noise()
    output = expected + 10.0  # beyond 1 % of many elements, within 3 % of the root mean square
    assert judge({"y": output}, {"y": expected}, limits_for(Accuracy(), "fp16", True), "it")[0].status == "ok"
    own_limits = limits_for(Accuracy(rtol=1e-2, atol=1e-2), "fp16", True)
    assert judge({"y": output}, {"y": expected}, own_limits, "it")[0].status == "inaccurate"


def test_cosine_alone_can_fail() -> None:
    expected = noise((1, 9))
    verdict = judge({"y": -expected}, {"y": expected}, AccuracyLimits(1e9, 0.0, 0.9, atol_scaled=False), "it")[0]
    assert verdict.status == "inaccurate"
    assert "cosine is -1.000000, below 0.9" in verdict.text


def test_top_agreement_and_psnr_can_be_required() -> None:
    expected = np.tile(np.arange(20, dtype=np.float32), (4, 1))
    output = expected.copy()
    output[0, 3] = 100.0

    def text(outputs: dict[str, Any] | None = None, **limits: Any) -> str:
        loose = AccuracyLimits(0.0, 1000.0, None, atol_scaled=False, **limits)
        return judge({"y": output, "n": output[:, :1]}, outputs or {"y": expected}, loose, "it")[0].text

    assert "agrees" in text(top1=0.75, top5=0.95)
    assert "its top 1 is the same in 75.00%, below 80.00%" in text(top1=0.8)
    assert "its top 5 is the same in 95.00%, below 96.00%" in text(top5=0.96)
    assert "its PSNR is 4.9 dB, below 20" in text(psnr_db=20.0)
    assert "its rows are too short for a top 1" in text({"n": expected[:, :1]}, top1=0.1)
    assert "agrees" in text({"n": expected[:, :1], "y": expected}, top1=0.1)  # another output's are not


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "bool", "uint8"])
def test_every_output_dtype_is_compared(dtype: str) -> None:
    import ml_dtypes

    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    expected = np.array([[0, 1, 1, 0, 1]]).astype(kind)
    assert judge({"y": expected.copy()}, {"y": expected}, DEFAULTS["fp16"], "it")[0].status == "ok"
    assert (
        judge({"y": 1 - expected.astype(np.float32)}, {"y": expected}, DEFAULTS["fp16"], "it")[0].status == "inaccurate"
    )


def probabilities() -> NDArray[np.float32]:
    """Softmax outputs of 40 rows of 6,625 classes, as a text recogniser has them."""
    logits = noise((40, 6625), seed=1) + 12 * np.eye(40, 6625, dtype=np.float32)
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(-1, keepdims=True), np.float32)


DEFAULT_FP16 = limits_for(Accuracy(), "fp16", tf32=True)


def test_single_outlier_of_a_large_output_is_tolerated() -> None:
    expected = probabilities()
    output = expected.copy()
    expected[3, 100] = 1e-3
    output[3, 100] = 9e-3
    (verdict,) = judge({"y": output}, {"y": expected}, DEFAULT_FP16, "it")
    assert verdict.status == "ok"
    assert "1 of 265000 elements slightly beyond the limits" in verdict.text
    for declared in (Accuracy(atol=1e-3), Accuracy(rtol=0.05)):
        strict = limits_for(declared, "fp16", tf32=True)
        assert judge({"y": output}, {"y": expected}, strict, "it")[0].status == "inaccurate"


def _zero_row(y: NDArray[np.float32]) -> None:
    y[7] = 0


def _swap_classes(y: NDArray[np.float32]) -> None:
    y[7, [7, 9]] = y[7, [9, 7]]


def _large_error(y: NDArray[np.float32]) -> None:
    y[7, 9] += 0.4


def _not_a_number(y: NDArray[np.float32]) -> None:
    y[7, 9] = np.nan


def _infinity(y: NDArray[np.float32]) -> None:
    y[7, 9] = np.inf


def _three_outliers(y: NDArray[np.float32]) -> None:
    y[7, 9:12] += 0.008


def _scaled(y: NDArray[np.float32]) -> None:
    y *= 1.2


def _shifted(y: NDArray[np.float32]) -> None:
    y[:] = np.roll(y, 1, axis=0)


def _uniform(y: NDArray[np.float32]) -> None:
    y[:] = 1 / 6625


def _wrong_class(y: NDArray[np.float32]) -> None:
    """One class has half its probability in every row; one row shows it."""
    y[:, 100] *= 0.5
    y[3, 100] += 0.008


FAULTS = (
    _wrong_class,
    _zero_row, _swap_classes, _large_error, _not_a_number, _infinity, _three_outliers, _scaled, _shifted, _uniform
)  # fmt: skip


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_fault_in_a_large_output_is_caught(fault: Any, precision: str) -> None:
    """Every fault that the limits caught without outliers is still caught."""
    expected = probabilities()
    output = expected.copy()
    fault(output)
    limits = limits_for(Accuracy(), precision, tf32=False)
    assert judge({"y": output}, {"y": expected}, limits, "it")[0].status == "inaccurate"


def test_outlier_is_not_tolerated_without_classes_or_in_a_small_output() -> None:
    for shape in ((400, 50), (60_000, 4), (1_000_000,)):
        expected = noise(shape)
        output = expected.copy()
        output.reshape(-1)[11] += 0.2 + 0.1 * abs(output.reshape(-1)[11])
        if len(shape) == 1:
            output.reshape(-1)[11] = 2 * expected.max()
        assert judge({"y": output}, {"y": expected}, DEFAULT_FP16, "it")[0].status == "inaccurate"


def test_reference_below_what_fp16_holds_is_explained() -> None:
    expected = noise() * np.float32(1e-10)
    output = expected.astype(np.float16).astype(np.float32)
    (verdict,) = judge({"y": output}, {"y": expected}, DEFAULT_FP16, "it")
    assert verdict.status == "inaccurate"
    assert "but fp16 holds numbers below 6.1e-05 only in part" in verdict.details[0]
    (other,) = judge({"y": output}, {"y": expected}, limits_for(Accuracy(), "bf16", tf32=True), "it")
    assert "fp16" not in str(other)


def test_empty_and_missing_outputs_are_named_in_the_singular_too() -> None:
    empty = np.zeros((0, 4))
    (alone,) = judge({"y": empty}, {"y": empty}, DEFAULTS["fp32"], "it")
    assert alone.text == "'y' of it is empty: use inputs for which they are not"
    (missing,) = judge({}, {"y": noise()}, EXACT, "it")
    assert missing.text == "there is no output 'y', which it has: the engine's outputs are none"
    (missing,) = judge({"a": noise(), "b": noise()}, {"y": noise()}, EXACT, "it")
    assert missing.text.endswith("the engine's outputs are 'a', 'b'")


@pytest.mark.parametrize(("width", "limit"), [(2, {"top1": 1.0}), (3, {"top1": 1.0}), (10, {"top5": 1.0})])
def test_rows_that_are_just_long_enough_are_compared_beside_longer_ones(width: int, limit: dict[str, float]) -> None:
    long = np.tile(np.arange(20, dtype=np.float32), (2, 1))
    short = np.tile(np.arange(width, dtype=np.float32), (2, 1))
    limits = AccuracyLimits(0.0, 1000.0, None, atol_scaled=False, **limit)
    _, found = judge({"y": long, "n": short[:, ::-1]}, {"y": long, "n": short}, limits, "it")
    assert found.status == "inaccurate"


def test_only_a_reference_below_the_precision_is_explained() -> None:
    import ml_dtypes

    def hints(reference: NDArray[Any], output: NDArray[Any]) -> list[str]:
        (verdict,) = judge({"y": output}, {"y": reference}, DEFAULT_FP16, "it")
        assert verdict.status == "inaccurate"
        return [line for line in verdict.details if "fp16 holds" in line]

    least = np.full((2, 3), 2.0**-14, np.float32)
    assert hints(least / 2, -least)
    assert not hints(least, -least)
    assert not hints(np.zeros((2, 3), np.float32), least)
    assert not hints((least / 2).astype(ml_dtypes.bfloat16), -least)


def test_limits_that_are_just_reached_are_kept() -> None:
    expected, output = np.array([[2.0, 0.0]]), np.array([[2.0, 0.5]])
    loose = AccuracyLimits(0.0, 1000.0, None, atol_scaled=False)
    found = compare(output, expected, loose)
    for limit in ({"cosine": found.cosine}, {"psnr_db": found.psnr_db}):
        assert judge_difference("y", found, dataclasses.replace(loose, **limit), "it").status == "ok"
        harder = {name: value + 1e-6 for name, value in limit.items()}
        assert judge_difference("y", found, dataclasses.replace(loose, **harder), "it").departs


@pytest.mark.parametrize(
    ("just", "beyond"),
    [
        ({"beyond": 1}, {"beyond": 2}),
        ({"beyond": 5, "elements": 10_000_000}, {"beyond": 6, "elements": 10_000_000}),
        ({"column_relative": 0.2}, {"column_relative": 0.21}),
        ({"worst_ratio": 10.0}, {"worst_ratio": 10.1}),
        ({"top1": 1.0}, {"top1": 0.99}),
        ({}, {"top5": None}),
    ],
)
def test_outliers_are_tolerated_up_to_each_limit(just: dict[str, Any], beyond: dict[str, Any]) -> None:
    found = dataclasses.replace(compare(noise((4, 50)), noise((4, 50)), DEFAULT_FP16), elements=100_000, beyond=1)
    assert judge_difference("y", dataclasses.replace(found, **just), DEFAULT_FP16, "it").status == "ok"
    assert judge_difference("y", dataclasses.replace(found, **beyond), DEFAULT_FP16, "it").status == "inaccurate"


def test_agreement_of_the_largest_elements_is_shown() -> None:
    (verdict,) = judge({"y": noise()}, {"y": noise()}, EXACT, "it")
    assert "same top 1: 100.0%, same top 5: 100.0%" in verdict.details
