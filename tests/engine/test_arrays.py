"""Test the checks of a user's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pytest_trt.engine.arrays import check_inputs, refuse_nan
from pytest_trt.engine.dlpack import DeviceArray
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import InputError

TENSORS = (Tensor("image", "float32", (-1, 3)), Tensor("ids", "int64", (2,)))
GOOD = {"ids": np.zeros(2, np.int64), "image": np.zeros((4, 3), np.float32)}


def test_valid_inputs_are_contiguous_and_in_the_engines_order() -> None:
    strided = np.arange(24, dtype=np.float32).reshape(3, 8)[:, ::2].T
    ready = check_inputs({**GOOD, "image": strided}, TENSORS)
    assert list(ready) == ["image", "ids"]
    assert ready["image"].flags.c_contiguous
    np.testing.assert_array_equal(ready["image"], strided)
    assert check_inputs(GOOD, TENSORS)["image"] is GOOD["image"], "a contiguous array is not copied"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"imagE": GOOD["image"]}, "the engine has no input 'imagE': did you mean 'image'?"),
        ({"zzz": GOOD["image"]}, "the engine has no input 'zzz': it has 'image', 'ids'"),
        ({"image": None}, r"input 'image' is of type NoneType: give a numpy array of float32 with the shape \(-1, 3\)"),
        ({"image": np.zeros((4, 3))}, r"input 'image' is float64: it must be float32 \(astype it\)"),
        ({"image": np.zeros((4, 4), np.float32)}, r"'image' has the shape \(4, 4\): it must be \(-1, 3\)"),
        ({"image": np.zeros(3, np.float32)}, r"'image' has the shape \(3,\): it must be \(-1, 3\)"),
    ],
)
def test_invalid_inputs_are_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_inputs({**GOOD, **changed}, TENSORS)


def test_byte_order_is_converted() -> None:
    ids = check_inputs({**GOOD, "ids": np.array([1, 2], ">i8")}, TENSORS)["ids"]
    assert ids.dtype.isnative
    assert ids.tolist() == [1, 2]


def test_scalar_keeps_its_shape() -> None:
    ready = check_inputs({"k": np.array(7, np.int32)}, [Tensor("k", "int32", ())])
    assert ready["k"].shape == ()
    assert ready["k"] == 7


def test_missing_input_is_named_with_its_type_and_shape() -> None:
    with pytest.raises(InputError, match=r"input 'ids' is missing: give an array of int64 with the shape \(2,\)"):
        check_inputs({"image": GOOD["image"]}, TENSORS)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_nan_is_found_at_every_position(dtype: Any) -> None:
    values = np.zeros((3, 5), dtype)
    values[0, 0], values[1, 1] = np.inf, -np.inf
    refuse_nan({"x": values, "unmasked": np.ma.array(values), "n": np.zeros(3, np.int8), "empty": np.zeros(0, dtype)})
    values[2, 4] = np.nan
    with pytest.raises(InputError, match="input 'x' holds 1 NaN of 15 values"):
        refuse_nan({"x": values})
    with pytest.raises(InputError, match="input 'x' holds 1 NaN of 3 values"):
        refuse_nan({"x": -values.T[4]})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0, 2.0], r"input 'x' is of type list: give a numpy array \(numpy.asarray\)"),
        (1.0, "input 'x' is of type float"),
        (np.array([None]), "input 'x' is an array of object: give numbers"),
        (np.array(["a"]), "input 'x' is an array of str"),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), "input 'x' has masked values, which no engine can read: fill them"),
    ],
)
def test_values_that_are_no_arrays_of_numbers_are_errors(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        refuse_nan({"x": value})


def test_arrays_without_names_are_an_error() -> None:
    with pytest.raises(
        InputError, match="the inputs are of type ndarray: give a dict of numpy arrays by the inputs' names"
    ):
        refuse_nan(np.zeros(3))  # type: ignore[arg-type]


def test_an_array_on_the_gpu_is_taken_unless_the_host_reads_it() -> None:
    image = DeviceArray(4096, np.dtype(np.float32), (4, 3))
    refuse_nan({"image": image})
    assert check_inputs({**GOOD, "image": image}, TENSORS, {"ids"})["image"] is image
    for read_on_host in (None, {"image"}):
        with pytest.raises(InputError, match=r"'image' is on the GPU, but is read on the host: .*\.cpu\(\)"):
            check_inputs({**GOOD, "image": image}, TENSORS, read_on_host)
    with pytest.raises(InputError, match=r"'image' has the shape \(3, 4\)"):
        check_inputs({**GOOD, "image": DeviceArray(4096, image.dtype, (3, 4))}, TENSORS, ())
    with pytest.raises(InputError, match="'image' is float16: it must be float32"):
        check_inputs({**GOOD, "image": DeviceArray(4096, np.dtype(np.float16), (4, 3))}, TENSORS, ())
