"""Test that arrays of other libraries are taken without a copy. Device memory is tested in tests/gpu."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest
from samples.dlpack import EXPORTED, ForeignArray

from pytest_trt.engine.dlpack import from_dlpack, take_arrays
from pytest_trt.errors import InputError


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(6, dtype=np.int64),
        np.array([True, False]),
        np.array(7, np.uint8),
        np.zeros((0, 4), np.float16),
        np.arange(24, dtype=np.float64).reshape(2, 3, 4).transpose(2, 0, 1)[::2],
        np.array([1 + 2j], np.complex64),
    ],
    ids=["float32", "int64", "bool", "scalar", "empty", "strided", "complex64"],
)
def test_arrays_in_host_memory_are_shared(array: Any) -> None:
    taken = from_dlpack("x", ForeignArray.of(array))
    assert (taken.dtype, taken.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(taken, array)
    assert not array.size or np.shares_memory(taken, array)
    del taken
    gc.collect()
    assert not EXPORTED, "the memory is let go of with the last array"


def test_bfloat16_is_shared() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    array = np.arange(4).astype(ml_dtypes.bfloat16)
    taken = from_dlpack("x", ForeignArray.of(array))
    assert taken.dtype == array.dtype
    np.testing.assert_array_equal(taken, array)


def test_numpys_own_capsules_are_read() -> None:
    array = np.arange(6.0).reshape(3, 2).T
    taken = from_dlpack(
        "x", type("Tensor", (), {"__dlpack__": array.__dlpack__, "__dlpack_device__": lambda _: (1, 0)})()
    )
    np.testing.assert_array_equal(taken, array)
    assert np.shares_memory(taken, array)


def test_only_arrays_of_other_libraries_change() -> None:
    array, foreign = np.zeros(3), np.ones(3)
    taken = take_arrays({"a": array, "b": ForeignArray.of(foreign), "c": [1]})
    assert taken["a"] is array
    assert np.shares_memory(taken["b"], foreign)
    assert taken["c"] == [1]
    for other in ({"a": array}, [1, 2], None):
        assert take_arrays(other) is other


class NeedsGradient(ForeignArray):
    def __dlpack__(self, *, stream: Any = None) -> Any:
        raise BufferError("Can't export tensors that require gradient, use tensor.detach()")


def test_arrays_that_cannot_be_shared_are_errors_that_name_the_input() -> None:
    address, real = 4096, np.dtype(np.float32)
    with pytest.raises(InputError, match=r"'x' of type .*NeedsGradient cannot be shared: .*tensor\.detach\(\)"):
        from_dlpack("x", NeedsGradient(address, (3,), real))
    with pytest.raises(InputError, match=r"'x' .*is neither in host memory nor on an NVIDIA GPU"):
        from_dlpack("x", ForeignArray(address, (3,), real, device=(10, 0)))
    with pytest.raises(InputError, match=r"'x' of type .* has elements of 4 values"):
        from_dlpack("x", ForeignArray(address, (3,), real, lanes=4))
    with pytest.raises(InputError, match=r"'x' is not contiguous on the GPU: .*\.contiguous"):
        from_dlpack("x", ForeignArray(address, (2, 3), real, device=(2, 0), strides=(1, 2)))


class OtherCapsule(ForeignArray):
    def __dlpack__(self, **_: object) -> object:
        return object()


def test_what_is_no_capsule_is_an_error_that_names_the_input() -> None:
    with pytest.raises(InputError, match=r"input 'x' of type .*OtherCapsule cannot be shared: PyCapsule_GetPointer"):
        from_dlpack("x", OtherCapsule.of(np.zeros(3, np.float32)))


def test_a_device_array_is_asked_for_on_the_default_stream() -> None:
    foreign = ForeignArray(4096, (2, 3), np.dtype(np.float32), device=(2, 0), strides=(1, 2))
    with pytest.raises(InputError):
        from_dlpack("x", foreign)
    assert foreign.streams == [1]
