"""Test which outputs have shapes that depend on the data."""

from __future__ import annotations

import networks
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_trt.engine.backends.onnxruntime_gpu.dynamic_outputs import dynamic_outputs


def save(tmp_path, nodes, inputs, outputs, weights=()):
    values = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    results = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs]
    graph = helper.make_graph(nodes, "g", values, results, [numpy_helper.from_array(a, n) for n, a in weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    return dynamic_outputs(tmp_path / "m.onnx")


@pytest.mark.parametrize("name", ["squeezenet", "encoder", "embedding", "shapes", "lstm"])
def test_shapes_of_common_networks_follow_from_their_inputs(name, tmp_path):
    onnx.save(networks.NETWORKS[name].make(), tmp_path / "m.onnx")
    assert dynamic_outputs(tmp_path / "m.onnx") == ()


@pytest.mark.parametrize("name", ["nonzero", "nms"])
def test_sizes_that_an_operator_finds_depend_on_the_data(name, tmp_path):
    model = networks.NETWORKS[name].make()
    onnx.save(model, tmp_path / "m.onnx")
    assert dynamic_outputs(tmp_path / "m.onnx")


def test_only_outputs_behind_the_operator_depend(tmp_path):
    nodes = [
        helper.make_node("NonZero", ["x"], ["i"]),
        helper.make_node("Transpose", ["i"], ["dynamic"]),
        helper.make_node("Relu", ["x"], ["fixed"]),
        helper.make_node("Shape", ["i"], ["size"]),
        helper.make_node("Expand", ["one", "size"], ["expanded"]),
    ]
    outputs = [("dynamic", TensorProto.INT64), ("fixed", TensorProto.FLOAT), ("size", TensorProto.INT64),
               ("expanded", TensorProto.FLOAT)]  # fmt: skip
    found = save(tmp_path, nodes, [("x", TensorProto.FLOAT, ["N", 4])], outputs, [("one", np.ones(1, np.float32))])
    assert found == ("dynamic", "expanded")


def test_values_of_an_input_decide_a_size_but_its_shape_does_not(tmp_path):
    inputs = [("x", TensorProto.FLOAT, ["N", 4]), ("to", TensorProto.INT64, [2])]
    by_value = [helper.make_node("Reshape", ["x", "to"], ["y"])]
    assert save(tmp_path, by_value, inputs, [("y", TensorProto.FLOAT)]) == ("y",)
    by_shape = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Reshape", ["x", "s"], ["y"])]
    assert save(tmp_path, by_shape, inputs, [("y", TensorProto.FLOAT)]) == ()


def test_constants_are_no_data(tmp_path):
    nodes = [helper.make_node("NonZero", ["w"], ["i"]), helper.make_node("Gather", ["x", "i"], ["y"])]
    inputs, weights = [("x", TensorProto.FLOAT, ["N", 4])], [("w", np.array([1, 0, 2], np.float32))]
    assert save(tmp_path, nodes, inputs, [("y", TensorProto.FLOAT)], weights) == ()
