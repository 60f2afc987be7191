"""Test which role each input and output of a decoder has."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_trt.engine.roles import check_declared_roles, find_roles
from pytest_trt.engine.state import StatePair
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import ModelError
from pytest_trt.spec.engine_spec import EngineSpec

STATE = (StatePair("present", "past"),)
CACHES = (Tensor("past", "float32", (1, 2, -1, 4)),)
OUTPUTS = (Tensor("logits", "float32", (1, -1, 9)), Tensor("present", "float32", (1, 2, -1, 4)))
NO_DIMS: dict[str, Any] = {}


def ints(*names: str) -> tuple[Tensor, ...]:
    return (*(Tensor(name, "int64", (1, -1)) for name in names), *CACHES)


def spec(**fields: Any) -> EngineSpec:
    return EngineSpec(path="m.onnx", state={"present": "past"}, **fields)


def test_roles_follow_from_names_and_types() -> None:
    inputs = (*ints("input_ids", "attention_mask", "position_ids", "at"), Tensor("style", "float32", (1, 8)))
    roles = find_roles("m.onnx", inputs, OUTPUTS, STATE, spec(write_index="at"), NO_DIMS)
    assert roles.tokens == "input_ids"
    assert roles.positions == ("position_ids", "at")
    assert roles.masks == ("attention_mask",)
    assert roles.others == ("style",)
    assert roles.logits == "logits"
    inputs = (*ints("tokens", "token_type_ids"), Tensor("use_cache_branch", "bool", (1,)))
    roles = find_roles("m.onnx", inputs, OUTPUTS, STATE, spec(), NO_DIMS)
    assert (roles.tokens, roles.zeros, roles.flags) == ("tokens", ("token_type_ids",), ("use_cache_branch",))
    assert find_roles("m.onnx", ints("words"), OUTPUTS, STATE, spec(), NO_DIMS).tokens == "words"


def test_declared_roles_go_before_names() -> None:
    declared = spec(roles={"a": "tokens", "mask": "position", "b": "total", "c": "constant", "scores": "logits"})
    outputs = (Tensor("scores", "float64", (9,)), *OUTPUTS)
    roles = find_roles("m.onnx", ints("a", "b", "c", "mask", "position"), outputs, STATE, declared, NO_DIMS)
    assert (roles.tokens, roles.totals, roles.others, roles.logits) == ("a", ("b",), ("c",), "scores")
    assert (roles.positions, roles.masks) == (("mask", "position"), ())
    assert roles.varying == ("a", "mask", "position", "b")
    ranged = spec(input_ranges={"language": (3, 3), "ids": (0, 8)})
    assert find_roles("m.onnx", ints("ids", "language"), OUTPUTS, STATE, ranged, NO_DIMS).others == ("language",)
    assert find_roles("m.onnx", ints("ids"), OUTPUTS, STATE, ranged, NO_DIMS).tokens == "ids"
    check_declared_roles(declared, {"a", "b", "c", "mask", "scores"})
    with pytest.raises(ModelError, match="roles names 'mask': no model of the generation has it: did you mean 'masks'"):
        check_declared_roles(declared, {"a", "b", "c", "masks", "scores"})


def test_a_mask_of_another_sequence_masks_nothing() -> None:
    inputs = (*ints("input_ids", "attention_mask", "encoder_attention_mask", "src_mask", "image_mask"), *CACHES)
    inputs = (*inputs, Tensor("image", "float32", (1, -1, 8)))
    dims: dict[str, Any] = {"input_ids": ("B", "S"), "attention_mask": ("B", "T"), "image_mask": ("B", "I")}
    roles = find_roles("m.onnx", inputs, OUTPUTS, STATE, spec(), {**dims, "image": ("B", "I", 8)})
    assert roles.masks == ("attention_mask",)
    assert roles.ones == ("encoder_attention_mask", "src_mask", "image_mask")
    assert roles.others == ("image", *roles.ones)
    roles = find_roles("m.onnx", inputs, OUTPUTS, STATE, spec(roles={"src_mask": "mask"}), dims)
    assert roles.masks == ("attention_mask", "src_mask", "image_mask")


@pytest.mark.parametrize(("read", "of_texts"), [(("B", "S"), ("lengths",)), (("S",), ()), (("B", "B"), ())])
def test_positions_may_be_those_of_texts(read: tuple[str, ...], of_texts: tuple[str, ...]) -> None:
    dims: dict[str, Any] = {"input_ids": read, "lengths": ("B",), "position": ("S",)}
    declared = spec(write_index="lengths")
    roles = find_roles("m.onnx", ints("input_ids", "lengths", "position"), OUTPUTS, STATE, declared, dims)
    assert roles.of_texts == of_texts


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (
            (Tensor("x", "float32", (1, 8)), *CACHES),
            OUTPUTS,
            r"one input of tokens, .* but none: .* state are 'x'; say which one, as in trt_engine\(roles={'x': 'tok",
        ),
        (CACHES, OUTPUTS, "but none: its inputs without state are none; say which"),
        (ints("a", "b"), OUTPUTS, r"but 2 could be: 'a', 'b': .*; say which one, .*roles={'a': 'tokens'}"),
        (ints("ids"), OUTPUTS[1:], "one output of logits, .* but none: its outputs without state are none$"),
        (
            ints("ids"),
            (Tensor("a", "float32", (1, 9)), Tensor("b", "float32", (1, 9))),
            "but 2 could be: 'a', 'b': .*; say which one, as in .*roles={'a': 'logits'}",
        ),
        (ints("ids"), (Tensor("next", "int64", (1, 1)),), "one output of logits, .* but none: .* are 'next'"),
        (
            ints("input_ids", "start"),
            OUTPUTS,
            "nothing says what input 'start' of m.onnx is for: declare it, .*roles={'start': 'position'}",
        ),
        (
            (*ints("input_ids"), Tensor("greedy", "bool", (1,))),
            OUTPUTS,
            "nothing says what input 'greedy' of m.onnx is for",
        ),
    ],
)
def test_an_input_or_output_without_a_clear_role_is_an_error(
    inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        find_roles("m.onnx", inputs, outputs, STATE, spec(), NO_DIMS)
