"""Test models upgraded to later opsets, by what they compute on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_trt.engine.convert import int8
from pytest_trt.engine.convert.half import convert
from pytest_trt.engine.model.model import read_model
from pytest_trt.engine.onnx import opset

SHAPE = (2, 3, 4, 4)
X = {"x": np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)}


def info(name: str, shape: tuple[int, ...] | None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(version: int, nodes: list[Any], weights: list[Any] | None = None, inputs: tuple[Any, ...] = ()) -> Any:
    graph = helper.make_graph(nodes, "g", [info("x", SHAPE), *inputs], [info("y", None)], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)


def computed(made: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(made.SerializeToString(), options).run(None, X)[0]


def floats(name: str, *values: float) -> TensorProto:
    return numpy_helper.from_array(np.array(values, np.float32), name)


def resized(version: int, mode: str, scales: tuple[float, ...]) -> Any:
    scales = (1.0, 1.0, *map(float, scales))
    if version < 9:
        return model(version, [helper.make_node("Upsample", ["x"], ["y"], mode=mode, scales=scales)])
    kind = "Upsample" if version < 10 else "Resize"
    return model(version, [helper.make_node(kind, ["x", "s"], ["y"], mode=mode)], [floats("s", *scales)])


@pytest.mark.parametrize("to", [13, 19])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize(
    ("version", "scales"),
    [(7, (2, 2)), (8, (2.5, 1.7)), (9, (2.5, 1.7)), (10, (2.5, 1.7)), (10, (0.25, 0.4)), (10, (1, 0.4))],
)
def test_upgraded_resize_reads_the_same_pixels(to: int, mode: str, version: int, scales: tuple[float, ...]) -> None:
    made = resized(version, mode, scales)
    expected = computed(made)
    after = opset.upgrade(made, to)
    assert opset.version_of(after) == to
    np.testing.assert_allclose(computed(after), expected, atol=1e-6)


@pytest.mark.parametrize("version", [7, 11, 12])
@pytest.mark.parametrize("kind", ["Hardmax", "Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3])
def test_upgraded_softmax_uses_the_same_axes(version: int, kind: str, axis: int | None) -> None:
    made = model(version, [helper.make_node(kind, ["x"], ["y"], **({} if axis is None else {"axis": axis}))])
    expected = computed(made)
    np.testing.assert_allclose(computed(opset.upgrade(made, 13)), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["Hardmax", "Resize"])
def test_operators_in_branches_are_upgraded(kind: str) -> None:
    arguments = {"Hardmax": (["x"], {}), "Resize": (["x", "s"], {"mode": "linear"})}[kind]
    branches = {
        name: helper.make_graph(
            [helper.make_node(kind, arguments[0], [name], **arguments[1])], name, [], [info(name, None)]
        )
        for name in ("then_branch", "else_branch")
    }
    weights = [floats("s", 1, 1, 2.5, 2.5), numpy_helper.from_array(np.array(True), "c")]
    made = model(10, [helper.make_node("If", ["c"], ["y"], **branches)], weights)
    expected = computed(made)
    np.testing.assert_allclose(computed(opset.upgrade(made, 13)), expected, atol=1e-6)


def test_rounding_that_no_later_opset_has_is_an_error() -> None:
    with pytest.raises(ValueError, match="enlarges one axis and shrinks another"):
        opset.upgrade(resized(10, "nearest", (2, 0.5)), 13)
    computes = model(10, [helper.make_node("Resize", ["x", "s"], ["y"], mode="nearest")], [], (info("s", (4,)),))
    with pytest.raises(ValueError, match="computes its scales"):
        opset.upgrade(computes, 13)


def filtered(version: int, mode: str, *scales: float) -> Any:
    """A convolution whose result is resized."""
    weight = floats("w", *np.random.default_rng(1).standard_normal(12))
    weight.dims[:] = (4, 3, 1, 1)
    nodes = [helper.make_node("Conv", ["x", "w"], ["a"]), helper.make_node("Resize", ["a", "s"], ["y"], mode=mode)]
    return model(version, nodes, [weight, floats("s", 1, 1, *scales)])


def test_int8_of_a_model_with_resize_is_accurate(tmp_path: Path) -> None:
    onnx.save(filtered(10, "linear", 2.5, 2.5), str(tmp_path / "m.onnx"))
    assert int8.quantise(read_model(tmp_path / "m.onnx"), lambda: [X], tmp_path / "q.onnx").notes == ()
    found = computed(onnx.load(str(tmp_path / "q.onnx")))
    np.testing.assert_allclose(found, computed(onnx.load(str(tmp_path / "m.onnx"))), atol=0.1)


def test_int8_of_a_model_that_cannot_be_upgraded_is_per_tensor(tmp_path: Path) -> None:
    onnx.save(filtered(10, "nearest", 2, 0.5), str(tmp_path / "m.onnx"))
    (note,) = int8.quantise(read_model(tmp_path / "m.onnx"), lambda: [X], tmp_path / "q.onnx").notes
    assert "per tensor, as opset 10 cannot be upgraded: a Resize to the nearest pixel enlarges one axis" in note


def test_half_precision_of_a_model_with_qdq_and_resize_is_accurate(tmp_path: Path) -> None:
    made = filtered(10, "linear", 2.5, 2.5)
    made.graph.node[0].input[0] = "d"
    made.graph.initializer.extend([numpy_helper.from_array(np.float32(0.03), "scale")])
    made.graph.initializer.extend([numpy_helper.from_array(np.int8(0), "zero")])
    quantised = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"])
    back = helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"])
    nodes = [quantised, back, *made.graph.node]
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    onnx.save(made, str(tmp_path / "m.onnx"))
    convert(tmp_path / "m.onnx", "fp16", tmp_path / "half.onnx")
    np.testing.assert_allclose(computed(onnx.load(str(tmp_path / "half.onnx"))), computed(made), atol=0.1)
