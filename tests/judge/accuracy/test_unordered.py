"""Test outputs whose rows may be in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_trt.errors import DeclarationError, InputError
from pytest_trt.judge.accuracy import unordered as order
from pytest_trt.judge.accuracy.allowed_error import DEFAULTS, limits_for
from pytest_trt.judge.accuracy.unordered import restore_order
from pytest_trt.judge.accuracy.verdicts import judge
from pytest_trt.spec.expectations import Accuracy

Array = NDArray[Any]
RANDOM = np.random.default_rng(0)
SHAPES = [(12,), (1, 50), (30, 3), (2, 20, 6), (3, 2, 8)]


def restored(output: Array, reference: Array, axis: int) -> Array:
    return restore_order({"y": output}, {"y": reference}, {"y": axis})["y"]


@pytest.mark.parametrize("kind", ["int64", "float32", "bool"])
@pytest.mark.parametrize(("shape", "axis"), [(shape, axis) for shape in SHAPES for axis in range(-1, len(shape))])
def test_shuffled_rows_are_restored(shape: tuple[int, ...], axis: int, kind: str) -> None:
    """Each index before the axis has an order of its own."""
    reference = (RANDOM.standard_normal(shape) * 10).astype(kind)
    output = reference.copy()
    for before in np.ndindex(shape[: axis % len(shape)]):
        output[before] = output[before][RANDOM.permutation(shape[axis])]
    assert np.array_equal(restored(output, reference, axis), reference)


def test_nearly_equal_rows_are_matched() -> None:
    reference = RANDOM.standard_normal((100, 4)).astype(np.float32)
    shuffle = RANDOM.permutation(100)
    output = (reference * (1 + 1e-3 * RANDOM.standard_normal((100, 4))))[shuffle]
    assert np.array_equal(restored(output, reference, 0), output[np.argsort(shuffle)])


def test_each_row_is_matched_once() -> None:
    reference, output = np.array([[1, 2], [1, 2], [3, 4]]), np.array([[1, 2], [3, 4], [3, 4]])
    assert sorted(restored(output, reference, 0).tolist()) == sorted(output.tolist())


@pytest.mark.filterwarnings("error")
def test_nan_and_infinities_match_their_own_kind() -> None:
    reference = np.array([[np.nan, 1], [np.inf, 2], [-np.inf, 3], [1e308, -1e308], [5, np.nan]])
    for shift in range(5):
        assert np.array_equal(restored(np.roll(reference, shift, 0), reference, 0), reference, equal_nan=True)
    assert restored(np.full((2, 2), np.nan), np.zeros((2, 2)), 0).shape == (2, 2)


def test_empty_outputs_are_accepted() -> None:
    for shape in ((0, 3), (3, 0), (0,)):
        assert restored(np.zeros(shape), np.zeros(shape), 0).shape == shape


def test_too_many_inexact_rows_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_MOST_COMPARED", 1000)
    reference = RANDOM.standard_normal((40, 3))
    assert np.array_equal(restored(reference[::-1], reference, 0), reference)
    with pytest.raises(InputError, match=r"matching 40 rows of 3 elements would take too long: sort them in the mo"):
        restored(reference[::-1] * 1.001, reference, 0)
    batch = np.stack([reference[:10]] * 8)
    restored(batch[:1, ::-1] * 1.001, batch[:1], 1)
    with pytest.raises(InputError, match=r"matching 10 rows of 3 elements in 8 tables would take too long"):
        restored(batch[:, ::-1] * 1.001, batch, 1)


def status(output: Array, reference: Array, unordered: dict[str, int], precision: str = "fp16") -> str:
    (verdict,) = judge({"y": output}, {"y": reference}, DEFAULTS[precision], "it", unordered)
    return verdict.status


def test_other_order_is_ok_only_if_declared() -> None:
    reference = RANDOM.integers(0, 100, (50, 3))
    assert status(reference[::-1], reference, {}) == "inaccurate"
    assert status(reference[::-1], reference, {"y": 0}) == "ok"
    assert status(reference[::-1], reference, {"y": -2}) == "ok"
    other = reference.copy()
    other[7, 1] += 1
    assert status(other[::-1], reference, {"y": 0}) == "inaccurate"
    assert status(reference[:-1], reference, {"y": 0}) == "inaccurate"  # another shape


def detections(order: Array) -> dict[str, Array]:
    """Return twenty boxes in pixels for each of two pictures, three of them equal, with their scores and classes."""
    random = np.random.default_rng(7)
    boxes = random.uniform(0, 640, (2, 20, 4)).astype(np.float32)
    boxes[:, 1:3] = boxes[:, :1]
    found = {"boxes": boxes, "scores": random.random((2, 20), np.float32), "classes": random.integers(0, 80, (2, 20))}
    return {name: np.stack([column[0][order[0]], column[1][order[1]]]) for name, column in found.items()}


def test_outputs_with_equally_many_rows_share_one_order() -> None:
    """This also holds if two rows differ in only one column. A score of another box is an error."""
    unordered = {"boxes": 1, "scores": 1, "classes": -1}
    straight = np.stack([np.arange(20)] * 2)
    reference = detections(straight)
    output = detections(np.stack([RANDOM.permutation(20), RANDOM.permutation(20)]))
    output["boxes"] = output["boxes"] * np.float32(1.0003)
    assert [found.status for found in judge(output, reference, DEFAULTS["tf32"], "it", unordered)] == ["ok"] * 3
    output["scores"] = output["scores"][:, ::-1]
    scores = judge(output, reference, DEFAULTS["tf32"], "it", unordered)[1]
    assert scores.status == "inaccurate"
    assert scores.details[0] == (
        "it has the same values in another order than 'boxes', 'classes': rows that belong together are apart"
    )
    assert [found.status for found in judge(output, reference, DEFAULTS["tf32"], "it", {"scores": 1})[1:2]] == ["ok"]


def test_outputs_with_different_numbers_of_rows_have_separate_orders() -> None:
    reference = {"few": RANDOM.random((5, 2)), "many": RANDOM.random((9, 2))}
    output = {"few": reference["few"][RANDOM.permutation(5)], "many": reference["many"][RANDOM.permutation(9)]}
    assert [found.status for found in judge(output, reference, DEFAULTS["fp32"], "it", {"few": 0, "many": 0})] == [
        "ok"
    ] * 2


def test_unknown_output_or_axis_is_an_error() -> None:
    outputs = {"y": np.zeros((2, 3))}
    with pytest.raises(InputError, match=r"unordered: there is no output 'boxes': there are 'y'"):
        restore_order(outputs, outputs, {"boxes": 0})
    for axis in (2, -3):
        with pytest.raises(InputError, match=rf"'y' has the shape \(2, 3\): it has no axis {axis}"):
            restore_order(outputs, outputs, {"y": axis})


def test_declaration_of_unordered_is_checked() -> None:
    assert limits_for(Accuracy(unordered={"y": 0}), "fp16", True) == DEFAULTS["fp16"]
    with pytest.raises(DeclarationError, match=r"trt_accuracy: unordered.*'first'"):
        Accuracy(unordered={"y": "first"})  # type: ignore[dict-item]
    with pytest.raises(DeclarationError, match=r"does not allow top1, top5 or unordered"):
        Accuracy(reference="baseline", unordered={"y": 0})
