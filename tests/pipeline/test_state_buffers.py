"""Test where state is in memory. On a GPU, tests/gpu runs steps on it."""

from __future__ import annotations

from pytest_trt.engine.state import StatePair
from pytest_trt.engine.tensors import Tensor
from pytest_trt.pipeline.buffers import ALIGNMENT
from pytest_trt.pipeline.state_buffers import StateLayout

STATE = (StatePair("present_k", "past_k"), StatePair("present_v", "past_v"))
EMPTY, ONE = (1, 2, 0, 4), (1, 2, 1, 4)
INPUTS = (Tensor("ids", "int64", (1, 1)), Tensor("past_k", "float32", EMPTY), Tensor("past_v", "float32", EMPTY))
OUTPUTS = (Tensor("logits", "float32", (1, 1, 9)), *(Tensor(f"present_{kind}", "float32", ONE) for kind in "kv"))


def test_state_is_apart_from_what_is_copied_and_an_empty_one_has_an_address_too() -> None:
    layout = StateLayout(STATE, INPUTS, OUTPUTS, {})
    assert layout.names == {"past_k", "past_v", "present_k", "present_v"}
    assert [region.nbytes for region in layout.inputs.regions.values()] == [0, 0]
    assert [region.offset for region in layout.inputs.regions.values()] == [0, ALIGNMENT]
    assert list(layout.outputs.regions) == ["present_k", "present_v"]


def test_an_output_that_shares_the_memory_of_an_input_has_none_of_its_own() -> None:
    layout = StateLayout(STATE, INPUTS, OUTPUTS, {"present_k": "past_k"})
    assert list(layout.inputs.regions) == ["past_k", "past_v"]
    assert list(layout.outputs.regions) == ["present_v"]


def test_an_engine_without_state_needs_no_memory_for_it() -> None:
    layout = StateLayout((), INPUTS, OUTPUTS, {})
    assert (layout.names, layout.inputs.nbytes, layout.outputs.nbytes) == (set(), 0, 0)
