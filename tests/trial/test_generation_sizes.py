"""Test how the sizes of a decoder's dimensions follow from the number of tokens."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from decoders import decoder
from samples.sums import sums

from pytest_trt.engine.model.model import Model, read_model
from pytest_trt.engine.model.shapes import resolve_shapes
from pytest_trt.engine.state import resolve_state
from pytest_trt.spec.declaration import RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.trial.generation_sizes import Part, StepSizes, roles_of, with_total_dims

STATE = {"present.*": "past.*"}


def saved(folder: Path, model: onnx.ModelProto) -> Model:
    onnx.save(model, str(folder / "m.onnx"))
    return read_model(folder / "m.onnx")


def test_a_dimension_of_all_tokens_follows_from_those_before_and_those_of_the_step(tmp_path: Path) -> None:
    model = saved(tmp_path, decoder(mask=True, batch="B"))
    spec = EngineSpec(state={"present_*": "past_*"}, dims={"P": (0, 8, 64), "S": (1, 1, 16), "B": 1})  # type: ignore[dict-item]
    found = with_total_dims(model, spec, RunShape())
    assert (model.dims["attention_mask"], found.dims["attention_mask"]) == (("B", "T"), ("B", "P + S"))
    for past in (8, 20):
        assert resolve_shapes(found, spec, RunShape(dims={"P": past})).run["attention_mask"] == (1, past + 1)
    assert resolve_shapes(found, spec, RunShape()).profiles[0]["attention_mask"] == ((1, 1), (1, 9), (1, 80))


@pytest.mark.parametrize(
    ("fields", "run"),
    [
        ({"state": {"present_*": "past_*"}, "dims": {"T": 9}}, RunShape()),
        ({"state": {"present_*": "past_*"}}, RunShape(dims={"T": 9})),
        ({"state": {"presents_*": "past_*"}}, RunShape()),
        ({"state": {"present_*": "past_*"}, "roles": {"input_ids": "constant"}}, RunShape()),
        ({}, RunShape()),
    ],
)
def test_another_dimension_keeps_its_name(tmp_path: Path, fields: dict[str, object], run: RunShape) -> None:
    model = saved(tmp_path, decoder(mask=True))
    assert with_total_dims(model, EngineSpec(**fields), run) is model  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "least", "grows"),
    [(("P", "P + S"), 1, True), (("P", "T"), 1, True), (("P", "P"), 0, True), (("P", "P"), 1, False)],
)
def test_an_axis_of_one_name_grows_if_its_range_begins_at_0(
    tmp_path: Path, names: tuple[str, str], least: int, grows: bool
) -> None:
    model = saved(tmp_path, sums(names=("B", "S", *names), mask_dims=("B", 1, "S", "C")))
    dims = {"B": 1, "S": (1, 1, 8), "P": (least, 8, 64), "C": (1, 9, 72)}
    part = Part(model, EngineSpec(state=STATE, dims=dims), RunShape())  # type: ignore[arg-type]
    state = resolve_state(STATE, model.inputs, model.outputs)
    shapes = StepSizes(part, roles_of(part, part, state), part, state, "", has_reader=False).shapes(1, 1, 20)
    assert shapes["past.first"] == (1, 20 if grows else 8)
    assert shapes["attention_mask"] == (1, 1, 1, 21)


def test_state_with_a_write_index_does_not_grow(tmp_path: Path) -> None:
    model = saved(tmp_path, decoder(cache="fixed", mask=True))
    spec = EngineSpec(
        state={"present_*": "past_*"},
        write_index="position",
        dims={"S": (1, 1, 8), "C": (0, 32, 64)},  # type: ignore[arg-type]
    )
    part, state = Part(model, spec, RunShape()), resolve_state(spec.state, model.inputs, model.outputs)
    shapes = StepSizes(part, roles_of(part, part, state), part, state, "", has_reader=False).shapes(1, 4, 20)
    assert (shapes["past_k_0"], shapes["attention_mask"]) == ((1, 2, 32, 8), (1, 32))
    assert (shapes["position_ids"], shapes["position"]) == ((1, 4), (1,))
