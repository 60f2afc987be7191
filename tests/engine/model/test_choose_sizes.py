"""Test the sizes of dynamic dimensions that nobody has chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_trt.engine.model.choose_sizes import choose_sizes
from pytest_trt.engine.model.model import Model
from pytest_trt.engine.model.shapes import resolve_shapes
from pytest_trt.engine.tensors import Tensor
from pytest_trt.spec.declaration import RunShape
from pytest_trt.spec.engine_spec import EngineSpec


def model(**dims: tuple[object, ...] | None) -> Model:
    inputs = tuple(Tensor(name, "float32", (-1,) * len(axes or ())) for name, axes in dims.items())
    return Model(Path("m.onnx"), "", "onnx", inputs, dims=dims)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("inputs", "dims", "shapes"),
    [
        ({"x": ("N", 3, 8, 8)}, {"N": 2}, {}),
        ({"x": ("unk__1", 3, 8)}, {"unk__1": 2}, {}),
        ({"x": ("S", "N", 8)}, {"S": 128, "N": 2}, {}),
        ({"ids": ("batch_size", "sequenceLength")}, {"batch_size": 2, "sequenceLength": 128}, {}),
        ({"x": ("N", 3, "H", "W")}, {"N": 2, "H": 224, "W": 224}, {}),
        ({"x": ("N", "unk__1", "unk__2", 3)}, {"N": 2, "unk__1": 224, "unk__2": 224}, {}),
        ({"x": (None, None, None, None)}, {}, {"x": (2, 3, 224, 224)}),
        ({"x": (None, None, 48)}, {}, {"x": (2, 128, 48)}),
        ({"x": ("N", None)}, {"N": 2}, {"x": (2, 128)}),
        ({"key": ("batch", 12, "past_length", 64), "ids": ("batch", "S"), "mask": ("batch", "past_length + S")},
         {"batch": 2, "past_length": 0, "S": 128}, {}),
        ({"x": (None, "2*N")}, {"N": 2}, {"x": (2, 4)}),
        ({"x": (4, 8), "y": ()}, {}, {}),
    ],
)  # fmt: skip
def test_sizes_follow_from_names_and_places(inputs, dims, shapes):
    chosen = choose_sizes(model(**inputs), EngineSpec(path="m.onnx"), 2)
    assert (chosen.dims, chosen.shapes) == (dims, shapes)
    assert len(chosen.why) == len(dims) + len(shapes)
    spec = EngineSpec(path="m.onnx", dims=dims, shapes=shapes)
    assert resolve_shapes(model(**inputs), spec, RunShape()).run.keys() == inputs.keys()


def test_sizes_that_are_given_are_kept():
    spec = EngineSpec(path="m.onnx", dims={"S": (1, 4, 8)}, shapes={"y": (7, 7)})
    chosen = choose_sizes(model(x=("N", "S"), y=(None, "Q"), z=("Q", 3)), spec, 2)
    assert (chosen.dims, chosen.shapes) == ({"N": 2}, {})
    assert chosen.why == ("dimension 'N' is 2: the batch",)
    assert chosen.batch == ("N",)


def test_an_input_of_unknown_rank_gets_no_shape():
    assert choose_sizes(model(x=None), EngineSpec(path="m.onnx"), 1).shapes == {}
