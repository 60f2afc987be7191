"""ONNX Runtime as a backend: what it computes is right on every processor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_trt.backends.base import backend
from pytest_trt.spec import EngineSpec


def ones_in_int8(depth: int) -> onnx.ModelProto:
    """x [1, depth] times a matrix of ones, both int8 with 127 for 1.0: every product of bytes is the greatest."""
    weights = [
        numpy_helper.from_array(np.full((depth, 4), 127, np.int8), "w"),
        numpy_helper.from_array(np.float32(1 / 127), "s"),
        numpy_helper.from_array(np.int8(0), "z"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, depth])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    graph = helper.make_graph(nodes, "ones", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("depth", [4, 64, 1024])
def test_sums_of_int8_do_not_saturate(depth: int, tmp_path: Path) -> None:
    """Two products of an unsigned and a signed byte do not fit the 16 bits in which x86 without VNNI adds them up."""
    onnx.save(ones_in_int8(depth), str(tmp_path / "plan"))
    engine = backend("onnxruntime").load(tmp_path / "plan", "0", EngineSpec(threads=1))
    outputs = engine.run({"x": np.ones((1, depth), np.float32)})  # type: ignore[attr-defined]
    np.testing.assert_allclose(outputs["y"], np.full((1, 4), depth, np.float32), rtol=1e-5)
