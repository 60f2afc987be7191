"""Test the shapes that an engine is built for and run with."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_trt.engine.model.model import Model
from pytest_trt.engine.model.shapes import resolve_shapes
from pytest_trt.engine.onnx.signature import Dims
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import ModelError
from pytest_trt.spec.declaration import RunShape
from pytest_trt.spec.engine_spec import EngineSpec


def model(**inputs: Dims | None) -> Model:
    tensors = tuple(
        Tensor(name, "float32", tuple(size if isinstance(size, int) else -1 for size in dims or ()))
        for name, dims in inputs.items()
    )
    return Model(Path("m.onnx"), "0" * 64, "onnx", tensors, (), inputs)


IMAGES = model(x=("N", 3, 224, 224))
ENCODER = model(ids=("N", "S"), mask=("N", "S"))


def test_static_model_has_its_own_shape_and_no_profile() -> None:
    static = model(x=(1, 3), y=())
    assert resolve_shapes(static, EngineSpec(), RunShape()).run == {"x": (1, 3), "y": ()}
    assert resolve_shapes(static, EngineSpec(), RunShape()).profiles == ()
    assert resolve_shapes(static, EngineSpec(), RunShape(batch=1)).run["x"] == (1, 3)


def test_batch_fills_the_leading_dimension_and_its_name_elsewhere() -> None:
    both = model(x=("N", 4), pairs=(7, "N"), free=(None, 2), fixed=(1,))
    shapes = resolve_shapes(both, EngineSpec(), RunShape(batch=8)).run
    assert shapes == {"x": (8, 4), "pairs": (7, 8), "free": (8, 2), "fixed": (1,)}


def test_undeclared_dimensions_are_built_for_the_shape_that_is_run() -> None:
    run = RunShape(batch=8)
    assert resolve_shapes(IMAGES, EngineSpec(), run).profiles == ({"x": ((8, 3, 224, 224),) * 3},)
    declared = EngineSpec(dims={"N": (1, 4, 16)})
    resolved = resolve_shapes(ENCODER, declared, RunShape(dims={"S": 128}))
    assert resolved.profiles[0]["ids"] == ((1, 128), (4, 128), (16, 128))


def test_sizes_within_a_profile_have_the_same_profiles() -> None:
    spec = EngineSpec(dims={"N": (1, 8, 32)})
    built = {str(resolve_shapes(IMAGES, spec, RunShape(batch=batch)).profiles) for batch in (1, 8, 32)}
    assert len(built) == 1
    assert resolve_shapes(IMAGES, spec, RunShape(batch=32)).run["x"] == (32, 3, 224, 224)


def test_default_shape_is_the_optimum_of_the_first_profile() -> None:
    spec = EngineSpec(dims={"N": [(1, 2, 4), (8, 16, 32)], "S": (16, 64, 128)})
    assert resolve_shapes(ENCODER, spec, RunShape()).run["ids"] == (2, 64)
    assert [profile["mask"] for profile in resolve_shapes(ENCODER, spec, RunShape()).profiles] == [
        ((1, 16), (2, 64), (4, 128)),
        ((8, 16), (16, 64), (32, 128)),
    ]


def test_optimum_does_not_depend_on_the_shape_that_is_run() -> None:
    spec = EngineSpec(dims={"N": (1, 8, 32)})
    mixed = model(x=("N", 3), scale=(1,))
    assert resolve_shapes(mixed, spec, RunShape(batch=2)).optimum == {"x": (8, 3), "scale": (1,)}


def test_shapes_of_one_input_define_shared_dimensions() -> None:
    spec = EngineSpec(shapes={"ids": ((1, 16), (4, 64), (8, 128))})
    assert resolve_shapes(ENCODER, spec, RunShape()).run == {"ids": (4, 64), "mask": (4, 64)}
    assert resolve_shapes(ENCODER, spec, RunShape()).profiles[0]["mask"] == ((1, 16), (4, 64), (8, 128))
    assert resolve_shapes(ENCODER, spec, RunShape(batch=1, dims={"S": 100})).run["mask"] == (1, 100)


def test_input_of_unknown_rank_needs_a_shape() -> None:
    free = model(x=None)
    spec = EngineSpec(shapes={"x": ((1, 2), (4, 2), (8, 2))})
    assert resolve_shapes(free, spec, RunShape(batch=8)).run == {"x": (8, 2)}
    with pytest.raises(ModelError, match=r"'x' of m.onnx is of unknown rank"):
        resolve_shapes(free, EngineSpec(), RunShape(batch=8))


def test_batch_does_not_fill_a_named_dimension() -> None:
    mixed = model(x=("N", 3), lengths=("S",))
    assert resolve_shapes(mixed, EngineSpec(), RunShape(batch=8, dims={"S": 5})).run == {"x": (8, 3), "lengths": (5,)}
    assert resolve_shapes(IMAGES, EngineSpec(), RunShape(batch=8, dims={"N": 8})).run["x"] == (8, 3, 224, 224)


@pytest.mark.parametrize(
    ("subject", "spec", "run", "message"),
    [
        (IMAGES, EngineSpec(), RunShape(), r"dimension 'N' of input 'x' .* write dims=\{'N': .*or batch"),
        (model(x=(2, None)), EngineSpec(), RunShape(), r"dimension 1, which has no name, .*write shapes=\{'x'"),
        (model(x=(2, None)), EngineSpec(dims={"N": 1}), RunShape(), r"'N': its dimensions have no names: give shapes"),
        (ENCODER, EngineSpec(), RunShape(batch=2), r"dimension 'S' of input 'ids' .*write dims=\{'S'"),
        (IMAGES, EngineSpec(shapes={"X": (1, 3, 224, 224)}), RunShape(), r"no input 'X': (did you mean|it has) 'x'"),
        (IMAGES, EngineSpec(dims={"M": 1}), RunShape(batch=1), r"dims: m.onnx has no dimension 'M': it has 'N'"),
        (ENCODER, EngineSpec(), RunShape(dims={"SS": 3}), r"shape that is run: .* 'SS': did you mean 'S'"),
        (IMAGES, EngineSpec(shapes={"x": (1, 3)}), RunShape(), r"\(1, 3\): the model's input is \(N, 3, 224, 224\)"),
        (IMAGES, EngineSpec(shapes={"x": (1, 4, 224, 224)}), RunShape(), r"\(1, 4, 224, 224\): the model's input"),
        (model(x=(1, 3)), EngineSpec(), RunShape(batch=8), r"batch=8 fills no dimension .*'x' leads with 1"),
        (model(), EngineSpec(), RunShape(batch=8), r"batch=8 fills no dimension .*it has none"),
        (IMAGES, EngineSpec(), RunShape(batch=8, dims={"N": 4}), r"batch=8 fills no dimension .*'x' leads with 4"),
        (
            IMAGES,
            EngineSpec(dims={"N": [(1, 2, 4), (16, 16, 32)]}),
            RunShape(batch=8),
            r"'x' \(8, 3, 224, 224\), which is outside .*profile 0: 'x' \(1, .* to \(4, .*profile 1: 'x' \(16, ",
        ),
        (
            ENCODER,
            EngineSpec(shapes={"ids": (2, 64), "mask": (2, 32)}),
            RunShape(),
            r"dimension 'S' of m.onnx would be 64 in 'ids' and 32 in 'mask'",
        ),
    ],
)  # fmt: skip
def test_impossible_shapes_are_errors_with_a_remedy(
    subject: Model, spec: EngineSpec, run: RunShape, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        resolve_shapes(subject, spec, run)
