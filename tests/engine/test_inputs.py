"""Test inputs that are generated from a seed."""

from __future__ import annotations

import hashlib

import ml_dtypes
import numpy as np
import pytest

from pytest_trt.engine.inputs import generate_inputs
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import InputError

DTYPES = (
    "float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex64", "bool", "int4", "uint4",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)  # fmt: skip


def generate(dtype: str, shape: tuple[int, ...] = (1000,), limits: tuple[float, float] | None = None) -> np.ndarray:
    return generate_inputs([Tensor("x", dtype, shape)], 0, {} if limits is None else {"x": limits})["x"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_generated_and_varies(dtype: str) -> None:
    array = generate(dtype)
    assert array.dtype == np.dtype(getattr(ml_dtypes, dtype, dtype))
    assert array.shape == (1000,)
    assert len(set(array.tolist())) > 1
    assert np.isfinite(array.astype(np.complex128)).all()


@pytest.mark.parametrize("dtype", [name for name in DTYPES if "int" in name])
def test_integers_are_safe_as_indices(dtype: str) -> None:
    assert set(generate(dtype).astype(int).tolist()) == {0, 1}


def test_floats_are_standard_normal() -> None:
    array = generate("float32", (100_000,))
    assert abs(array.mean()) < 0.02
    assert abs(array.std() - 1) < 0.02
    assert abs(np.abs(array).mean() - np.sqrt(2 / np.pi)) < 0.01
    assert abs((np.abs(array) > 1.96).mean() - 0.05) < 0.005
    assert abs(np.corrcoef(array[1:], array[:-1])[0, 1]) < 0.02
    complex_ones = generate("complex64", (100_000,))
    assert abs(np.corrcoef(complex_ones.real, complex_ones.imag)[0, 1]) < 0.02


HASH_OF_SEED_7 = "44d55e9af7cf2ce6994d53fc0b1e016cbe9839c09b1edb325b261d14968d34e3"


def test_seed_determines_the_inputs() -> None:
    """The hash is the same for every numpy: RandomState's streams are frozen, and integers involve no rounding."""
    tensors = [Tensor("ids", "int64", (64,))]
    generated = generate_inputs(tensors, 7, {"ids": (0, 30_000)})["ids"]
    assert hashlib.sha256(generated.astype("<i8").tobytes()).hexdigest() == HASH_OF_SEED_7
    assert (generate_inputs(tensors, 7, {"ids": (0, 30_000)})["ids"] == generated).all()
    assert (generate_inputs(tensors, 8, {"ids": (0, 30_000)})["ids"] != generated).any()


def test_input_does_not_depend_on_other_inputs() -> None:
    x, y = Tensor("x", "float32", (8,)), Tensor("y", "float32", (8,))
    both = generate_inputs([x, y], 0, {})
    assert (generate_inputs([y, x], 0, {})["x"] == both["x"]).all()
    assert (generate_inputs([x], 0, {})["x"] == both["x"]).all()
    assert (both["x"] != both["y"]).any()


def test_ranges_include_both_ends() -> None:
    assert set(generate("int32", limits=(-2.0, 2.5)).tolist()) == {-2, -1, 0, 1, 2}
    floats = generate("float32", limits=(5.0, 6.0))
    assert 5 <= floats.min() < 5.1
    assert 5.9 < floats.max() <= 6
    assert set(generate("uint8", (100_000,), (0, 255)).tolist()) == set(range(256))
    assert set(generate("bool", limits=(1, 1)).tolist()) == {True}
    assert generate("uint64", limits=(2.0**63, 2.0**64 - 2048)).min() >= 2**63
    assert generate("int64", limits=(-(2.0**63), 0.0)).min() < -(2**62)


def test_shapes_without_elements_or_dimensions() -> None:
    assert generate("float32", ()).shape == ()
    assert generate("int64", ()).shape == ()
    assert generate("float16", (0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("dtype", "limits", "message"),
    [
        ("uint8", (-1.0, 300.0), r"input_ranges\['x'\] is \(-1.0, 300.0\): uint8 holds 0 to 255"),
        ("int4", (0.0, 8.0), "int4 holds -8 to 7"),
        ("int32", (0.2, 0.8), "it contains no integer"),
        ("float16", (0.0, 1e6), "that exceeds float16"),
        ("float8_e4m3fn", (0.0, 500.0), "that exceeds float8_e4m3fn"),
        ("string", None, "'x' is string, for which no array can be generated"),
    ],
)
def test_impossible_ranges_and_dtypes_are_errors(dtype: str, limits: tuple[float, float] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        generate(dtype, limits=limits)


def test_dynamic_shape_is_an_error() -> None:
    with pytest.raises(InputError, match="give its dynamic dimensions a size"):
        generate("float32", (-1, 3))


def test_range_for_an_unknown_input_suggests_the_nearest_name() -> None:
    with pytest.raises(InputError, match="names 'idz', which is no input: did you mean 'ids'"):
        generate_inputs([Tensor("ids", "int64", (2,))], 0, {"idz": (0, 1)})
