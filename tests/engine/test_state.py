"""Test how outputs and inputs are paired as state."""

from __future__ import annotations

import contextlib

import pytest

from pytest_trt.engine.state import StatePair, check_shapes, check_write_index, growing_axis, kept_state, resolve_state
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import InputError, ModelError
from pytest_trt.spec.engine_spec import EngineSpec

PAST = (Tensor("past_0", "float32", (1, 2, -1, 8)), Tensor("past_1", "float32", (1, 2, -1, 8)))
PRESENT = (Tensor("logits", "float32", (1, -1, 9)), *(Tensor(f"present_{i}", "float32", (1, 2, -1, 8)) for i in "01"))
INPUTS = (Tensor("ids", "int64", (1, -1)), *PAST)


def test_pairs_are_in_the_order_of_the_outputs() -> None:
    assert resolve_state({"present_*": "past_*"}, INPUTS, PRESENT) == (
        StatePair("present_0", "past_0"),
        StatePair("present_1", "past_1"),
    )
    assert resolve_state({"present_1": "past_1", "present_*": "past_*"}, INPUTS, PRESENT)[1].input == "past_1"
    assert resolve_state({}, INPUTS, PRESENT) == ()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"presnt_*": "past_*"}, r"names output 'presnt_\*': the model has none of that name: .*"),
        ({"present_2": "past_0"}, r"names output 'present_2': the model has none of that name: did you mean 'present_"),
        (
            {"present_*": "pasts_*"},
            "output 'present_0' with input 'pasts_0': the model has none .*did you mean 'past_0'",
        ),
        ({"present_0": "past_0", "*_0": "past_1*"}, "with input 'past_1present': the model has none"),
        (
            {"present_0": "past_0", "present_1": "past_0"},
            "input 'past_0' with two outputs, 'present_0' and 'present_1'",
        ),
        ({"present_*": "past_*", "present_1": "past_0"}, "output 'present_1' with two inputs, 'past_1' and 'past_0'"),
        ({"logits": "ids"}, "'logits' with input 'ids', but they are float32 and int64: both must be of one type"),
        ({"logits": "past_0"}, r"their shapes are \(1, -1, 9\) and \(1, 2, -1, 8\): both must have one rank"),
    ],
)
def test_names_and_tensors_that_do_not_fit_are_errors(state: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        resolve_state(state, INPUTS, PRESENT)


@pytest.mark.parametrize(
    ("past", "present", "fits"),
    [
        ((1, 2, 7, 8), (1, 2, 7, 8), True),
        ((1, 2, 7, 8), (1, 2, 9, 8), True),
        ((1, 2, 0, 8), (1, 2, 1, 8), True),
        ((1, 2, 7, 8), (1, 2, 6, 8), False),
        ((1, 2, 7, 8), (1, 3, 8, 8), False),
        ((1, 2, -1, 8), (1, 2, 8, 9), True),
        ((1, 2, -1, 8), (1, 3, 8, 9), False),
    ],
)
def test_shapes_may_differ_along_one_axis_that_grows(
    past: tuple[int, ...], present: tuple[int, ...], fits: bool
) -> None:
    def check() -> None:
        check_shapes((StatePair("b", "a"),), [Tensor("a", "float32", past)], [Tensor("b", "float32", present)])

    if fits:
        check()
    else:
        with pytest.raises(ModelError, match="they may differ along one axis only, which grows"):
            check()


def test_formats_and_places_must_be_equal() -> None:
    pair = {"b": "a"}
    with pytest.raises(ModelError, match="they lie in memory as chw4 and linear: give both one of io_formats"):
        resolve_state(pair, [Tensor("a", "int8", (1, 4, 2, 2))], [Tensor("b", "int8", (1, 4, 2, 2), format="chw4")])
    with pytest.raises(ModelError, match="TensorRT reads one of them on the host"):
        resolve_state(pair, [Tensor("a", "int32", (4,), on_host=True)], [Tensor("b", "int32", (4,))])


def test_the_growing_axis_is_the_one_that_differs() -> None:
    assert growing_axis((1, 2, 7, 8), (1, 2, 9, 8)) == 2
    assert growing_axis((1, 2, 7, 8), (1, 2, 7, 8)) is None


@pytest.mark.parametrize(
    ("axes", "written", "message"),
    [
        ({"at": 2}, {"at": (0, 15)}, ""),
        ({"at": -2}, {"at": (0, 16)}, "'at' is 16, but the state holds 16 entries along axis -2: lower it"),
        ({"at": 2}, {"at": (-1, 15)}, "'at' is -1, but the state holds 16 entries along axis 2: give an index from 0"),
        ({"at": 2}, {}, ""),
        ({"at": 4}, {}, r"axis 4, which the state 'a' with the shape \(1, 2, 16, 8\) does not have"),
        ({"att": 2}, {}, "write_index names input 'att': the model has none of that name: did you mean 'at'"),
    ],
)
def test_a_write_index_must_lie_within_the_capacity(
    axes: dict[str, int], written: dict[str, tuple[int, int]], message: str
) -> None:
    spec, shapes = EngineSpec(state={"b": "a"}, write_index=axes), {"a": (1, 2, 16, 8), "at": (1,)}
    expected = pytest.raises((InputError, ModelError), match=message) if message else contextlib.nullcontext()
    with expected:
        check_write_index(spec, (StatePair("b", "a"),), shapes, written)


def test_a_long_list_of_names_is_cut() -> None:
    outputs = [Tensor(f"present_{i}", "float32", (1,)) for i in range(32)]
    with pytest.raises(ModelError, match=r"its outputs are 'present_0', .*, 'present_7' and 24 more$"):
        resolve_state({"past_*": "past_*"}, INPUTS, outputs)


def test_what_only_the_model_of_the_prompt_writes_is_kept() -> None:
    patterns = {"present_*": "past_*"}
    inputs = (*INPUTS, Tensor("past_cross", "float32", (1, 2, 5, 8)))
    state = resolve_state(patterns, inputs, PRESENT)
    cross = Tensor("present_cross", "float32", (1, 2, -1, 8))
    assert kept_state(patterns, state, inputs, (*PRESENT, cross)) == (StatePair("present_cross", "past_cross"),)
    assert kept_state(patterns, state, inputs, PRESENT) == ()
    assert kept_state(patterns, state, INPUTS, (*PRESENT, cross)) == ()
    with pytest.raises(ModelError, match="'present_cross' with input 'past_cross', but they are float16 and float32"):
        kept_state(patterns, state, inputs, (Tensor("present_cross", "float16", (1, 2, 5, 8)),))
