"""Create ResNet-18 (He et al. 2015) with random weights as an ONNX model, for the other benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def save(path: Path, seed: int = 0, more_1x1: int = 0) -> Path:
    """Save the model: input [N, 3, 224, 224] float32 -> logits [N, 1000]. Return its path.

    Batch normalisation is folded into the convolutions.

    Args:
        path: The file of the model.
        seed: The seed of the weights.
        more_1x1: The number of additional 1x1 convolutions with 512 channels before the pool.
    """
    random = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def weight(*shape: int) -> str:
        fan_in = int(np.prod(shape[1:])) or 1
        values = random.standard_normal(shape) * np.sqrt(2 / fan_in) if len(shape) > 1 else np.zeros(shape)
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{len(weights)}"))
        return weights[-1].name

    def node(operator: str, *inputs: str, **attributes: object) -> str:
        name = f"{operator}_{len(nodes)}"
        nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def convolution(x: str, in_channels: int, out_channels: int, size: int, stride: int = 1) -> str:
        kernel, bias, pads = weight(out_channels, in_channels, size, size), weight(out_channels), [size // 2] * 4
        return node("Conv", x, kernel, bias, strides=[stride, stride], pads=pads)

    x = node("Relu", convolution("input", 3, 64, 7, 2))
    x = node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for out in (64, 128, 256, 512):
        for block in range(2):
            stride = 2 if block == 0 and out != 64 else 1
            y = node("Relu", convolution(x, channels, out, 3, stride))
            y = convolution(y, out, out, 3)
            shortcut = x if channels == out and stride == 1 else convolution(x, channels, out, 1, stride)
            x, channels = node("Relu", node("Add", y, shortcut)), out
    for _ in range(more_1x1):
        x = node("Relu", convolution(x, 512, 512, 1))
    x = node("Flatten", node("GlobalAveragePool", x))
    logits = node("Gemm", x, weight(512, 1000), weight(1000))
    nodes[-1].output[0] = "logits"
    assert logits
    graph = helper.make_graph(
        nodes, "resnet18",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 224, 224])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])], weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
