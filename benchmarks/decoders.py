"""Make decoders with a cache of keys and values, as ONNX models: tokens [B, S] -> logits [B, S, vocabulary].

    python benchmarks/decoders.py decoder.onnx [--cache growing|fixed|none] [--layers 8] [--heads 16] [--size 64]

`growing`: the caches `past_k_*`, `past_v_*` [B, heads, P, size] are concatenated with the new keys and values to
`present_k_*`, `present_v_*` [B, heads, P+S, size]. `fixed`: they have room for `capacity` entries, and the input
`position` says where the step writes. `none`: there are no caches among the inputs, as in a model that only reads the
prompt. Models of the same sizes have the same weights. A model reads several tokens as it reads one after another.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Cache = Literal["growing", "fixed", "none"]

CAPACITY = 4096
"""The most tokens that the table of positions is made for."""


class _Graph:
    """The nodes and weights of a model while it is made."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:
        if name not in {weight.name for weight in self.weights}:
            self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, name: str, *shape: int) -> str:
        random = np.random.default_rng([self._seed, *name.encode()])
        values = random.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(shape[0]))
        return self.constant(name, values)


def decoder(
    layers: int = 2,
    heads: int = 2,
    size: int = 8,
    vocabulary: int = 61,
    cache: Cache = "growing",
    capacity: int | None = None,
    batch: int | str = 1,
    seed: int = 0,
    mask: bool = False,
) -> onnx.ModelProto:
    """Return a decoder.

    Args:
        layers: The number of layers, each of attention and a multilayer perceptron.
        heads: The heads of each attention.
        size: The size of a head.
        vocabulary: The number of different tokens.
        cache: The kind of the caches.
        capacity: The entries of a fixed cache; None for a dynamic dimension `C`.
        batch: The batch, or the name of its dimension.
        seed: The seed of the weights.
        mask: Whether the positions of the tokens and a mask of those that were read are inputs, too.
    """
    g, width = _Graph(seed), heads * size
    for number in (0, 1):
        g.constant(f"int{number}", np.array([number], np.int64))
    g.constant("split", np.array([0, 0, heads, size], np.int64))
    g.constant("merge", np.array([0, 0, width], np.int64))
    g.constant("zero", np.int64(0))
    g.constant("one", np.int64(1))
    g.node("Shape", ["input_ids"], "ids_shape")
    g.node("Gather", ["ids_shape", "one"], "count")
    if cache == "growing":
        g.node("Shape", ["past_k_0"], "past_shape")
        g.node("Gather", ["past_shape", g.constant("two", np.int64(2))], "filled")
    elif cache == "fixed":
        g.node("Squeeze", ["position", "int0"], "filled")
    else:
        g.constant("filled", np.int64(0))
    g.node("Range", ["zero", "count", "one"], "new")
    g.node("Add", ["new", "filled"], "rows")  # the positions of the new tokens
    if cache == "fixed":
        g.node("Shape", ["past_k_0"], "past_shape")
        g.node("Gather", ["past_shape", g.constant("two", np.int64(2))], "entries")
    else:
        g.node("Add", ["filled", "count"], "entries")
    g.node("Range", ["zero", "entries", "one"], "columns")
    g.node("Unsqueeze", ["rows", "int1"], "rows_2d")
    g.node("Unsqueeze", ["columns", "int0"], "columns_2d")
    g.node("Sub", ["rows_2d", "columns_2d"], "distance")
    g.node("Cast", ["distance"], "distance_float", to=TensorProto.FLOAT)
    g.node("Less", ["distance_float", g.constant("almost_zero", np.float32(-0.5))], "later")
    g.node("Where", ["later", g.constant("never", np.float32(-1e4)), g.constant("seen", np.float32(0))], "mask")
    if cache == "fixed":  # one row for each new token, with a 1 in the entry that it is written to
        g.node("Abs", ["distance_float"], "apart")
        g.node("Less", ["apart", g.constant("near", np.float32(0.5))], "same")
        g.node("Cast", ["same"], "written", to=TensorProto.FLOAT)
        g.node("Transpose", ["written"], "written_t", perm=[1, 0])
        g.node("ReduceSum", ["written_t", "int1"], "written_sum", keepdims=1)
        g.node("Sub", [g.constant("all", np.float32(1)), "written_sum"], "kept")

    g.node("Gather", [g.weight("embedding", vocabulary, width), "input_ids"], "tokens")
    g.node("Gather", [g.weight("positions", CAPACITY, width), "position_ids" if mask else "rows"], "places")
    if mask:
        g.node("Cast", ["attention_mask"], "read", to=TensorProto.FLOAT)
        g.node("Sub", ["read", g.constant("every", np.float32(1))], "unread")
        g.node("Mul", ["unread", g.constant("much", np.float32(1e4))], "unread_flat")
        g.node("Unsqueeze", ["unread_flat", g.constant("int12", np.array([1, 2], np.int64))], "unread_4d")
        g.node("Add", ["mask", "unread_4d"], "whole_mask")
    last = g.node("Add", ["tokens", "places"], "h")
    for layer in range(layers):
        last = _layer(g, layer, last, heads, size, cache, "whole_mask" if mask else "mask")
    g.node("MatMul", [last, g.weight("head", width, vocabulary)], "logits")

    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, [batch, "S"])
    past, present = {
        "growing": ("P", "T" if mask else "P + S"), "fixed": (capacity or "C",) * 2, "none": ("", "S"),
    }[cache]  # fmt: skip
    inputs, outputs = [ids], [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, "S", vocabulary])]
    if cache == "fixed":
        inputs.append(helper.make_tensor_value_info("position", TensorProto.INT64, [1]))
    if mask:
        inputs.append(helper.make_tensor_value_info("attention_mask", TensorProto.INT64, [batch, present]))
        inputs.append(helper.make_tensor_value_info("position_ids", TensorProto.INT64, [batch, "S"]))
    for name in (f"{kind}_{layer}" for layer in range(layers) for kind in "kv"):
        shape: list[Any] = [batch, heads, past, size]
        if cache != "none":
            inputs.append(helper.make_tensor_value_info(f"past_{name}", TensorProto.FLOAT, shape))
        shape = [batch, heads, present, size]
        outputs.append(helper.make_tensor_value_info(f"present_{name}", TensorProto.FLOAT, shape))
    graph = helper.make_graph(g.nodes, "decoder", inputs, outputs, g.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _layer(g: _Graph, layer: int, last: str, heads: int, size: int, cache: Cache, mask: str) -> str:
    """Add one layer, and return the name of its output."""
    width, p = heads * size, f"l{layer}_"
    g.constant("scale", np.float32(1 / np.sqrt(size)))
    g.constant(f"{p}gain", np.ones(width, np.float32))
    normal = g.node("LayerNormalization", [last, f"{p}gain"], f"{p}normal")
    for kind in "qkv":
        g.node("MatMul", [normal, g.weight(f"{p}w{kind}", width, width)], f"{p}{kind}_flat")
        g.node("Reshape", [f"{p}{kind}_flat", "split"], f"{p}{kind}_split")
        g.node("Transpose", [f"{p}{kind}_split"], f"{p}{kind}", perm=[0, 2, 1, 3])
    known = {}
    for kind in "kv":
        past, present, new = f"past_{kind}_{layer}", f"present_{kind}_{layer}", f"{p}{kind}"
        if cache == "growing":
            g.node("Concat", [past, new], present, axis=2)
        elif cache == "fixed":
            g.node("Mul", [past, "kept"], f"{p}{kind}_kept")
            g.node("MatMul", ["written_t", new], f"{p}{kind}_put")
            g.node("Add", [f"{p}{kind}_kept", f"{p}{kind}_put"], present)
        else:
            g.node("Identity", [new], present)
        known[kind] = present
    g.node("Transpose", [known["k"]], f"{p}k_t", perm=[0, 1, 3, 2])
    g.node("MatMul", [f"{p}q", f"{p}k_t"], f"{p}scores_raw")
    g.node("Mul", [f"{p}scores_raw", "scale"], f"{p}scores_scaled")
    g.node("Add", [f"{p}scores_scaled", mask], f"{p}scores")
    g.node("Softmax", [f"{p}scores"], f"{p}shares", axis=-1)
    g.node("MatMul", [f"{p}shares", known["v"]], f"{p}mixed")
    g.node("Transpose", [f"{p}mixed"], f"{p}mixed_t", perm=[0, 2, 1, 3])
    g.node("Reshape", [f"{p}mixed_t", "merge"], f"{p}merged")
    g.node("MatMul", [f"{p}merged", g.weight(f"{p}wo", width, width)], f"{p}attended")
    middle = g.node("Add", [last, f"{p}attended"], f"{p}middle")
    normal = g.node("LayerNormalization", [middle, f"{p}gain"], f"{p}normal_2")
    g.node("MatMul", [normal, g.weight(f"{p}up", width, 4 * width)], f"{p}wide")
    g.node("Relu", [f"{p}wide"], f"{p}active")
    g.node("MatMul", [f"{p}active", g.weight(f"{p}down", 4 * width, width)], f"{p}out")
    return g.node("Add", [middle, f"{p}out"], f"{p}end")


def recurrent() -> onnx.ModelProto:
    """x [1, 8], state [1, 8] -> y [1, 8], stateN [1, 8]: stateN = tanh(x w + state u), y = 2 stateN."""
    random = np.random.default_rng(0)
    weights = [numpy_helper.from_array(random.standard_normal((8, 8)).astype(np.float32) / 3, n) for n in "wu"]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("MatMul", ["state", "u"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Tanh", ["c"], ["stateN"]),
        helper.make_node("Add", ["stateN", "stateN"], ["y"]),
    ]
    values = {n: helper.make_tensor_value_info(n, 1, [1, 8]) for n in ("x", "state", "y", "stateN")}
    graph = helper.make_graph(nodes, "g", [values["x"], values["state"]], [values["y"], values["stateN"]], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    """Write one decoder, by default as large as the one of docs/results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--cache", choices=("growing", "fixed", "none"), default="growing")
    for name, default in (("layers", 8), ("heads", 16), ("size", 64), ("vocabulary", 32000), ("capacity", CAPACITY)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = vars(parser.parse_args())
    onnx.save(decoder(**{name: value for name, value in arguments.items() if name != "path"}), str(arguments["path"]))


if __name__ == "__main__":
    main()
