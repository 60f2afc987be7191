"""Test the marker that declares a model: copied, it resolves every shape."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_trt.engine.model.marker_line import marker_line
from pytest_trt.engine.model.model import Model
from pytest_trt.engine.model.shapes import resolve_shapes
from pytest_trt.engine.tensors import Tensor
from pytest_trt.spec.declaration import RunShape
from pytest_trt.spec.engine_spec import EngineSpec


def model(tmp_path: Any, **dims: tuple[str | int | None, ...] | None) -> Model:
    tensors = tuple(Tensor(name, "float32", ()) for name in dims)
    return Model(tmp_path / "m.onnx", "", "onnx", tensors, dims=dims)


@pytest.mark.parametrize(
    ("dims", "line"),
    [
        ({"x": (2, 3)}, "'m.onnx'"),
        ({"x": ("N", 3, "H"), "y": ("N",)}, "'m.onnx', dims={'N': (1, 8, 32), 'H': (32, 128, 512)}"),
        ({"x": ("N",), "y": ("2*N",)}, "'m.onnx', dims={'N': (1, 8, 32)}"),
        ({"x": (None, 3), "y": ("N",)}, "'m.onnx', dims={'N': (1, 8, 32)}, shapes={'x': ((1, 3), (8, 3), (32, 3))}"),
        ({"x": ("N", None, "2*N")}, "'m.onnx', shapes={'x': ((1, 32, 2), (8, 128, 16), (32, 512, 64))}"),
        ({"x": None}, "'m.onnx', shapes={'x': ((1, 32), (8, 128), (32, 512))}"),
        ({"it's\n": ("N", 1)}, "'m.onnx', dims={'N': (1, 8, 32)}"),
    ],
    ids=["fixed", "named", "derived", "unnamed", "all", "unknown rank", "odd name"],
)
def test_the_copied_line_declares_every_dimension(
    tmp_path: Any, dims: dict[str, tuple[str | int | None, ...] | None], line: str
) -> None:
    found, has_examples = marker_line(model(tmp_path, **dims), "m.onnx")
    assert found == f"@pytest.mark.trt_engine({line})"
    assert has_examples == ("{" in line)
    spec = eval(
        found.removeprefix("@pytest.mark."), {"trt_engine": lambda path, **given: EngineSpec(path=path, **given)}
    )
    resolve_shapes(model(tmp_path, **dims), spec, RunShape())
