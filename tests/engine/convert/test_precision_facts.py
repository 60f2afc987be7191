"""Test what a precision means for a model before it is built."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from samples.models import layers_model

from pytest_trt.core.model_facts import PrecisionFacts
from pytest_trt.engine.convert.half import convert
from pytest_trt.engine.convert.precision_facts import describe_precision
from pytest_trt.spec.engine_spec import Precision


def saved(folder: Path, nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray] | None = None) -> Path:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy")
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    path = folder / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def kept(facts: PrecisionFacts) -> dict[str, tuple[str, ...]]:
    return {operator: names for group in facts.kept for operator, names in group.nodes.items()}


def test_nodes_that_stay_fp32_are_those_that_the_conversion_keeps(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "matmul"),
        helper.make_node("MeanVarianceNormalization", ["a"], ["b"], "normalise", axes=[1]),
        helper.make_node("Add", ["b", "large"], ["c"], "add"),
        helper.make_node("Tanh", ["c"], ["y"], "tanh"),
    ]
    model = saved(tmp_path, nodes, {"w": np.eye(4, dtype=np.float32), "large": np.full(4, 1e6, np.float32)})
    facts = describe_precision(model, "fp16", tmp_path)
    assert (facts.nodes, facts.refusal) == (4, "")
    assert kept(facts) == {"MeanVarianceNormalization": ("normalise",), "Add": ("add",), "Tanh": ("tanh",)}
    assert facts.kept[0].reason == "TensorRT has no MeanVarianceNormalization in fp16"
    assert "large" in facts.notes[0]
    assert convert(model, "fp16", tmp_path / "half.onnx").shares["fp32"] > 0.5
    assert kept(describe_precision(model, "bf16", tmp_path)).keys() == {"MeanVarianceNormalization"}


def test_a_precision_that_no_operator_can_have_is_refused(tmp_path: Path) -> None:
    model = saved(tmp_path, [helper.make_node("MeanVarianceNormalization", ["x"], ["y"], axes=[1])])
    assert describe_precision(model, "fp16", tmp_path).refusal == "every operator stays in fp32"
    assert "none of Conv" in describe_precision(model, "int8", tmp_path).refusal
    assert "no Q/DQ in fp8" in describe_precision(model, "fp8", tmp_path).refusal
    assert describe_precision(model, "fp32", tmp_path) == PrecisionFacts(precision="fp32")


def test_int8_leaves_products_without_constant_weights(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "constant"),
        helper.make_node("Transpose", ["a"], ["t"]),
        helper.make_node("MatMul", ["a", "t"], ["s"], "computed"),
        helper.make_node("MatMul", ["s", "a"], ["y"], "computed too"),
    ]
    facts = describe_precision(saved(tmp_path, nodes, {"w": np.eye(4, dtype=np.float32)}), "int8", tmp_path)
    assert (facts.nodes, facts.refusal, kept(facts)) == (3, "", {"MatMul": ("computed", "computed too")})


@pytest.mark.parametrize(("precision", "said"), [("fp16", "in fp16 already"), ("bf16", "no float32 operators")])
def test_model_in_half_precision_already(tmp_path: Path, precision: Precision, said: str) -> None:
    onnx.save(layers_model(), str(tmp_path / "m.onnx"))
    convert(tmp_path / "m.onnx", "fp16", tmp_path / "half.onnx", keep_io=False)
    facts = describe_precision(tmp_path / "half.onnx", precision, tmp_path)
    assert said in "".join((*facts.notes, facts.refusal))
