"""Models to convert to another precision, and functions that run them on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pytest_trt.engine.model.model import read_model
from pytest_trt.judge.accuracy.allowed_error import DEFAULTS
from pytest_trt.judge.accuracy.verdicts import judge
from pytest_trt.spec.engine_spec import Precision

FLOAT = TensorProto.FLOAT

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
"""The folder of the small models in the package onnx."""

Save = Callable[..., Path]
"""The type of the fixture `save_model`."""


def weight(name: str, *shape: int) -> TensorProto:
    """Return random weights. The seed is derived from the name, and the scale from the first dimension."""
    random = np.random.default_rng(sum(name.encode()))
    return numpy_helper.from_array((random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32), name)


def info(name: str, *shape: Any, kind: int = FLOAT) -> onnx.ValueInfoProto:
    """Describe an input or output."""
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes: list[onnx.NodeProto], inputs: list[Any], outputs: list[Any], weights: list[Any]) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def convolutions() -> onnx.ModelProto:
    """A residual block with batch normalisation, pooling, resizing and a classifier."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1"], ["a"], pads=[1] * 4),
        node("BatchNormalization", ["a", "s", "b", "m", "v"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("Conv", ["r", "w2"], ["c"], pads=[1] * 4),
        node("Add", ["r", "c"], ["e"]),
        node("Resize", ["e", "", "scales"], ["z"], mode="nearest"),
        node("GlobalAveragePool", ["z"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w3"], ["y"]),
    ]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    variance = numpy_helper.from_array(np.ones(8, np.float32), "v")
    weights = [weight("w1", 8, 3, 3, 3), weight("w2", 8, 8, 3, 3), weight("w3", 8, 10), scales, variance]
    weights += [weight(name, 8) for name in "sbm"]
    return model(nodes, [info("x", "N", 3, 8, 8)], [info("y", "N", 10)], weights)


def branches() -> onnx.ModelProto:
    """An If whose branches read a tensor of the outer graph; one has weights of its own."""
    one = helper.make_graph([helper.make_node("MatMul", ["h", "w2"], ["t"])], "one", [], [info("t", "N", 8)])
    own = [weight("k", 8)]
    two = helper.make_graph([helper.make_node("Mul", ["h", "k"], ["u"])], "two", [], [info("u", "N", 8)], own)
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"]),
        helper.make_node("If", ["c"], ["i"], then_branch=one, else_branch=two),
        helper.make_node("Relu", ["i"], ["y"]),
    ]
    inputs = [info("x", "N", 8), info("c", kind=TensorProto.BOOL)]
    return model(nodes, inputs, [info("y", "N", 8)], [weight("w1", 8, 8), weight("w2", 8, 8)])


def constants() -> onnx.ModelProto:
    """Weights as Constant nodes of both kinds, and a ConstantOfShape that is float by default."""
    node = helper.make_node
    nodes = [
        node("Constant", [], ["w"], value=weight("w", 8, 8)),
        node("Constant", [], ["s"], value_float=2.0),
        node("MatMul", ["x", "w"], ["h"]),
        node("Mul", ["h", "s"], ["m"]),
        node("Shape", ["x"], ["shape"]),
        node("ConstantOfShape", ["shape"], ["z"]),
        node("Add", ["m", "z"], ["y"]),
    ]
    return model(nodes, [info("x", "N", 8)], [info("y", "N", 8)], [])


def recurrent() -> onnx.ModelProto:
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=8)]
    weights = [weight("w", 1, 32, 8), weight("r", 1, 32, 8)]
    return model(nodes, [info("x", 3, "N", 8)], [info("y", 3, 1, "N", 8)], weights)


def functions() -> onnx.ModelProto:
    """Functions with a constant of their own, as PyTorch's exporter writes them; two nodes have one name."""
    node, opset = helper.make_node, [helper.make_opsetid("", 17)]
    inside = [node("Constant", [], ["c"], value_float=1.702), node("Mul", ["x", "c"], ["h"]),
              node("Sigmoid", ["h"], ["s"]), node("Mul", ["x", "s"], ["y"])]  # fmt: skip
    gelu = helper.make_function("pkg", "Gelu", ["x"], ["y"], inside, opset)
    nodes = [node("MatMul", ["x", "w1"], ["a"], "/fc"), node("Gelu", ["a"], ["y"], "/act", domain="pkg"),
             node("MatMul", ["y", "w2"], ["z"], "/out")]  # fmt: skip
    made = model(nodes, [info("x", "N", 8)], [info("y", "N", 8), info("z", "N", 8)],
                 [weight("w1", 8, 8), weight("w2", 8, 8)])  # fmt: skip
    made.functions.append(gelu)
    made.opset_import.append(helper.make_opsetid("pkg", 1))
    return made


def passed_through() -> onnx.ModelProto:
    """Outputs: an input, a tensor that is listed twice, and a weight between them."""
    outputs = [info("x", "N", 8), info("y", "N", 8), info("w", 8, 8), info("y", "N", 8)]
    return model([helper.make_node("MatMul", ["x", "w"], ["y"])], [info("x", "N", 8)], outputs, [weight("w", 8, 8)])


def sparse() -> onnx.ModelProto:
    """Sparse weights, with flat indices and with rows and columns."""
    made = model([helper.make_node("MatMul", ["x", "w1"], ["h"]), helper.make_node("MatMul", ["h", "w2"], ["y"])],
                 [info("x", "N", 8)], [info("y", "N", 8)], [])  # fmt: skip
    for name, places in (("w1", np.arange(0, 64, 3)), ("w2", np.stack([np.arange(8), np.arange(8)[::-1]], 1))):
        indices = numpy_helper.from_array(places.astype(np.int64), f"{name}_places")
        made.graph.sparse_initializer.append(helper.make_sparse_tensor(weight(name, len(places)), indices, [8, 8]))
    return made


MODELS = {"convolutions": convolutions, "branches": branches, "constants": constants, "recurrent": recurrent,
          "functions": functions, "passed_through": passed_through, "sparse": sparse}  # fmt: skip


def feed(path: Path, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        tensor.name: np.array(True)
        if tensor.dtype == "bool"
        else random.standard_normal([2 if size < 0 else size for size in tensor.shape]).astype(tensor.dtype)
        for tensor in read_model(path).inputs
    }


def infer(path: Path, inputs: dict[str, Any], **config: str) -> dict[str, Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for name, value in config.items():
        options.add_session_config_entry(f"session.{name}", value)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return dict(zip([out.name for out in session.get_outputs()], session.run(None, inputs), strict=True))


def infer_exactly(path: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    """Infer without saturated sums of int8 products, which ONNX Runtime computes on some processors."""
    return infer(path, inputs, x64quantprecision="1")


def differences(
    converted: Path, original: Path, precision: Precision, inputs: dict[str, Any] | None = None
) -> list[str]:
    """Return why outputs of a converted model do not agree with the original, for random inputs unless given."""
    inputs = feed(original) if inputs is None else inputs
    verdicts = judge(infer(converted, inputs), infer(original, inputs), DEFAULTS[precision], "float32")
    assert verdicts, "no output was compared"
    return [verdict.text for verdict in verdicts if verdict.status != "ok"]


def saved(made: onnx.ModelProto, folder: Path, name: str = "m.onnx", **external: Any) -> Path:
    onnx.save(made, str(folder / name), **external)
    return folder / name


def batches(path: Path, count: int = 4) -> Callable[[], Iterator[dict[str, Any]]]:
    return lambda: (feed(path, seed) for seed in range(count))
