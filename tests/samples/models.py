"""Small real models for tests."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def layers_model(layers: int = 2, width: int = 32, batch: object = "N", seed: int = 0) -> onnx.ModelProto:
    """Return a model of `layers` pairs of MatMul and Relu: x [N, width] -> y [N, width]."""
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


def clipped_model(count: int = 24, at: int = 13, width: int = 16) -> onnx.ModelProto:
    """Return a model of `count` pairs of MatMul and Tanh: x [N, width] -> y [N, width].

    After pair number `at`, the values are multiplied by a factor too small for float16, and by its inverse.
    """
    random = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []
    last = "x"
    for i in range(count):
        values = (random.standard_normal((width, width)) / np.sqrt(width)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{i}"], [f"h{i}"], f"matmul{i}"))
        nodes.append(helper.make_node("Tanh", [f"h{i}"], [f"t{i}"], f"tanh{i}"))
        last = f"t{i}"
        if i == at:
            weights += [numpy_helper.from_array(np.float32(v), n) for n, v in (("small", 1e-8), ("large", 1e4))]
            nodes.append(helper.make_node("Mul", [last, "small"], ["down"], "scale_down"))
            nodes.append(helper.make_node("Mul", ["down", "large"], ["half_up"], "scale_half_up"))
            nodes.append(helper.make_node("Mul", ["half_up", "large"], ["up"], "scale_up"))
            last = "up"
    nodes.append(helper.make_node("Identity", [last], ["y"], "end"))
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]) for name in "xy")
    graph = helper.make_graph(nodes, "scaled", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def conv_model(dynamic: bool = True) -> onnx.ModelProto:
    """Return a model with one convolution: x [N, 3, 16, 16] -> y [N, 4]."""
    random = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("w", (8, 3, 3, 3)), ("v", (8, 4)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("MatMul", ["f", "v"], ["y"], "matmul"),
    ]
    batch = "N" if dynamic else 2
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 16, 16])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
