"""Test arrays in the memory formats of TensorRT, by the formulas of its documentation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import BackendError
from pytest_trt.pipeline.buffers import Layout, PageableBuffer
from pytest_trt.pipeline.formats import pack, storage_shape, unpack

NCHW, NCDHW = (2, 5, 3, 4), (2, 5, 2, 3, 4)


@pytest.mark.parametrize(
    ("name", "shape", "stored"),
    [
        ("linear", NCHW, (2, 5, 3, 4)),
        ("hwc", NCHW, (2, 3, 4, 5)),
        ("hwc8", NCHW, (2, 3, 4, 8)),
        ("hwc16", NCHW, (2, 3, 4, 16)),
        ("chw2", NCHW, (2, 3, 3, 4, 2)),
        ("chw4", NCHW, (2, 2, 3, 4, 4)),
        ("chw32", NCHW, (2, 1, 3, 4, 32)),
        ("dhwc", NCDHW, (2, 2, 3, 4, 5)),
        ("dhwc8", NCDHW, (2, 2, 3, 4, 8)),
        ("cdhw32", NCDHW, (2, 1, 2, 3, 4, 32)),
        ("chw4", (8, 3, 4), (2, 3, 4, 4)),
    ],
)
def test_packed_array_has_the_storage_shape_and_unpacks_unchanged(
    name: str, shape: tuple[int, ...], stored: tuple[int, ...]
) -> None:
    assert storage_shape(shape, name) == stored
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    memory = np.zeros(stored, np.float32)
    pack(memory, array, name)
    np.testing.assert_array_equal(unpack(memory, shape, name), array)
    assert memory.sum() == array.sum()  # padding is unchanged


@pytest.mark.parametrize(("name", "whole"), [("chw2", 2), ("chw4", 4), ("hwc8", 0), ("hwc", 0)])
def test_every_element_is_where_tensorrt_expects_it(name: str, whole: int) -> None:
    """(n, c, h, w) at [n][c / k][h][w][c % k], or at [n][h][w][c]."""
    array = np.arange(np.prod(NCHW), dtype=np.float32).reshape(NCHW)
    memory = np.full(storage_shape(NCHW, name), -1, np.float32)
    pack(memory, array, name)
    for n, c, h, w in itertools.product(*map(range, NCHW)):
        at = (n, c // whole, h, w, c % whole) if whole else (n, h, w, c)
        assert memory[at] == array[n, c, h, w]


@pytest.mark.parametrize(
    ("name", "shape"), [("dla_linear", NCHW), ("dla_hwc4", NCHW), ("hwc", (3, 4)), ("dhwc", (1, 2, 3))]
)
def test_unsupported_format_is_an_error(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(
        BackendError, match=f"the format {name!r}, which is not supported for a tensor of {len(shape)} dimensions"
    ):
        storage_shape(shape, name)


def test_region_has_the_size_of_its_format() -> None:
    layout = Layout([Tensor("x", "float16", NCHW, format="hwc8"), Tensor("y", "float32", (2, 3))])
    memory = PageableBuffer(layout.nbytes)
    region = layout.regions["x"]
    assert region.nbytes == region.nbytes_at(NCHW) == 2 * 3 * 4 * 8 * 2
    array = np.arange(np.prod(NCHW), dtype=np.float16).reshape(NCHW)
    pack(region.view(memory.array), array, "hwc8")
    np.testing.assert_array_equal(region.copy(memory.array), array)
    assert not layout.linear
    assert Layout([Tensor("y", "float32", (2, 3))]).linear
