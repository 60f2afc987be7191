"""Small real models for tests."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def layers_model(layers: int = 2, width: int = 32, batch: object = "N", seed: int = 0) -> onnx.ModelProto:
    """`layers` of MatMul and Relu: x [N, width] -> y [N, width]."""
    random = np.random.default_rng(seed)
    nodes, weights, last = [], [], "x"
    for i in range(layers):
        values = (random.standard_normal((width, width)) / np.sqrt(width)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{i}"], [f"h{i}"], name=f"MatMul_{i}"))
        last = "y" if i == layers - 1 else f"r{i}"
        nodes.append(helper.make_node("Relu", [f"h{i}"], [last], name=f"Relu_{i}"))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, width])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, width])]
    graph = helper.make_graph(nodes, "layers", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
