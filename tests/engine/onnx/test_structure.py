"""Test models that no runtime can have: each is an error that names the value, before any library reads the model."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_trt.engine.onnx import rewrite
from pytest_trt.engine.onnx.signature import read_signature
from pytest_trt.errors import ModelError


def model(*nodes: onnx.NodeProto, functions: tuple[onnx.FunctionProto, ...] = ()) -> onnx.ModelProto:
    """Return a model from `x` to `y`."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy")
    graph = helper.make_graph(nodes or [helper.make_node("Relu", ["x"], ["y"])], "graph", [x], [y])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)


def function(name: str, *calls: str) -> onnx.FunctionProto:
    """Return a function that calls others one after another, or Relu."""
    values = [f"v{number}" for number in range(len(calls) + 1)]
    pairs = itertools.pairwise(values)
    nodes = [helper.make_node(call, [a], [b], domain="local") for call, (a, b) in zip(calls, pairs, strict=False)]
    nodes = nodes or [helper.make_node("Relu", ["v0"], ["v0_out"])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, ["v0"], [nodes[-1].output[0]], nodes, opsets)


def calling(*functions: onnx.FunctionProto) -> onnx.ModelProto:
    return model(helper.make_node("f", ["x"], ["y"], domain="local"), functions=functions)


def typed_input(number: int) -> onnx.ModelProto:
    made = model()
    made.graph.input[0].type.tensor_type.elem_type = number
    return made


def typed_output(number: int) -> onnx.ModelProto:
    made = model()
    made.graph.output[0].type.tensor_type.elem_type = number
    return made


def typed_value(number: int) -> onnx.ModelProto:
    made = model(helper.make_node("Relu", ["x"], ["z"]), helper.make_node("Relu", ["z"], ["y"]))
    made.graph.value_info.append(helper.make_tensor_value_info("z", number, None))
    return made


def typed_weight(number: int) -> onnx.ModelProto:
    made = model(helper.make_node("Add", ["x", "w"], ["y"]))
    made.graph.initializer.append(TensorProto(name="w", data_type=number, dims=[1, 4], raw_data=bytes(16)))
    return made


def typed_constant_in_branch(number: int) -> onnx.ModelProto:
    weight = TensorProto(name="w", data_type=number, dims=[1, 4], raw_data=bytes(16))
    output = helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Constant", [], ["b"], value=weight)], "branch", [], [output])
    made = model(helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))
    made.graph.initializer.append(numpy_helper.from_array(np.array(True), "c"))
    return made


@pytest.mark.parametrize("number", [99, -1, 2**31 - 1])
@pytest.mark.parametrize("make", [typed_input, typed_output, typed_value, typed_weight, typed_constant_in_branch])
def test_unknown_element_type_is_named(make: Callable[[int], onnx.ModelProto], number: int, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"'[xyzw]' has the element type {number}, which the installed onnx does not"):
        read(make(number), tmp_path)


def test_weight_without_a_type_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the weight 'w' has no type"):
        read(typed_weight(0), tmp_path)


def sparse(dims: list[int], index: int = 0) -> onnx.ModelProto:
    made = model(helper.make_node("Add", ["x", "w"], ["y"]))
    weight = made.graph.sparse_initializer.add(dims=dims)
    weight.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "w"))
    weight.indices.CopyFrom(numpy_helper.from_array(np.array([index]), "i"))
    return made


@pytest.mark.parametrize("dims", [[2**40, 2**20], [-1, 4], [2**62] * 10_000, [1] * 65])
def test_sparse_weight_that_unfolds_is_an_error(dims: list[int], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the sparse weight 'w' has the shape"):
        read(sparse(dims), tmp_path)


def test_sparse_weight_with_an_index_outside_is_an_error(tmp_path: Path) -> None:
    path = read(sparse([1, 4], index=99), tmp_path)
    with pytest.raises(ModelError, match=r"the sparse weight 'w' cannot be expanded \(index 99"):
        rewrite.load_normalised(rewrite.load_typed(path, tmp_path), path)


def test_sparse_weight_without_its_values_is_an_error(tmp_path: Path) -> None:
    made = sparse([1, 4])
    made.graph.sparse_initializer[0].values.dims[0] = 7
    path = read(made, tmp_path)
    with pytest.raises(ModelError, match=r"the sparse weight 'w' cannot be expanded \(cannot reshape"):
        rewrite.load_normalised(rewrite.load_typed(path, tmp_path), path)


@pytest.mark.parametrize(
    "made",
    [
        calling(function("f", "f")),
        calling(function("f", "g"), function("g", "h"), function("h", "g")),
        calling(function("f"), function("g", "g")),
    ],
)
def test_function_that_calls_itself_is_an_error(made: onnx.ModelProto, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the function '[fg]' calls itself: export the model again"):
        read(made, tmp_path)


def test_functions_that_double_at_each_call_are_an_error(tmp_path: Path) -> None:
    """30 functions of two calls each: a thousand million nodes."""
    names = ["f", *map(str, range(29)), "last"]
    doubling = [function(name, below, below) for name, below in itertools.pairwise(names)]
    with pytest.raises(ModelError, match=r"functions unfold to \d+ nodes, and at most 2000000 are converted"):
        read(calling(*doubling, function("last")), tmp_path)


def test_long_chain_of_functions_is_an_error(tmp_path: Path) -> None:
    names = ["f", *map(str, range(1000))]
    chain = [function(name, below) for name, below in itertools.pairwise(names)]
    with pytest.raises(ModelError, match="more than 100 functions call each other"):
        read(calling(*chain, function(names[-1])), tmp_path)


def test_functions_within_the_limits_are_read(tmp_path: Path) -> None:
    names = ["f", *map(str, range(9)), "last"]
    doubling = [function(name, below, below) for name, below in itertools.pairwise(names)]
    path = read(calling(*doubling, function("last")), tmp_path)
    assert len(rewrite.load_typed(path, tmp_path).graph.node) >= 2**10


@pytest.mark.parametrize(
    "made",
    [
        model(helper.make_node("Cast", ["x"], ["y"], to=99)),
        model(helper.make_node("Constant", [], [], value_float=1.0), helper.make_node("Relu", ["x"], ["y"])),
        model(helper.make_node("Constant", [], []), helper.make_node("Relu", ["x"], ["y"])),
        model(helper.make_node("If", ["x"], ["y"])),
        model(helper.make_node("Relu", [], [])),
        calling(function("g")),
    ],
)
def test_model_that_onnx_cannot_read_is_our_error_or_read(made: onnx.ModelProto, tmp_path: Path) -> None:
    path = read(made, tmp_path)
    try:
        rewrite.load_normalised(rewrite.load_typed(path, tmp_path), path)
    except ModelError as error:
        assert "model.onnx" in str(error)  # noqa: PT017 - some versions of onnx read it


def read(made: onnx.ModelProto, folder: Path) -> Path:
    """Save a model without any check of onnx, read its signature, and return its path."""
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    read_signature(path)
    return path
