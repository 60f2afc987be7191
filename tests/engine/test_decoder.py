"""Test the arrays of a decoder's steps."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_trt.engine.decoder import check_handover, check_next_step, logits_of_last, shapes_between, step_arrays
from pytest_trt.engine.roles import Roles
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import ModelError


def mask_of(shape: tuple[int, ...], dtype: str, tokens: int, fill: int) -> np.ndarray[tuple[int, ...], np.dtype]:  # type: ignore[type-arg]
    roles = Roles("ids", (), ("mask",), (), "logits")
    inputs = (Tensor("mask", dtype, shape),)
    return step_arrays(inputs, roles, {"mask": shape}, np.zeros((1, tokens), np.int64), fill)["mask"]


def test_arrays_of_a_step() -> None:
    inputs = tuple(Tensor(name, "int64", (1, -1)) for name in ("input_ids", "attention_mask", "position_ids", "kinds"))
    inputs += (Tensor("at", "int32", (1,)), Tensor("lengths", "int32", (3,)), Tensor("total", "int32", ()))
    inputs += (Tensor("use_cache", "bool", (1,)),)
    roles = Roles(
        "input_ids",
        ("position_ids", "at", "lengths"),
        ("attention_mask",),
        (),
        "logits",
        totals=("total",),
        flags=("use_cache",),
        zeros=("kinds",),
        of_texts=("lengths",),
    )
    shapes = {"input_ids": (1, 3), "attention_mask": (1, 8), "position_ids": (1, 3), "at": (1,), "lengths": (3,)}
    shapes |= {"total": (), "use_cache": (1,), "kinds": (1, 3)}
    found = step_arrays(inputs, roles, shapes, np.array([[4, 5, 6]]), 2)
    assert {name: array.tolist() for name, array in found.items()} == {
        "input_ids": [[4, 5, 6]],
        "attention_mask": [[1, 1, 1, 1, 1, 0, 0, 0]],
        "position_ids": [[2, 3, 4]],
        "kinds": [[0, 0, 0]],
        "at": [2],
        "lengths": [2, 2, 2],
        "total": 5,
        "use_cache": [True],
    }
    assert {name: array.dtype.name for name, array in found.items()}["at"] == "int32"
    assert not step_arrays(inputs, roles, shapes, np.array([[4, 5, 6]]), 0)["use_cache"].any()


def test_a_mask_with_a_row_for_each_token_hides_the_tokens_after_it() -> None:
    rows = [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]
    for shape in ((2, 5), (1, 2, 5), (1, 1, 2, 5)):
        assert mask_of(shape, "int64", 2, 2).reshape(2, 5).tolist() == rows
        assert mask_of(shape, "bool", 2, 2).reshape(2, 5).tolist() == np.array(rows, bool).tolist()
        assert (mask_of(shape, "float16", 2, 2).reshape(2, 5) == np.where(rows, 0, -65504)).all()
    assert mask_of((1, 1, 1, 5), "int64", 1, 3).tolist() == [[[[1, 1, 1, 1, 0]]]]
    assert mask_of((1, 5), "float32", 2, 1).tolist() == [[1, 1, 1, 0, 0]]  # a mask of floats with a row for each text
    assert mask_of((5,), "int32", 2, 2).tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("logits", "tokens", "expected"),
    [
        ((2, 3, 9), (2, 3), (2, 3)),
        ((2, 9), (2, 3), (2, 1)),
        ((2, 1, 9), (2, 3), (2, 1)),
        ((3, 9), (3,), (1, 3)),
        ((9,), (3,), (1, 1)),
        ((3, 9), (1, 3), (1, 3)),
    ],
)
def test_the_logits_of_the_last_token_are_the_last_row_of_each_text(
    logits: tuple[int, ...], tokens: tuple[int, ...], expected: tuple[int, int]
) -> None:
    assert logits_of_last(logits, tokens) == expected


@pytest.mark.parametrize("logits", [(3, 9), (2, 0, 9)])
def test_logits_without_a_row_for_each_text_are_an_error(logits: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="which is no row for each of 2 texts"):
        logits_of_last(logits, (2, 3))


def test_sizes_grow_by_the_same_amount_in_each_step() -> None:
    first, last = {"past": (1, 7, 4), "x": (2,)}, {"past": (1, 11, 4), "x": (2,)}
    assert [shapes_between(first, last, step, 5)["past"][1] for step in range(5)] == [7, 8, 9, 10, 11]
    assert shapes_between(first, first, 0, 1) == first


def test_the_state_after_the_prompt_must_be_that_of_the_first_step() -> None:
    check_handover({"past": (1, 2, 5, 4)}, {"past": (1, 2, 5, 4), "ids": (1, 1)})
    with pytest.raises(
        ModelError, match=r"leaves 'past' with the shape \(1, 2, 5, 4\), but the first step reads \(1, 2"
    ):
        check_handover({"past": (1, 2, 5, 4)}, {"past": (1, 2, 8, 4)})


def test_the_state_after_a_step_must_be_that_of_the_next_one() -> None:
    check_next_step({"past": (1, 2, 6, 4)}, {"past": (1, 2, 6, 4), "ids": (1, 1)})
    with pytest.raises(
        ModelError, match=r"a step leaves 'cross' with the shape \(0, 2, 1, 4\), but the next one is to "
    ):
        check_next_step({"cross": (0, 2, 1, 4)}, {"cross": (1, 2, 7, 4)})
