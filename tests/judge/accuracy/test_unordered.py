"""Outputs whose rows may be in any order."""

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


def aligned(got: Array, wanted: Array, axis: int) -> Array:
    return restore_order({"y": got}, {"y": wanted}, {"y": axis})["y"]


@pytest.mark.parametrize("kind", ["int64", "float32", "bool"])
@pytest.mark.parametrize(("shape", "axis"), [(shape, axis) for shape in SHAPES for axis in range(-1, len(shape))])
def test_what_was_shuffled_is_put_back(shape: tuple[int, ...], axis: int, kind: str) -> None:
    """Along an axis, each with an order of its own for what stands before it."""
    wanted = (RANDOM.standard_normal(shape) * 10).astype(kind)
    got = wanted.copy()
    for before in np.ndindex(shape[: axis % len(shape)]):
        got[before] = got[before][RANDOM.permutation(shape[axis])]
    assert np.array_equal(aligned(got, wanted, axis), wanted)


def test_rows_that_are_nearly_the_same_are_the_nearest_ones() -> None:
    wanted = RANDOM.standard_normal((100, 4)).astype(np.float32)
    shuffle = RANDOM.permutation(100)
    got = (wanted * (1 + 1e-3 * RANDOM.standard_normal((100, 4))))[shuffle]
    assert np.array_equal(aligned(got, wanted, 0), got[np.argsort(shuffle)])


def test_each_is_taken_once() -> None:
    wanted, got = np.array([[1, 2], [1, 2], [3, 4]]), np.array([[1, 2], [3, 4], [3, 4]])
    assert sorted(aligned(got, wanted, 0).tolist()) == sorted(got.tolist())


@pytest.mark.filterwarnings("error")
def test_what_is_not_finite_goes_to_its_like() -> None:
    wanted = np.array([[np.nan, 1], [np.inf, 2], [-np.inf, 3], [1e308, -1e308], [5, np.nan]])
    for shift in range(5):
        assert np.array_equal(aligned(np.roll(wanted, shift, 0), wanted, 0), wanted, equal_nan=True)
    assert aligned(np.full((2, 2), np.nan), np.zeros((2, 2)), 0).shape == (2, 2)


def test_nothing_has_no_order() -> None:
    for shape in ((0, 3), (3, 0), (0,)):
        assert aligned(np.zeros(shape), np.zeros(shape), 0).shape == shape


def test_more_than_can_be_compared_in_time_is_an_error_and_exact_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_MOST_COMPARED", 1000)
    wanted = RANDOM.standard_normal((40, 3))
    assert np.array_equal(aligned(wanted[::-1], wanted, 0), wanted)
    with pytest.raises(InputError, match=r"matching 40 rows of 3 elements would take too long: sort them in the mo"):
        aligned(wanted[::-1] * 1.001, wanted, 0)
    batch = np.stack([wanted[:10]] * 8)
    aligned(batch[:1, ::-1] * 1.001, batch[:1], 1)
    with pytest.raises(InputError, match=r"matching 10 rows of 3 elements in 8 tables would take too long"):
        aligned(batch[:, ::-1] * 1.001, batch, 1)


def said(got: Array, wanted: Array, unordered: dict[str, int], precision: str = "fp16") -> str:
    (verdict,) = judge({"y": got}, {"y": wanted}, DEFAULTS[precision], "it", unordered)
    return verdict.status


def test_an_output_in_another_order_is_right_where_a_test_says_that_any_will_do() -> None:
    wanted = RANDOM.integers(0, 100, (50, 3))
    assert said(wanted[::-1], wanted, {}) == "inaccurate"
    assert said(wanted[::-1], wanted, {"y": 0}) == "ok"
    assert said(wanted[::-1], wanted, {"y": -2}) == "ok"
    other = wanted.copy()
    other[7, 1] += 1
    assert said(other[::-1], wanted, {"y": 0}) == "inaccurate"
    assert said(wanted[:-1], wanted, {"y": 0}) == "inaccurate"  # another shape


def detections(order: Array) -> dict[str, Array]:
    """Twenty boxes of two pictures, of which three are in one place, in pixels; their scores, and their classes."""
    random = np.random.default_rng(7)
    boxes = random.uniform(0, 640, (2, 20, 4)).astype(np.float32)
    boxes[:, 1:3] = boxes[:, :1]
    found = {"boxes": boxes, "scores": random.random((2, 20), np.float32), "classes": random.integers(0, 80, (2, 20))}
    return {name: np.stack([column[0][order[0]], column[1][order[1]]]) for name, column in found.items()}


def test_outputs_with_as_many_rows_stand_in_one_order() -> None:
    """Also where two of a table's rows differ in one column alone; a score that is another box's is seen."""
    unordered = {"boxes": 1, "scores": 1, "classes": -1}
    straight = np.stack([np.arange(20)] * 2)
    wanted = detections(straight)
    got = detections(np.stack([RANDOM.permutation(20), RANDOM.permutation(20)]))
    got["boxes"] = got["boxes"] * np.float32(1.0003)
    assert [found.status for found in judge(got, wanted, DEFAULTS["tf32"], "it", unordered)] == ["ok"] * 3
    got["scores"] = got["scores"][:, ::-1]
    scores = judge(got, wanted, DEFAULTS["tf32"], "it", unordered)[1]
    assert scores.status == "inaccurate"
    assert scores.details[0] == (
        "it has the same values in another order than 'boxes', 'classes': rows that belong together are apart"
    )
    assert [found.status for found in judge(got, wanted, DEFAULTS["tf32"], "it", {"scores": 1})[1:2]] == ["ok"]


def test_outputs_with_other_numbers_of_rows_stand_in_orders_of_their_own() -> None:
    wanted = {"few": RANDOM.random((5, 2)), "many": RANDOM.random((9, 2))}
    got = {"few": wanted["few"][RANDOM.permutation(5)], "many": wanted["many"][RANDOM.permutation(9)]}
    assert [found.status for found in judge(got, wanted, DEFAULTS["fp32"], "it", {"few": 0, "many": 0})] == ["ok"] * 2


def test_a_name_or_an_axis_that_there_is_not_is_an_error() -> None:
    outputs = {"y": np.zeros((2, 3))}
    with pytest.raises(InputError, match=r"unordered: there is no output 'boxes': there are 'y'"):
        restore_order(outputs, outputs, {"boxes": 0})
    for axis in (2, -3):
        with pytest.raises(InputError, match=rf"'y' has the shape \(2, 3\): it has no axis {axis}"):
            restore_order(outputs, outputs, {"y": axis})


def test_a_declaration_of_it_is_checked() -> None:
    assert limits_for(Accuracy(unordered={"y": 0}), "fp16", True) == DEFAULTS["fp16"]
    with pytest.raises(DeclarationError, match=r"trt_accuracy: unordered.*'first'"):
        Accuracy(unordered={"y": "first"})  # type: ignore[dict-item]
    with pytest.raises(DeclarationError, match=r"does not allow top1, top5 or unordered"):
        Accuracy(reference="baseline", unordered={"y": 0})
