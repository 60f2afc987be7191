"""Test which package converts a model, and NVIDIA's AutoCast where it is installed (`make test-modelopt`)."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from samples.conversions import MODELS, Save, differences, info, model, saved, weight

from pytest_trt.engine.convert import converters, int8
from pytest_trt.engine.convert.half import convert
from pytest_trt.engine.model.model import read_model
from pytest_trt.errors import BuildError


@pytest.fixture
def no_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide all converters."""

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)


@pytest.mark.usefixtures("no_converter")
def test_missing_converter_names_the_packages_to_install(save_model: Save, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"pip install 'nvidia-modelopt\[onnx\]', onnxruntime, or"):
        convert(save_model(), "fp16", tmp_path / "half.onnx")
    with pytest.raises(BuildError, match=r"pip install 'pytest-trt\[cpu\]'"):
        int8.quantise(read_model(save_model()), list, tmp_path / "int8.onnx")


def test_onnxconverter_common_is_used_if_nothing_else_is_installed(
    save_model: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converters, "PACKAGES", converters.PACKAGES[-1:])
    path = save_model()
    conversion = convert(path, "fp16", tmp_path / "half.onnx")
    assert conversion.converter.startswith("onnxconverter-common ")
    assert conversion.shares == {"fp16": 1.0}
    assert differences(tmp_path / "half.onnx", path, "fp16") == []


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_autocast_is_used_if_it_is_installed(name: str, kind: Any, tmp_path: Path) -> None:
    pytest.importorskip("modelopt", reason="nvidia-modelopt is not installed: run make test-modelopt")
    path = saved(MODELS[name](), tmp_path)
    conversion = convert(path, kind, tmp_path / "half.onnx")
    assert conversion.converter.startswith("nvidia-modelopt ")
    assert conversion.shares[kind] > 0
    assert [tensor.dtype for tensor in read_model(tmp_path / "half.onnx").inputs] == [
        t.dtype for t in read_model(path).inputs
    ]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["half.onnx", "m.onnx"]
    if kind == "fp16":
        assert differences(tmp_path / "half.onnx", path, "fp16") == []


def largest_of_rows() -> onnx.ModelProto:
    """A model that AutoCast cannot run: it looks for the largest 3 of N rows, and AutoCast runs it with N = 1."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("TopK", ["h", "k"], ["y", "i"], axis=0)]
    k = numpy_helper.from_array(np.array([3], np.int64), "k")
    outputs = [info("y", 3, 8), info("i", 3, 8, kind=TensorProto.INT64)]
    return model(nodes, [info("x", "N", 8)], outputs, [weight("w", 8, 8), k])


def test_next_package_converts_a_model_that_autocast_cannot_run(tmp_path: Path) -> None:
    pytest.importorskip("modelopt", reason="nvidia-modelopt is not installed: run make test-modelopt")
    path = saved(largest_of_rows(), tmp_path)
    conversion = convert(path, "fp16", tmp_path / "half.onnx")
    assert conversion.converter.startswith("onnxruntime")
    assert any("cannot convert m.onnx to fp16: " in note and "TopK" in note for note in conversion.notes)
    inputs = {"x": np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)}
    assert differences(tmp_path / "half.onnx", path, "fp16", inputs) == []
