"""Test conversions of random graphs against the original models, with ONNX's evaluator."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pytest_trt.engine.convert.half import convert

node = helper.make_node
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
ROWS, WIDTH = 4, 6
OPSETS = st.integers(13, min(23, onnx.defs.onnx_opset_version()))
ROUNDING = {"fp16": 0.02, "bf16": 0.16}
"""The largest error of some ten operators with results of the order of 1."""

WEIGHTS = {
    "matrix": np.random.default_rng(0).standard_normal((WIDTH, WIDTH)) / np.sqrt(WIDTH),
    "scale": np.linspace(0.5, 1, WIDTH),
    "rates": 10.0 ** -np.linspace(0, 3, WIDTH),
    "end": np.float32(3001),
    "one": np.float32(1),
    "half": np.float32(0.5),
}


class Graph:
    """A graph that grows node by node. Its tensors have the shape (ROWS, WIDTH), and numbers of the order of 1."""

    def __init__(self, opset: int) -> None:
        self.opset, self.nodes, self.tensors = opset, list[Any](), ["x"]

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its result."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(node(operator, list(inputs), [name], **attributes))
        return name


def axes(graph: Graph, operator: str, name: str, since: int) -> str:
    """Return the mean or another reduction over the last axis. Its axes become an input in the opset `since`."""
    if graph.opset < since:
        return graph.add(operator, name, axes=[1])
    return graph.add(operator, name, "last")


def layer(graph: Graph, one: str, other: str) -> str:
    return graph.add("Tanh", graph.add("MatMul", one, "matrix"))


def normalised(graph: Graph, one: str, other: str) -> str:
    if graph.opset < 17:
        return graph.add("Softmax", one, axis=1)
    return graph.add("Tanh", graph.add("LayerNormalization", graph.add("Add", one, "scale"), "scale"))


def centred(graph: Graph, one: str, other: str) -> str:
    return graph.add("Sub", one, axes(graph, "ReduceMean", other, 18))


def residual(graph: Graph, one: str, other: str) -> str:
    return graph.add("Mul", graph.add("Add", one, other), "half")


def gated(graph: Graph, one: str, other: str) -> str:
    return graph.add("Mul", graph.add("Sigmoid", one), other)


def smallest(graph: Graph, one: str, other: str) -> str:
    return graph.add("Min", one, other)


def activated(graph: Graph, one: str, other: str) -> str:
    return graph.add("Gelu" if graph.opset >= 20 else "Relu", graph.add("Neg", one))


def rotated(graph: Graph, one: str, other: str) -> str:
    positions = graph.add("Cast", "ids", to=FLOAT)
    return graph.add("Add", graph.add("Mul", graph.add("Cos", graph.add("Mul", positions, "rates")), "half"), one)


def shared_angles(graph: Graph, one: str, other: str) -> str:
    angles = graph.add("Mul", graph.add("Cast", "ids", to=FLOAT), "rates")
    return graph.add("Mul", graph.add("Sin", angles), graph.add("Mul", one, graph.add("Cos", angles)))


def compared(graph: Graph, one: str, other: str) -> str:
    equal = graph.add("Equal", graph.add("Cast", "ids", to=FLOAT), "end")
    return graph.add("Where", equal, one, other)


def counted(graph: Graph, one: str, other: str) -> str:
    count = graph.add("Cast", graph.add("Size", "many"), to=FLOAT)
    ratio = graph.add("Div", graph.add("Mul", one, count), graph.add("Sub", count, "one"))
    return graph.add("Tanh", ratio)


def scaled(graph: Graph, one: str, other: str) -> str:
    return graph.add("Add", one, graph.add("Div", graph.add("Cast", "ids", to=FLOAT), "end"))


def stepped(graph: Graph, one: str, other: str) -> str:
    return graph.add("Mul", one, graph.add("Sin", graph.add("Mul", "step", "rates")))


STEPS: list[Callable[[Graph, str, str], str]] = [
    layer, normalised, centred, residual, gated, smallest, activated, rotated, shared_angles, compared, counted, scaled,
    stepped,
]  # fmt: skip

FEED = {
    "x": np.random.default_rng(1).standard_normal((ROWS, WIDTH)).astype(np.float32),
    "ids": np.array([[3000], [3001], [3003], [2999]]),
    "step": np.array([2999.5], np.float32),
    "many": np.zeros((300, 301), np.float32),
}


def model(graph: Graph, output: str) -> onnx.ModelProto:
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in FEED.items()
    ]
    weights = [numpy_helper.from_array(np.asarray(values, np.float32), name) for name, values in WEIGHTS.items()]
    weights.append(numpy_helper.from_array(np.array([1]), "last"))
    y = helper.make_tensor_value_info("y", FLOAT, [ROWS, WIDTH])
    nodes = [*graph.nodes, node("MatMul", [output, "matrix"], ["y"])]
    made = helper.make_graph(nodes, "g", inputs, [y], weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", graph.opset)], ir_version=8)


@pytest.mark.parametrize("half", ROUNDING)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), opset=OPSETS)
def test_random_graphs_keep_their_results(data: st.DataObject, opset: int, half: Any) -> None:
    """ONNX's evaluator rounds as the model declares. ONNX Runtime computes most of fp16 in float32 on a CPU."""
    graph = Graph(opset)
    for step in data.draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=6)):
        one, other = (data.draw(st.sampled_from(graph.tensors)) for _ in range(2))
        graph.tensors.append(step(graph, one, other))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.save(model(graph, graph.tensors[-1]), folder / "m.onnx")
        assert convert(folder / "m.onnx", half, folder / "h.onnx").shares[half] > 0
        got, expected = (ReferenceEvaluator(str(folder / file)).run(None, FEED)[0] for file in ("h.onnx", "m.onnx"))
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() <= ROUNDING[half] * max(1.0, np.abs(expected).max())
