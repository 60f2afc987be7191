"""Test models quantised to int8, against the original models on ONNX Runtime."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from samples.conversions import (
    MODELS,
    Save,
    batches,
    convolutions,
    differences,
    feed,
    infer,
    infer_exactly,
    info,
    model,
    recurrent,
    saved,
    weight,
)
from samples.whole_numbers import POSITION_KINDS

from pytest_trt.engine.convert import int8
from pytest_trt.engine.model.model import read_model
from pytest_trt.errors import BuildError


@pytest.mark.parametrize("name", ["convolutions", "branches", "constants", "functions", "passed_through", "sparse"])
def test_int8_is_accurate(name: str, tmp_path: Path) -> None:
    path = saved(MODELS[name](), tmp_path)
    conversion = int8.quantise(read_model(path), batches(path), tmp_path / "int8.onnx")
    assert conversion.shares["int8"] > 0
    assert read_model(tmp_path / "int8.onnx").has_qdq
    assert [out.name for out in read_model(path).outputs] == [
        out.name for out in read_model(tmp_path / "int8.onnx").outputs
    ]
    assert differences(tmp_path / "int8.onnx", path, "int8") == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["int8.onnx", "m.onnx"]


def test_output_that_is_also_read_stays_unquantised(tmp_path: Path) -> None:
    made = convolutions()
    made.graph.output.append(info("r", "N", 8, 8, 8))
    path = saved(made, tmp_path)
    int8.quantise(read_model(path), batches(path), tmp_path / "int8.onnx")
    quantised = onnx.load(str(tmp_path / "int8.onnx"))
    makers = {name: node.op_type for node in quantised.graph.node for name in node.output}
    assert [(value.name, makers[value.name]) for value in quantised.graph.output] == [("y", "Gemm"), ("r", "Relu")]
    second = [node for node in quantised.graph.node if node.op_type == "Conv"][1]
    assert makers[second.input[0]] == "DequantizeLinear"
    assert differences(tmp_path / "int8.onnx", path, "int8") == []


def test_int8_is_symmetric_as_tensorrt_requires(tmp_path: Path) -> None:
    path = saved(convolutions(), tmp_path)
    conversion = int8.quantise(read_model(path), batches(path), tmp_path / "int8.onnx")
    assert conversion.shares == {"int8": 1.0}
    made = onnx.load(str(tmp_path / "int8.onnx"))
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    points = [weights[node.input[2]] for node in made.graph.node if node.op_type.endswith("QuantizeLinear")]
    points += [weights[node.input[2]] for node in made.graph.node if node.op_type == "DequantizeLinear"]
    assert points
    assert all(point.dtype == np.int8 and not point.any() for point in points)
    assert any(point.size == 8 for point in points), "no weight is quantised per channel"
    nodes = [node for node in made.graph.node if node.op_type == "Conv"]
    kernels = [a.ints for node in nodes for a in node.attribute if a.name == "kernel_shape"]
    assert len(kernels) == len(nodes) > 0  # TensorRT 8.6 requires them
    assert all(len(kernel) == 2 for kernel in kernels)


def test_missing_package_of_the_quantiser_is_named(
    save_model: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", minversion="1.25", reason="the older quantiser does not import ml_dtypes")
    for name in [name for name in sys.modules if name.startswith("onnxruntime.quantization")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(BuildError, match=r"onnxruntime .* cannot quantise without the package ml_dtypes: pip install"):
        int8.quantise(read_model(path := save_model()), batches(path), tmp_path / "int8.onnx")


def test_old_opsets_are_upgraded_for_per_channel_scales(save_model: Save, tmp_path: Path) -> None:
    made = onnx.load(str(save_model()))
    made.opset_import[0].version = 11
    path = saved(made, tmp_path)
    conversion = int8.quantise(read_model(path), batches(path), tmp_path / "int8.onnx")
    assert (conversion.shares, conversion.notes) == ({"int8": 1.0}, ())
    assert read_model(tmp_path / "int8.onnx").opset >= int8.PER_CHANNEL_OPSET
    infer(tmp_path / "int8.onnx", feed(path))


def test_int8_of_a_model_with_external_data(tmp_path: Path) -> None:
    path = saved(convolutions(), tmp_path, save_as_external_data=True, location="m.data", size_threshold=100)
    int8.quantise(read_model(path), batches(path), tmp_path / "int8.onnx")
    assert differences(tmp_path / "int8.onnx", path, "int8") == []


def fails() -> Iterator[dict[str, Any]]:
    raise OSError("the disk with the pictures is gone")
    yield {}


def test_int8_is_calibrated_on_inputs_of_unknown_rank(tmp_path: Path) -> None:
    made = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [info("x")], [info("y", 4, 8)], [weight("w", 8, 8)])
    made.graph.input[0].type.tensor_type.ClearField("shape")
    batch = {"x": np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)}
    conversion = int8.quantise(read_model(saved(made, tmp_path)), lambda: [batch], tmp_path / "int8.onnx")
    assert conversion.shares == {"int8": 1.0}


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (fails, "the function raised OSError: the disk with the pictures is gone"),
        (list, "the function yielded nothing"),
        (lambda: [{"X": np.zeros((1, 3, 8, 8), np.float32)}], r"batch 1: the engine has no input 'X': .*'x'"),
        (lambda: [{"x": np.zeros((1, 3, 9, 8), np.float32)}], r"batch 1: input 'x' has the shape \(1, 3, 9, 8\)"),
        (lambda: [{"x": np.zeros((1, 3, 8, 8))}], "batch 1: input 'x' is float64: it must be float32"),
        (lambda: [3], "batch 1: the inputs are of type int: give a dict"),
        (lambda: 3, "the function returned int: it must yield dicts"),
    ],
)
def test_invalid_calibration_is_an_error(calibration: Any, message: str, tmp_path: Path) -> None:
    subject = read_model(saved(convolutions(), tmp_path))
    with pytest.raises(BuildError, match=rf"int8 calibration of m.onnx.*{message}"):
        int8.fingerprint(subject, calibration)
    with pytest.raises(BuildError, match=rf"int8 calibration of m.onnx.*{message}"):
        int8.quantise(subject, calibration, tmp_path / "int8.onnx")


def test_model_with_nothing_to_quantise_is_an_error(tmp_path: Path) -> None:
    path = saved(recurrent(), tmp_path)
    with pytest.raises(
        BuildError, match=r"int8 was requested, but m.onnx has none of Conv, .* that can be quantised: leave int8 out"
    ):
        int8.quantise(read_model(path), batches(path), tmp_path / "int8.onnx")


def test_fingerprint_depends_on_the_calibration_inputs(tmp_path: Path) -> None:
    path = saved(convolutions(), tmp_path)
    subject = read_model(path)
    assert int8.fingerprint(subject, batches(path)) == int8.fingerprint(subject, batches(path))
    assert int8.fingerprint(subject, batches(path)) != int8.fingerprint(subject, batches(path, 3))


def test_quantising_restores_logging(tmp_path: Path) -> None:
    path = saved(convolutions(), tmp_path)
    root = logging.getLogger()
    before = (list(root.handlers), root.level, root.manager.disable)
    int8.quantise(read_model(path), batches(path), tmp_path / "int8.onnx")
    assert (list(root.handlers), root.level, root.manager.disable) == before


@pytest.mark.parametrize("role", ["input", "output"])
@pytest.mark.parametrize("kind", ["BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E5M2", "INT4", "UINT4", "COMPLEX64"])
def test_error_names_an_input_or_output_that_arrays_cannot_hold(kind: str, role: str, tmp_path: Path) -> None:
    kinds = {"input": TensorProto.FLOAT, "output": TensorProto.FLOAT, role: getattr(TensorProto, kind)}
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["f", "w"], ["m"]),
        helper.make_node("Cast", ["m"], ["y"], to=kinds["output"]),
    ]
    ends = [info("x", 2, 8, kind=kinds["input"])], [info("y", 2, 8, kind=kinds["output"])]
    path = saved(model(nodes, *ends, [weight("w", 8, 8)]), tmp_path)
    name = {"input": "x", "output": "y"}[role]
    message = (
        rf"int8: the {role} '{name}' of m\.onnx is \w+, which NumPy arrays cannot hold, so ONNX Runtime cannot run the "
        "calibration: export the model with float32 inputs and outputs, or with Q/DQ"
    )
    for call in (int8.fingerprint, lambda *args: int8.quantise(*args, tmp_path / "int8.onnx")):
        with pytest.raises(BuildError, match=message):
            call(read_model(path), batches(path))


@pytest.mark.parametrize("kind", ["gemm", "gemm of several", "matmul", "expanded", "a column of float steps"])
def test_angles_of_positions_are_not_quantised(kind: str, tmp_path: Path) -> None:
    made = POSITION_KINDS[kind]
    path = saved(made.model(), tmp_path)
    shares = int8.quantise(read_model(path), lambda: iter([made.feed]), tmp_path / "int8.onnx").shares
    assert shares["int8"] > 0
    got, expected = (infer_exactly(tmp_path / name, made.feed)["y"] for name in ("int8.onnx", "m.onnx"))
    assert np.abs(got - expected).max() < 0.03 * np.abs(expected).max()
