"""Test the graph of the tensors inside a model, and models with some of them as outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_trt.engine.model.intermediate import TensorGraph
from pytest_trt.engine.model.model import read_model


def forked() -> onnx.ModelProto:
    """x [N, 4] passes through two branches, one with integers. Two weights are added to a constant."""
    node = helper.make_node
    weights = [numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")]
    nodes = [
        node("Add", ["w", "w"], ["w2"], "weights_alone"),
        node("MatMul", ["x", "w2"], ["a"], "matmul"),
        node("Cast", ["a"], ["whole"], "to_int", to=TensorProto.INT64),
        node("Cast", ["whole"], ["b"], "to_float", to=TensorProto.FLOAT),
        node("Relu", ["x"], ["c"]),
        node("Add", ["b", "c"], ["y"], "join"),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy")
    graph = helper.make_graph(nodes, "forked", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(forked(), str(tmp_path / "m.onnx"))
    return tmp_path / "m.onnx"


def test_tensors_are_the_floats_that_depend_on_inputs(model: Path) -> None:
    found = TensorGraph(read_model(model))
    assert list(found.tensors) == ["a", "b", "c", "y"]
    assert [(p.node, p.op) for p in found.tensors.values()][:2] == [("matmul", "MatMul"), ("to_float", "Cast")]
    assert found.tensors["c"].node == "Relu #4"
    assert {name: point.sources for name, point in found.tensors.items()} == {
        "a": (), "b": ("a",), "c": (), "y": ("b", "c")
    }  # fmt: skip


def test_upstream_contains_all_predecessors(model: Path) -> None:
    found = TensorGraph(read_model(model))
    assert found.upstream("y") == {"a", "b", "c", "y"}
    assert found.upstream("b") == {"a", "b"}
    assert found.upstream("whole") == {"a"}
    assert found.upstream("x") == set()


def test_if_reads_the_outer_tensors_of_its_branches(tmp_path: Path) -> None:
    info = helper.make_tensor_value_info
    one, two = (
        helper.make_graph([helper.make_node(op, ["h"], [op])], op, [], [info(op, TensorProto.FLOAT, [4])])
        for op in ("Relu", "Neg")
    )
    nodes = [
        helper.make_node("Abs", ["x"], ["h"]),
        helper.make_node("If", ["c"], ["y"], then_branch=one, else_branch=two),
    ]
    inputs = [info("x", TensorProto.FLOAT, [4]), info("c", TensorProto.BOOL, [])]
    graph = helper.make_graph(nodes, "g", inputs, [info("y", TensorProto.FLOAT, [4])])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(tmp_path / "if.onnx"))
    assert TensorGraph(read_model(tmp_path / "if.onnx")).tensors["y"].sources == ("h",)


@pytest.mark.parametrize("external", [False, True])
def test_marked_model_has_the_same_outputs_and_the_marked_tensors(external: bool, model: Path, tmp_path: Path) -> None:
    if external:
        onnx.save(forked(), str(model), save_as_external_data=True, location="m.data", size_threshold=0)
    (tmp_path / "marked").mkdir()
    TensorGraph(read_model(model)).write_marked(["b", "y", "a"], tmp_path / "marked" / "m.onnx")
    inputs = {"x": np.array([[-1.5, 0.5, 2.5, 3]], np.float32)}
    plain, marked = (
        onnxruntime.InferenceSession(str(path)) for path in (model, tmp_path / "marked" / "m.onnx")
    )  # fmt: skip
    assert [output.name for output in marked.get_outputs()] == ["y", "b", "a"]
    y, b, a = marked.run(None, inputs)
    assert (y == plain.run(None, inputs)[0]).all()
    assert (a == 2 * inputs["x"]).all()
    assert (b == np.trunc(a)).all()


def test_constant_output_has_no_predecessors(tmp_path: Path) -> None:
    made = forked()
    made.graph.output.append(helper.make_tensor_value_info("w2", TensorProto.FLOAT, [4, 4]))
    onnx.save(made, str(tmp_path / "m.onnx"))
    graph = TensorGraph(read_model(tmp_path / "m.onnx"))
    assert "w2" not in graph.tensors
    assert graph.upstream("w2") == frozenset()
