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


def test_sizes_may_be_0() -> None:
    past = model(past=(1, "P", 4), x=("N", 2))
    spec = EngineSpec(dims={"P": (0, 4, 16), "N": 1})
    by_shape = EngineSpec(shapes={"past": ((1, 0, 4), (1, 4, 4), (1, 16, 4))}, dims={"N": 1})
    for each in (spec, by_shape):
        resolved = resolve_shapes(past, each, RunShape(dims={"P": 0}))
        assert resolved.run["past"] == (1, 0, 4)
        assert resolved.profiles[0]["past"] == ((1, 0, 4), (1, 4, 4), (1, 16, 4))
    assert resolve_shapes(past, EngineSpec(dims={"P": 0}), RunShape(batch=0)).run == {"past": (1, 0, 4), "x": (0, 2)}


def test_query_has_at_least_one_inference() -> None:
    assert resolve_shapes(model(past=("P", 4)), EngineSpec(dims={"P": (0, 0, 16)}), RunShape()).batch == 1
    assert resolve_shapes(IMAGES, EngineSpec(), RunShape(batch=0)).batch == 1
    assert resolve_shapes(IMAGES, EngineSpec(dims={"N": (1, 8, 32)}), RunShape()).batch == 8


DOUBLE = model(x=("N", 3), pairs=("2*N", 4), more=("N + 1",))


def test_dimension_named_by_an_expression_is_derived_and_never_the_batch() -> None:
    resolved = resolve_shapes(DOUBLE, EngineSpec(), RunShape(batch=8))
    assert resolved.run == {"x": (8, 3), "pairs": (16, 4), "more": (9,)}
    assert resolved.batch == 8
    assert resolved.profiles[0]["pairs"] == ((16, 4),) * 3
    spec = EngineSpec(dims={"N": (1, 4, 16)})
    resolved = resolve_shapes(DOUBLE, spec, RunShape(batch=2))
    assert resolved.run == {"x": (2, 3), "pairs": (4, 4), "more": (3,)}
    assert resolved.profiles[0]["pairs"] == ((2, 4), (8, 4), (32, 4))
    assert resolved.profiles[0]["more"] == ((2,), (5,), (17,))


def test_expression_is_derived_in_every_profile() -> None:
    attention = model(ids=("B", "S"), mask=("B", "past + S"), past=("B", "past"))
    spec = EngineSpec(dims={"B": 1, "S": [(1, 1, 1), (8, 16, 32)], "past": [(0, 8, 64), (0, 0, 0)]})
    profiles = resolve_shapes(attention, spec, RunShape(dims={"past": 8})).profiles
    assert [profile["mask"] for profile in profiles] == [((1, 1), (1, 9), (1, 65)), ((1, 8), (1, 16), (1, 32))]


def test_expression_first_in_the_model_is_not_the_batch() -> None:
    resolved = resolve_shapes(model(pairs=("2*N", 4), x=("N", 3)), EngineSpec(dims={"N": (1, 4, 8)}), RunShape())
    assert (resolved.run, resolved.batch) == ({"pairs": (8, 4), "x": (4, 3)}, 4)


def test_expression_of_a_name_that_no_input_has_by_itself() -> None:
    alone = model(x=("2*N", 4))
    assert resolve_shapes(alone, EngineSpec(dims={"N": (1, 2, 4)}), RunShape()).run == {"x": (4, 4)}
    assert resolve_shapes(alone, EngineSpec(), RunShape(dims={"N": 3})).run == {"x": (6, 4)}
    assert resolve_shapes(alone, EngineSpec(dims={"2*N": (2, 4, 8)}), RunShape()).run == {"x": (4, 4)}
    assert resolve_shapes(alone, EngineSpec(shapes={"x": ((2, 4), (6, 4), (8, 4))}), RunShape()).run == {"x": (6, 4)}


def test_shape_that_is_run_derives_a_size_within_the_declared_range() -> None:
    spec = EngineSpec(shapes={"x": ((1, 3), (4, 3), (8, 3)), "pairs": ((2, 4), (8, 4), (16, 4))})
    run = resolve_shapes(model(x=("N", 3), pairs=("2*N", 4)), spec, RunShape(batch=2)).run
    assert run == {"x": (2, 3), "pairs": (4, 4)}


@pytest.mark.parametrize("name", ["batch-size", "serving.x", "x:0", "dim 1", "?", "width/height", "unk__12", "a[0]"])
def test_name_that_is_no_expression_is_filled_by_the_batch(name: str) -> None:
    assert resolve_shapes(model(x=(name, 3)), EngineSpec(), RunShape(batch=8)).run == {"x": (8, 3)}


def test_all_dimensions_without_a_size_are_in_one_error() -> None:
    several = model(ids=("N", "S"), mask=("N", "S"), x=(2, None, 3, None), free=None, twice=("2*N", "2*M"))
    with pytest.raises(ModelError) as caught:
        resolve_shapes(several, EngineSpec(), RunShape())
    assert str(caught.value) == (
        "6 dimensions of m.onnx are dynamic, and nothing defines their sizes (dimension 'N' of input 'ids', dimension "
        "'S' of input 'ids', dimension 1, which has no name, of input 'x', dimension 3, which has no name, of input "
        "'x', dimension '2*N' of input 'twice' (the size of 'N' is not known), dimension '2*M' of input 'twice' (the "
        "size of 'M' is not known)); input 'free' of m.onnx is of unknown rank: write dims={'N': (min, opt, "
        "max), 'S': (min, opt, max), 'M': (min, opt, max)} and shapes={'x': ((min), (opt), (max)), 'free': ((min), "
        "(opt), (max))}, or batch for 1 of the dimensions (for a command: --dims=N=SIZE --dims=S=SIZE --dims=M=SIZE "
        "--shapes=x=2xSIZEx3xSIZE --shapes=free=SIZExSIZE, or --batch=SIZE for 1 of the dimensions)"
    )


@pytest.mark.parametrize(
    ("subject", "spec", "run", "message"),
    [
        (model(x=("2*N",)), EngineSpec(), RunShape(), r"size \(the size of 'N' is not known\): write dims=\{'N'"),
        (model(x=("2*N",)), EngineSpec(), RunShape(batch=8), r"'2\*N' is computed .*dims=\{'N': SIZE\} instead"),
        (model(x=("N%2",), y=("N",)), EngineSpec(), RunShape(batch=8), r"\(N % 2 cannot be evaluated\): .*\{'N%2'"),
        (model(x=("N/2",), y=("N",)), EngineSpec(), RunShape(batch=5), r"N/2 is 2.5 for N=5, which is not a size"),
        (model(x=("N-2",), y=("N",)), EngineSpec(), RunShape(batch=1), r"N-2 is -1 for N=1, which is not a size"),
        (DOUBLE, EngineSpec(), RunShape(batch=8, dims={"2*N": 8}), r"size 8, but it is 16 where N is 8: leave '2\*N'"),
        (
            DOUBLE,
            EngineSpec(dims={"N": (1, 4, 8), "2*N": (2, 4, 8)}),
            RunShape(),
            r"'2\*N' is declared with the optimum 4, but is 8 where N is 4: change one of them",
        ),
        (DOUBLE, EngineSpec(dims={"M": 4}), RunShape(batch=8), r"no dimension 'M': it has '2\*N', 'N', 'N \+ 1'"),
    ],
)  # fmt: skip
def test_expression_without_a_size_is_refused_by_name(
    subject: Model, spec: EngineSpec, run: RunShape, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        resolve_shapes(subject, spec, run)
