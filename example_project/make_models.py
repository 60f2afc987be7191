"""Create the two models of this project: a small ResNet and a transformer encoder, with random weights.

A real project exports its models from training code. This project creates them, so that nothing has to be downloaded.
`--depth=3` makes both models three times as deep: a performance test should report this change. `--export=2` writes a
different number into their metadata: the files differ, but the networks are the same, so every test should pass.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
MODELS = Path(__file__).parent / "models"


class Graph:
    """The nodes and weights of a model under construction."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self.scope = ""
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def weight(self, *shape: int, scale: float | None = None) -> str:
        """Add random weights, scaled so that activations keep their variance (He et al. 2015); return their name."""
        fan_in = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
        values = self._random.standard_normal(shape) * (np.sqrt(2 / fan_in) if scale is None else scale)
        return self.constant(values.astype(np.float32))

    def constant(self, values: np.ndarray) -> str:
        """Add a constant tensor; return its name."""
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: object) -> str:
        """Add a node with one output; return the name of that output."""
        name = self._unique_name(f"{self.scope}{operator}")
        output = output or f"{name}_out"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], name=name, **attributes))
        return output

    def _unique_name(self, name: str) -> str:
        """Append the number of nodes that already have this name.

        The name includes the block, so adding a block renames no node of another block.
        """
        same_name = sum(node.name.rpartition("_")[0] == name for node in self._nodes)
        return f"{name}_{same_name}"

    def model(self, name: str, inputs: dict[str, list], outputs: dict[str, list]) -> onnx.ModelProto:
        """Return the checked model. `inputs` and `outputs` map names to shapes; all tensors are float32."""

        def value_infos(shapes: dict[str, list]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in shapes.items()]

        graph = helper.make_graph(self._nodes, name, value_infos(inputs), value_infos(outputs), self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def resnet(depth: int = 1) -> onnx.ModelProto:
    """Return a ResNet of three stages with `depth` basic blocks each: image [N, 3, 64, 64] -> logits [N, 10]."""
    graph = Graph(seed=1)

    def convolution(x: str, in_channels: int, out_channels: int, size: int, stride: int = 1) -> str:
        kernel = graph.weight(out_channels, in_channels, size, size)
        bias = graph.constant(np.zeros(out_channels, np.float32))
        padding = [size // 2] * 4
        return graph.node("Conv", x, kernel, bias, kernel_shape=[size, size], strides=[stride, stride], pads=padding)

    x = graph.node("Relu", convolution("image", 3, 32, 3, stride=2))
    channels = 32
    for stage, out in enumerate((32, 64, 128)):
        for block in range(depth):
            graph.scope = f"stage{stage}.block{block}."
            stride = 2 if stage and not block else 1
            y = graph.node("Relu", convolution(x, channels, out, 3, stride))
            y = convolution(y, out, out, 3)
            shortcut = x if channels == out else convolution(x, channels, out, 1, stride)
            x, channels = graph.node("Relu", graph.node("Add", y, shortcut)), out
    graph.scope = "head."
    pooled = graph.node("Flatten", graph.node("GlobalAveragePool", x))
    graph.node("Gemm", pooled, graph.weight(channels, 10), graph.constant(np.zeros(10, np.float32)), output="logits")
    return graph.model("resnet", {"image": ["N", 3, 64, 64]}, {"logits": ["N", 10]})


def encoder(depth: int = 1, width: int = 128, heads: int = 4) -> onnx.ModelProto:
    """Return an encoder of `2 * depth` transformer layers: tokens [N, S, 128] -> encoded [N, S, 128]."""
    graph = Graph(seed=2)
    split_shape = graph.constant(np.array([0, 0, heads, width // heads], np.int64))
    merged_shape = graph.constant(np.array([0, 0, width], np.int64))
    scale = graph.constant(np.array((width // heads) ** -0.5, np.float32))

    def linear(x: str, in_width: int, out_width: int) -> str:
        product = graph.node("MatMul", x, graph.weight(in_width, out_width, scale=in_width**-0.5))
        return graph.node("Add", product, graph.constant(np.zeros(out_width, np.float32)))

    def norm(x: str) -> str:
        ones, zeros = graph.constant(np.ones(width, np.float32)), graph.constant(np.zeros(width, np.float32))
        return graph.node("LayerNormalization", x, ones, zeros, axis=-1)

    def split_heads(x: str, perm: list[int]) -> str:
        return graph.node("Transpose", graph.node("Reshape", linear(x, width, width), split_shape), perm=perm)

    x = "tokens"
    for layer in range(2 * depth):
        graph.scope = f"layer{layer}."
        y = norm(x)
        query, key, value = (split_heads(y, perm) for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]))
        weights = graph.node("Softmax", graph.node("Mul", graph.node("MatMul", query, key), scale), axis=-1)
        mixed = graph.node("Transpose", graph.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        x = graph.node("Add", x, linear(graph.node("Reshape", mixed, merged_shape), width, width))
        x = graph.node("Add", x, linear(graph.node("Relu", linear(norm(x), width, 4 * width)), 4 * width, width))
    graph.node("Identity", x, output="encoded")
    return graph.model("encoder", {"tokens": ["N", "S", width]}, {"encoded": ["N", "S", width]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=1, help="multiply the number of blocks by this (default: 1)")
    parser.add_argument("--export", type=int, default=1, help="write this export number to the metadata (default: 1)")
    options = parser.parse_args()
    MODELS.mkdir(exist_ok=True)
    for name, model in (("resnet", resnet(options.depth)), ("encoder", encoder(options.depth))):
        model.model_version = options.export
        onnx.save(model, str(MODELS / f"{name}.onnx"))
        print(f"created models/{name}.onnx: {model.ByteSize() / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
