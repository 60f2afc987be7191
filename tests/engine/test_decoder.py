"""Test which role each input of a decoder has, and the arrays of its steps."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_trt.engine.decoder import check_handover, find_roles, shapes_between, step_arrays
from pytest_trt.engine.state import StatePair
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import ModelError

STATE = (StatePair("present", "past"),)
CACHES = (Tensor("past", "float32", (1, 2, -1, 4)),)
OUTPUTS = (Tensor("logits", "float32", (1, -1, 9)), Tensor("present", "float32", (1, 2, -1, 4)))


def ints(*names: str) -> tuple[Tensor, ...]:
    return (*(Tensor(name, "int64", (1, -1)) for name in names), *CACHES)


def test_roles_follow_from_names_and_types() -> None:
    inputs = (*ints("input_ids", "attention_mask", "position_ids", "at"), Tensor("style", "float32", (1, 8)))
    roles = find_roles("m.onnx", inputs, OUTPUTS, STATE, {"at"})
    assert roles.tokens == "input_ids"
    assert roles.positions == ("position_ids", "at")
    assert roles.masks == ("attention_mask",)
    assert roles.others == ("style",)
    assert roles.logits == "logits"
    assert find_roles("m.onnx", ints("words"), OUTPUTS, STATE, ()).tokens == "words"
    assert find_roles("m.onnx", ints("input_ids", "language"), OUTPUTS, STATE, ()).others == ("language",)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (
            (Tensor("x", "float32", (1, 8)), *CACHES),
            OUTPUTS,
            "one input of tokens, .* but none: .* state are 'x'; name",
        ),
        (CACHES, OUTPUTS, "but none: its inputs without state are none; name it 'input_ids'"),
        (ints("a", "b"), OUTPUTS, "but 2 could be: 'a', 'b'"),
        (ints("ids"), OUTPUTS[1:], "one output of logits, .* but none: name it 'logits'"),
        (ints("ids"), (Tensor("a", "float32", (1, 9)), Tensor("b", "float32", (1, 9))), "but 2 could be: 'a', 'b'"),
        (ints("ids"), (Tensor("next", "int64", (1, 1)),), "one output of logits, .* but none"),
    ],
)
def test_a_model_without_tokens_or_logits_is_an_error(
    inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        find_roles("m.onnx", inputs, outputs, STATE, ())


def test_arrays_of_a_step() -> None:
    inputs = (*ints("input_ids", "attention_mask", "position_ids"), Tensor("at", "int32", (1,)))
    roles = find_roles("m.onnx", inputs, OUTPUTS, STATE, {"at"})
    shapes = {"input_ids": (1, 3), "attention_mask": (1, 8), "position_ids": (1, 3), "at": (1,)}
    found = step_arrays(inputs, roles, shapes, np.array([[4, 5, 6]]), 2)
    assert {name: array.tolist() for name, array in found.items()} == {
        "input_ids": [[4, 5, 6]],
        "attention_mask": [[1, 1, 1, 1, 1, 0, 0, 0]],
        "position_ids": [[2, 3, 4]],
        "at": [2],
    }
    assert {name: array.dtype.name for name, array in found.items()}["at"] == "int32"


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
