"""Test where tensors are in a buffer, and how much is copied. On a GPU, tests/gpu copies them."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_trt.engine.tensors import Tensor, numpy_dtype
from pytest_trt.pipeline import copying
from pytest_trt.pipeline.buffers import ALIGNMENT, Layout, PageableBuffer


def test_tensors_of_a_single_copy_come_first() -> None:
    tensors = (
        Tensor("sizes", "int32", (2,), on_host=True),
        Tensor("found", "int64", (1, -1)),
        Tensor("x", "float32", (3, 5)),
        Tensor("y", "float16", (7,)),
    )
    layout = Layout(tensors, {"found": 800})
    regions = layout.regions
    assert list(regions) == ["x", "y", "found", "sizes"]
    assert [region.offset for region in regions.values()] == [0, ALIGNMENT, 2 * ALIGNMENT, 4 * ALIGNMENT]
    assert layout.single_copy_bytes == ALIGNMENT + 14
    assert [region.tensor.name for region in layout.data_dependent] == ["found"]
    assert layout.nbytes == 5 * ALIGNMENT


def test_layout_without_copied_tensors_is_empty() -> None:
    assert Layout([]).single_copy_bytes == Layout([]).nbytes == 0
    assert Layout([Tensor("s", "int32", (), on_host=True)]).single_copy_bytes == 0


def test_views_share_memory_and_have_the_actual_shape() -> None:
    layout = Layout([Tensor("a", "float32", ()), Tensor("b", "int16", (2, 3))])
    memory = PageableBuffer(layout.nbytes)
    layout.regions["b"].view(memory.array)[1, 2] = 9
    assert layout.regions["b"].view(memory.array, (6,))[5] == 9
    assert layout.regions["a"].view(memory.array).shape == ()
    assert layout.regions["b"].view(memory.array, (0, 3)).size == 0
    assert memory.address % 4 == 0


def test_names_of_ml_dtypes_are_known() -> None:
    pytest.importorskip("ml_dtypes", reason="needs the package ml_dtypes")
    assert numpy_dtype("bfloat16").itemsize == 2
    assert numpy_dtype("float16") == np.float16


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (7, 300_000), (1, 5_000_000)])
def test_copy_is_complete_on_several_threads(shape: tuple[int, ...]) -> None:
    copier = copying.Copier()
    copier.threads = 3
    source = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape)
    to = np.zeros_like(source)
    copier.copy(to, source)
    np.testing.assert_array_equal(to, source)
    copier.close()
    copier.close()
