"""Tiny models with the inputs and outputs of those that the documentation names."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def resnet18() -> onnx.ModelProto:
    """image [N, 3, 224, 224] -> logits [N, 10]: a convolution, and a fully connected layer."""
    random = np.random.default_rng(0)
    weights = {
        "filters": random.standard_normal((8, 3, 7, 7)).astype(np.float32) / 12,
        "matrix": random.standard_normal((8, 10)).astype(np.float32) / 3,
    }
    nodes = [
        helper.make_node("Conv", ["image", "filters"], ["a"], "conv", strides=[16, 16], pads=[3, 3, 3, 3]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], "pool"),
        helper.make_node("Flatten", ["c"], ["d"], "flatten"),
        helper.make_node("Gemm", ["d", "matrix"], ["logits"], "head"),
    ]
    return _model("resnet18", nodes, weights, {"image": ["N", 3, 224, 224]}, {"logits": ["N", 10]})


def encoder() -> onnx.ModelProto:
    """tokens [N, S, 128] -> encoded [N, S, 128]: a matrix, and a nonlinearity."""
    matrix = np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32) / 11
    nodes = [
        helper.make_node("MatMul", ["tokens", "matrix"], ["product"], "matmul"),
        helper.make_node("Tanh", ["product"], ["encoded"], "tanh"),
    ]
    shape: list[object] = ["N", "S", 128]
    return _model("encoder", nodes, {"matrix": matrix}, {"tokens": shape}, {"encoded": shape})


def detector() -> onnx.ModelProto:
    """features [2, 16] -> boxes [2, 6, 4], scores [2, 6]."""
    random = np.random.default_rng(0)
    weights = {
        "to_boxes": random.standard_normal((16, 24)).astype(np.float32),
        "to_scores": random.standard_normal((16, 6)).astype(np.float32),
        "shape": np.array([2, 6, 4], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["features", "to_boxes"], ["flat"], "boxes"),
        helper.make_node("Reshape", ["flat", "shape"], ["boxes"], "shape"),
        helper.make_node("MatMul", ["features", "to_scores"], ["scores"], "scores"),
    ]
    return _model("detector", nodes, weights, {"features": [2, 16]}, {"boxes": [2, 6, 4], "scores": [2, 6]})


def _model(
    name: str,
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    inputs: dict[str, list[object]],
    outputs: dict[str, list[object]],
) -> onnx.ModelProto:
    def values(shapes: dict[str, list[object]]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in shapes.items()]

    tensors = [numpy_helper.from_array(value, key) for key, value in weights.items()]
    graph = helper.make_graph(nodes, name, values(inputs), values(outputs), tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
