"""Test shapes and positions that a model computes in floating point: they stay exact in half precision."""

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
HALVES = pytest.mark.parametrize("half", ["fp16", "bf16"])
LENGTH = 3001
"""Neither this nor its double can be represented in float16 or bfloat16."""


def stored(name: str, values: Any, kind: Any = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.array(values, kind), name)


def saved(folder: Path, nodes: list[Any], weights: list[Any]) -> Path:
    """Save a model whose Conv computes `a` (1, 4, LENGTH) from `x`, and whose output is y."""
    random = np.random.default_rng(0).standard_normal((4, 1, 3)) / 3
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, LENGTH])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [node("Conv", ["x", "w"], ["a"], pads=[1, 1]), *nodes]
    graph = helper.make_graph(nodes, "g", [x], [y], [stored("w", random), *weights])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(folder / "m.onnx"))
    return folder / "m.onnx"


def length_as_float() -> tuple[list[Any], list[Any]]:
    """Return nodes that compute the length as `n` in float32, and their weights."""
    nodes = [node("Shape", ["a"], ["s"]), node("Gather", ["s", "i2"], ["t"]), node("Cast", ["t"], ["n"], to=1)]
    return nodes, [stored("i2", 2, np.int64), stored("ax", [0], np.int64)]


def interpolated(folder: Path) -> Path:
    """Save a model that doubles the length, as PyTorch exports `interpolate` with a scale."""
    nodes, weights = length_as_float()
    nodes += [
        node("Mul", ["n", "k"], ["m"]),
        node("Floor", ["m"], ["f"]),
        node("Cast", ["f"], ["i"], to=TensorProto.INT64),
        node("Unsqueeze", ["i", "ax"], ["u"]),
        node("Concat", ["nc", "u"], ["size"], axis=0),
        node("Resize", ["a", "", "", "size"], ["y"], coordinate_transformation_mode="asymmetric"),
    ]
    return saved(folder, nodes, [*weights, stored("k", 2), stored("nc", [1, 4], np.int64)])


def scaled(folder: Path) -> Path:
    """Save a model that resizes to 6000 by computed scales."""
    nodes, weights = length_as_float()
    nodes += [
        node("Div", ["to", "n"], ["d"]),
        node("Concat", ["ones", "d"], ["scales"], axis=0),
        node("Resize", ["a", "", "scales"], ["y"], coordinate_transformation_mode="asymmetric"),
    ]
    return saved(folder, nodes, [*weights, stored("to", [6000.01]), stored("ones", [1, 1])])


def positions(folder: Path) -> Path:
    """Save a model that adds sines of the positions."""
    nodes, weights = length_as_float()
    nodes += [
        node("Range", ["zero", "n", "one"], ["p"]),
        node("Unsqueeze", ["p", "ax"], ["q"]),
        node("MatMul", ["rates", "q"], ["angles"]),
        node("Sin", ["angles"], ["e"]),
        node("Add", ["a", "e"], ["y"]),
    ]
    rates = stored("rates", [[1], [0.1], [0.01], [0.001]])
    return saved(folder, nodes, [*weights, stored("zero", 0), stored("one", 1), rates])


def masked(folder: Path) -> Path:
    """Save a model that sets the last two elements to 0."""
    nodes, weights = length_as_float()
    nodes += [
        node("Range", ["zero", "n", "one"], ["p"]),
        node("Sub", ["n", "two"], ["limit"]),
        node("Less", ["p", "limit"], ["kept"]),
        node("Where", ["kept", "a", "zero"], ["y"]),
    ]
    weights += [stored(name, value) for value, name in enumerate(("zero", "one", "two"))]
    return saved(folder, nodes, weights)


def branches(folder: Path) -> Path:
    """Save a model that doubles the length in one of two branches."""
    nodes, weights = length_as_float()
    nodes += [
        node("Mul", ["n", "k"], ["m"]),
        node("Cast", ["m"], ["i"], to=TensorProto.INT64),
        node("Unsqueeze", ["i", "ax"], ["u"]),
        node("Concat", ["nc", "u"], ["size"], axis=0),
        node("Resize", ["a", "", "", "size"], ["long"], coordinate_transformation_mode="asymmetric"),
    ]
    long, short = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("long", "short"))
    one = helper.make_graph(nodes, "one", [], [long])
    two = helper.make_graph([node("Relu", ["a"], ["short"])], "two", [], [short])
    either = [node("If", ["yes"], ["e"], then_branch=one, else_branch=two), node("Relu", ["e"], ["y"])]
    weights += [stored("k", 2), stored("nc", [1, 4], np.int64), stored("yes", True, np.bool_)]
    return saved(folder, either, weights)


MODELS = pytest.mark.parametrize("make", [interpolated, scaled, positions, masked, branches])


@MODELS
def test_shape_arithmetic_is_computed_in_float32(make: Any, tmp_path: Path) -> None:
    """ONNX's evaluator rounds exactly as the model declares. ONNX Runtime removes pairs of casts and hides errors."""
    pytest.importorskip("onnx", minversion="1.22", reason="the older evaluator takes minutes for Resize")
    path = make(tmp_path)
    assert convert(path, "fp16", tmp_path / "h.onnx").shares["fp16"] > 0
    inputs = {"x": np.random.default_rng(1).standard_normal((1, 1, LENGTH)).astype(np.float32)}
    got, expected = (ReferenceEvaluator(str(tmp_path / name)).run(None, inputs)[0] for name in ("h.onnx", "m.onnx"))
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 0.01


def size_of_resize(model: onnx.ModelProto) -> Any:
    """Return the sizes or scales that a model computes for its Resize, without the Resize itself, which is slow."""
    name = next(node.input[-1] for node in model.graph.node if node.op_type == "Resize")
    kept = [node for node in model.graph.node if node.op_type != "Resize" and "y" not in node.output]
    del model.graph.node[:], model.graph.output[:]
    model.graph.node.extend(kept)
    model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None))
    inputs = {"x": np.ones((1, 1, LENGTH), np.float32)}
    return ReferenceEvaluator(model).run([name], inputs)[0]


@HALVES
@pytest.mark.parametrize("make", [interpolated, scaled])
def test_resize_gets_the_same_size(make: Any, half: Any, tmp_path: Path) -> None:
    convert(path := make(tmp_path), half, tmp_path / "h.onnx")
    got, expected = (size_of_resize(onnx.load(str(name))) for name in (tmp_path / "h.onnx", path))
    assert got.dtype == expected.dtype
    assert np.array_equal(got, expected)


@HALVES
@MODELS
def test_tensorrt_infers_the_same_shapes(make: Any, half: Any, tmp_path: Path) -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")
    convert(path := make(tmp_path), half, tmp_path / "h.onnx")
    shapes = []
    for name in (path, tmp_path / "h.onnx"):
        builder = rtx.Builder(rtx.Logger(rtx.Logger.ERROR))
        parser = rtx.OnnxParser(network := builder.create_network(), rtx.Logger(rtx.Logger.ERROR))
        assert parser.parse_from_file(str(name)), parser.get_error(0).desc()
        shapes.append(tuple(network.get_output(0).shape))
    assert shapes[0] == shapes[1]
