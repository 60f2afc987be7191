"""Test the proof of placement, with sessions of ONNX Runtime on the CPU: there, every node is on the CPU."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_trt.engine.backends.onnxruntime_gpu import placement
from pytest_trt.engine.backends.onnxruntime_gpu.placement import CPU, PlacedNode, Placement
from pytest_trt.errors import BuildError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """x [N, 2, 8] -> y [N, 16]: a Relu, and a Reshape to a shape that three nodes compute; one node has no name."""
    weights = [numpy_helper.from_array(np.array(v, np.int64), n) for n, v in (("zero", [0]), ("rest", [-1]))]
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], name="relu"),
        helper.make_node("Shape", ["r"], ["s"], name="shape"),
        helper.make_node("Gather", ["s", "zero"], ["n"], name="gather"),
        helper.make_node("Concat", ["n", "rest"], ["to"], name="concat", axis=0),
        helper.make_node("Reshape", ["r", "to"], ["flat"], name="reshape"),
        helper.make_node("Tanh", ["flat"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 16])
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    path = tmp_path / "plan"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    placement.name_all_nodes(path)
    return path


def nodes_of(model: Path, prefix: str = ""):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    if not placement.is_reported(onnxruntime):
        pytest.skip("needs ONNX Runtime 1.24, whose sessions report where nodes run")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(placement.RECORD_ASSIGNMENT, "1")
    if prefix:
        options.enable_profiling, options.profile_file_prefix = True, prefix
    session = onnxruntime.InferenceSession(str(model), options, providers=[CPU])
    return session, placement.assigned_nodes(session)


def test_nodes_that_compute_shapes_are_counted_apart(model):
    _, nodes = nodes_of(model)
    found = Placement(nodes, placement.shape_nodes(model))
    assert {node.provider for node in nodes} == {CPU}
    assert sorted(map(str, found.cpu_nodes)) == ["Relu relu", "Reshape reshape", "Tanh Tanh_5"]
    assert found.proof == {
        "nodes": f"{len(nodes)} CPU", "cpu_nodes": "3", "cpu_operators": "Relu, Reshape, Tanh",
    }  # fmt: skip


def test_profile_shows_the_same_placement_as_the_session(model, tmp_path):
    session, nodes = nodes_of(model, str(tmp_path / "profile"))
    session.run(None, {"x": np.ones((3, 2, 8), np.float32)})
    events = json.loads(Path(session.end_profiling()).read_text())
    shapes = placement.shape_nodes(model)
    profiled = Placement(placement.profiled_nodes(events), shapes)
    assert sorted(profiled.cpu_nodes, key=str) == sorted(Placement(nodes, shapes).cpu_nodes, key=str)


def test_node_on_the_cpu_is_an_error_that_names_it(model):
    _, nodes = nodes_of(model)
    found = Placement(nodes, placement.shape_nodes(model))
    with pytest.raises(BuildError, match=r"3 of \d nodes would run on the CPU.*Relu relu.*cpu_nodes=\['Relu'"):
        found.check(())
    with pytest.raises(BuildError, match=r"1 of \d nodes.*: Reshape reshape: .*cpu_nodes=\['Reshape'\]"):
        found.check(["relu", "Tanh*"])
    found.check(["Relu", "Tanh_5", "resh*"])


def test_copies_and_nodes_on_the_gpu_are_not_counted():
    events = [
        {"cat": "Node", "name": f"{name}_kernel_time", "args": {"op_name": operator, "provider": provider}}
        for name, operator, provider in (
            ("a", "Conv", "CUDAExecutionProvider"), ("m", "MemcpyToHost", "CUDAExecutionProvider"),
            ("b", "NonZero", CPU), ("b", "NonZero", CPU),
        )
    ]  # fmt: skip
    found = Placement(placement.profiled_nodes([*events, {"cat": "Session", "name": "run"}]), frozenset())
    assert found.cpu_nodes == (PlacedNode("b", "NonZero", CPU),)
    assert found.proof["nodes"] == "1 CUDA, 1 CPU"
    on_gpu = dataclasses.replace(found, nodes=found.nodes[:1])
    on_gpu.check(())
    assert on_gpu.proof == {"nodes": "1 CUDA", "cpu_nodes": "0"}


def test_many_nodes_are_shortened():
    nodes = tuple(PlacedNode(f"n{i}", "Det", CPU) for i in range(12))
    with pytest.raises(BuildError, match=r"n9 and 2 more: change the model.*cpu_nodes=\['Det'\]"):
        Placement(nodes, frozenset()).check(())


def test_values_of_an_input_are_no_shapes(tmp_path):
    """The input decides the size of the output by its value, so its arithmetic depends on data."""
    nodes = [
        helper.make_node("Neg", ["k"], ["n"], name="negate"),
        helper.make_node("Expand", ["one", "n"], ["y"], name="expand"),
        helper.make_node("Size", ["y"], ["count"], name="size"),
    ]
    k = helper.make_tensor_value_info("k", TensorProto.INT64, [1])
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None]),
               helper.make_tensor_value_info("count", TensorProto.INT64, [])]  # fmt: skip
    one = numpy_helper.from_array(np.ones(1, np.float32), "one")
    model = helper.make_model(helper.make_graph(nodes, "g", [k], outputs, [one]))
    onnx.save(model, tmp_path / "plan")
    assert placement.shape_nodes(tmp_path / "plan") == {"size"}


def test_weights_and_filled_tensors_are_no_shapes(tmp_path):
    """A table of positions that is read by a computed index is work, although it is the same in every inference."""
    table = numpy_helper.from_array(np.ones((16, 4), np.float32), "table")
    one, zero = (numpy_helper.from_array(np.array(v, np.int64), f"c{v}") for v in (1, 0))
    ones = numpy_helper.from_array(np.ones(1, np.float32), "")
    nodes = [
        helper.make_node("Shape", ["x"], ["s"], name="shape"),
        helper.make_node("Gather", ["s", "c1"], ["n"], name="size"),
        helper.make_node("Range", ["c0", "n", "c1"], ["i"], name="range"),
        helper.make_node("Gather", ["table", "i"], ["p"], name="positions"),
        helper.make_node("ConstantOfShape", ["s"], ["m"], name="mask", value=ones),
        helper.make_node("ConstantOfShape", ["s"], ["k"], name="counts", value=numpy_helper.from_array(np.arange(1))),
        helper.make_node("Add", ["x", "m"], ["y"], name="add"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "S"])
    kinds = {"y": TensorProto.FLOAT, "p": TensorProto.FLOAT, "k": TensorProto.INT64}
    outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], outputs, [table, one, zero]))
    onnx.save(model, tmp_path / "plan")
    assert placement.shape_nodes(tmp_path / "plan") == {"shape", "size", "range", "counts"}
