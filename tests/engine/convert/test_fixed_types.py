"""Test operators whose results have a type that an attribute sets: they stay float32 in half precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pytest_trt.engine.convert.half import convert

node = helper.make_node
BOTH = pytest.mark.parametrize("half", ["fp16", "bf16"])
NEWEST = onnx.defs.onnx_opset_version()


def stored(name: str, values: Any, kind: Any = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.array(values, kind), name)


def check(nodes: list[Any], weights: list[Any], opset: int, half: Any, folder: Path) -> None:
    """Check a model that multiplies `x` (4, 8) with the computed `t`, and then with a matrix."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 8]) for name in "xy")
    matrix = stored("w", np.random.default_rng(0).standard_normal((8, 8)) / 3)
    nodes = [*nodes, node("Mul", ["x", "t"], ["m"]), node("MatMul", ["m", "w"], ["y"])]
    graph = helper.make_graph(nodes, "g", [x], [y], [matrix, *weights])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 18 else 10)
    onnx.save(made, folder / "m.onnx")
    shares = convert(folder / "m.onnx", half, folder / "h.onnx").shares
    assert shares[half] > 0.3
    feed = {"x": np.random.default_rng(1).standard_normal((4, 8)).astype(np.float32)}
    got, expected = (ReferenceEvaluator(str(folder / name)).run(None, feed)[0] for name in ("h.onnx", "m.onnx"))
    assert np.abs(got - expected).max() < {"fp16": 0.005, "bf16": 0.04}[half] * np.abs(expected).max()


@BOTH
@pytest.mark.parametrize("attributes", [{}, {"output_datatype": TensorProto.FLOAT}, {"periodic": 0}], ids=str)
@pytest.mark.parametrize("operator", ["BlackmanWindow", "HammingWindow", "HannWindow"])
def test_windows(operator: str, attributes: dict[str, int], half: Any, tmp_path: Path) -> None:
    check([node(operator, ["n"], ["t"], **attributes)], [stored("n", 8, np.int64)], 17, half, tmp_path)


@BOTH
def test_a_mel_matrix(half: Any, tmp_path: Path) -> None:
    nodes = [node("MelWeightMatrix", ["mels", "length", "rate", "low", "high"], ["mel"]),
             node("ReduceSum", ["mel", "first"], ["t"], keepdims=0)]  # fmt: skip
    sizes = {"mels": 8, "length": 64, "rate": 16000}
    weights = [stored(name, size, np.int64) for name, size in sizes.items()]
    check(nodes, [*weights, stored("low", 0), stored("high", 8000), stored("first", [0], np.int64)], 17, half, tmp_path)


@BOTH
@pytest.mark.parametrize("outputs", [["n", "t"], ["n", "", "t"]], ids=["mean", "deviation"])
def test_the_mean_of_a_layer_normalisation(outputs: list[str], half: Any, tmp_path: Path) -> None:
    check([node("LayerNormalization", ["x", "s"], outputs)], [stored("s", [1] * 8)], 17, half, tmp_path)


@BOTH
def test_float32_bits_of_integers_and_back(half: Any, tmp_path: Path) -> None:
    if NEWEST < 26:
        pytest.skip("BitCast came with opset 26")
    nodes = [node("Exp", ["x"], ["e"]), node("BitCast", ["e"], ["bits"], to=TensorProto.INT32),
             node("BitCast", ["bits"], ["t"], to=TensorProto.FLOAT)]  # fmt: skip
    check(nodes, [], 26, half, tmp_path)


@BOTH
def test_a_dequantised_type(half: Any, tmp_path: Path) -> None:
    if NEWEST < 23:
        pytest.skip("the attribute output_dtype came with opset 23")
    nodes = [node("DequantizeLinear", ["q", "s"], ["t"], output_dtype=TensorProto.FLOAT)]
    check(nodes, [stored("q", range(-4, 4), np.int8), stored("s", 0.25)], 23, half, tmp_path)


@BOTH
@pytest.mark.parametrize("attributes", [{}, {"dtype": TensorProto.FLOAT}], ids=["default", "float"])
def test_the_types_of_these_operators_are_converted(attributes: dict[str, int], half: Any, tmp_path: Path) -> None:
    nodes = [
        node("EyeLike", ["x"], ["e"], **attributes),
        node("ConstantOfShape", ["shape"], ["o"], value=stored("", [1])),
        node("Add", ["e", "o"], ["t"]),
    ]
    check(nodes, [stored("shape", [4, 8], np.int64)], 17, half, tmp_path)
