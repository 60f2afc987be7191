"""Make the two models of this project: a small ResNet and a transformer encoder, with random weights.

A real project would export them from its training code; these are made here so that nothing has to be downloaded.
`--depth=3` makes both three times as deep: a change that a performance test should catch. `--export=2` writes another
number into their metadata: other bytes, the same network, which it should not mind.
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
    """Nodes and weights of a model in the making."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self.scope = ""
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def weight(self, *shape: int, scale: float | None = None) -> str:
        """Random weights, scaled so that activations keep their size (He et al. 2015)."""
        fan_in = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
        values = self._random.standard_normal(shape) * (np.sqrt(2 / fan_in) if scale is None else scale)
        return self.constant(values.astype(np.float32))

    def constant(self, values: np.ndarray) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: object) -> str:
        name = self._fresh(f"{self.scope}{operator}")
        output = output or f"{name}_out"
        self._nodes.append(helper.make_node(operator, list(inputs), [output], name=name, **attributes))
        return output

    def _fresh(self, name: str) -> str:
        """The name, numbered within its block where it is taken: a block added elsewhere renames nothing."""
        taken = sum(node.name.rpartition("_")[0] == name for node in self._nodes)
        return f"{name}_{taken}"

    def model(self, name: str, inputs: dict[str, list], outputs: dict[str, list]) -> onnx.ModelProto:
        def values(shapes: dict[str, list]) -> list[onnx.ValueInfoProto]:
            return [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in shapes.items()]

        graph = helper.make_graph(self._nodes, name, values(inputs), values(outputs), self._weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(made)
        return made


def resnet(depth: int = 1) -> onnx.ModelProto:
    """Three stages of `depth` basic blocks; image [N, 3, 64, 64] -> logits [N, 10]."""
    graph = Graph(seed=1)

    def convolution(x: str, into: int, out: int, size: int, stride: int = 1) -> str:
        padding = [size // 2] * 4
        return graph.node("Conv", x, graph.weight(out, into, size, size), graph.constant(np.zeros(out, np.float32)),
                          kernel_shape=[size, size], strides=[stride, stride], pads=padding)  # fmt: skip

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
    """`2 * depth` transformer layers; tokens [N, S, 128] -> encoded [N, S, 128]."""
    graph = Graph(seed=2)
    apart = graph.constant(np.array([0, 0, heads, width // heads], np.int64))
    together = graph.constant(np.array([0, 0, width], np.int64))
    scale = graph.constant(np.array((width // heads) ** -0.5, np.float32))

    def linear(x: str, into: int, out: int) -> str:
        product = graph.node("MatMul", x, graph.weight(into, out, scale=into**-0.5))
        return graph.node("Add", product, graph.constant(np.zeros(out, np.float32)))

    def norm(x: str) -> str:
        ones, zeros = graph.constant(np.ones(width, np.float32)), graph.constant(np.zeros(width, np.float32))
        return graph.node("LayerNormalization", x, ones, zeros, axis=-1)

    def split(x: str, perm: list[int]) -> str:
        return graph.node("Transpose", graph.node("Reshape", linear(x, width, width), apart), perm=perm)

    x = "tokens"
    for layer in range(2 * depth):
        graph.scope = f"layer{layer}."
        y = norm(x)
        query, key, value = split(y, [0, 2, 1, 3]), split(y, [0, 2, 3, 1]), split(y, [0, 2, 1, 3])
        weights = graph.node("Softmax", graph.node("Mul", graph.node("MatMul", query, key), scale), axis=-1)
        mixed = graph.node("Transpose", graph.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        x = graph.node("Add", x, linear(graph.node("Reshape", mixed, together), width, width))
        x = graph.node("Add", x, linear(graph.node("Relu", linear(norm(x), width, 4 * width)), 4 * width, width))
    graph.node("Identity", x, output="encoded")
    return graph.model("encoder", {"tokens": ["N", "S", width]}, {"encoded": ["N", "S", width]})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--depth", type=int, default=1, help="how many times as deep (1)")
    arguments.add_argument("--export", type=int, default=1, help="the number of the export, in the metadata (1)")
    given = arguments.parse_args()
    MODELS.mkdir(exist_ok=True)
    for name, model in (("resnet", resnet(given.depth)), ("encoder", encoder(given.depth))):
        model.model_version = given.export
        onnx.save(model, str(MODELS / f"{name}.onnx"))
        print(f"made models/{name}.onnx: {model.ByteSize() / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
