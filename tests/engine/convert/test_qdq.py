"""Test models of onnxruntime.quantization in the form that TensorRT accepts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization

from pytest_trt.engine.convert import qdq
from pytest_trt.engine.convert.run import run_conversion
from pytest_trt.engine.model.model import Model, read_model
from pytest_trt.engine.prepare import prepare
from pytest_trt.spec.engine_spec import EngineSpec

FEED = {"x": np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)}


class Batches(quantization.CalibrationDataReader):
    def __init__(self) -> None:
        self._batches = iter([FEED])

    def get_next(self) -> Any:
        return next(self._batches, None)


def weight(name: str, *shape: int) -> TensorProto:
    values = np.random.default_rng(sum(name.encode())).standard_normal(shape)
    return numpy_helper.from_array(values.astype(np.float32), name)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Two layers with biases: x [N, 3, 8, 8] -> y [N, 4]."""
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], "conv"),
        helper.make_node("GlobalAveragePool", ["c"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "v", "d"], ["y"], "gemm"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])
    weights = [weight("w", 8, 3, 3, 3), weight("b", 8), weight("v", 8, 4), weight("d", 4)]
    graph = helper.make_graph(nodes, "g", [x], [y], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(tmp_path / "plain.onnx"))
    return tmp_path / "plain.onnx"


def quantised(plain: Path, per_channel: bool) -> Model:
    output = plain.with_name("quantised.onnx")
    symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True}
    int8 = quantization.QuantType.QInt8
    quantization.quantize_static(
        str(plain), str(output), Batches(), per_channel=per_channel, activation_type=int8, extra_options=symmetric
    )
    return read_model(output)


def infer(path: Path) -> Any:
    """Infer without fusions: on some processors, sums of fused int8 operators saturate."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(["y"], FEED)[0]


ZERO = {
    "int8": (TensorProto.INT8, 17), "uint8": (TensorProto.UINT8, 17), "fp8": (TensorProto.FLOAT8E4M3FN, 19),
    "int4": (TensorProto.INT4, 21), "int16": (TensorProto.INT16, 21),
}  # fmt: skip


def shares(
    tmp_path: Path, kind: str, nodes: list[Any], weights: list[Any] | None = None, weight_kind: str = ""
) -> dict[str, float]:
    """Return the shares of a model with the quantised and dequantised input `d` and weight `k`."""
    (element, opset), (weight_element, _) = ZERO[kind], ZERO[weight_kind or kind]
    scale = numpy_helper.from_array(np.float32(0.05), "s")
    zero = helper.make_tensor("z", element, [], [0])
    stored = helper.make_tensor("stored", weight_element, [8, 8], [1] * 64)
    before = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["stored", "s"], ["k"]),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [8, 8]) for name in "xy")
    graph = helper.make_graph([*before, *nodes], "g", [x], [y], [scale, zero, stored, *(weights or ())])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.save(made, str(tmp_path / "m.onnx"))
    return dict(qdq.read_quantised_shares(read_model(tmp_path / "m.onnx")))


node = helper.make_node


@pytest.mark.parametrize(
    ("kind", "precision"), [("int8", "int8"), ("uint8", "int8"), ("fp8", "fp8"), ("int4", "fp32"), ("int16", "fp32")]
)
def test_precision_is_that_of_quantised_activations_and_weights(kind: str, precision: str, tmp_path: Path) -> None:
    assert shares(tmp_path, kind, [node("MatMul", ["d", "k"], ["y"])]) == {precision: 1.0}


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ([node("MatMul", ["x", "k"], ["y"])], {"fp32": 1.0}),
        ([node("MatMul", ["d", "w"], ["y"])], {"fp32": 1.0}),
        ([node("MatMul", ["d", "k"], ["h"]), node("MatMul", ["h", "w"], ["y"])], {"int8": 0.5, "fp32": 0.5}),
        ([node("MatMul", ["d", "d"], ["y"])], {"int8": 1.0}),
        (
            [node("Transpose", ["k"], ["t"]), node("Identity", ["d"], ["i"]), node("Gemm", ["i", "t"], ["y"])],
            {"int8": 1.0},
        ),
        ([node("Relu", ["d"], ["r"]), node("MatMul", ["r", "k"], ["y"])], {"int8": 0.5, "fp32": 0.5}),
        ([node("Add", ["d", "d"], ["a"]), node("MatMul", ["a", "w"], ["y"])], {"int8": 0.5, "fp32": 0.5}),
        ([node("Relu", ["x"], ["y"])], {}),
    ],
    ids=["weights", "activations", "both", "attention", "moved", "relu", "add", "neither"],
)
def test_only_operators_with_all_inputs_quantised_count(
    nodes: list[Any], found: dict[str, float], tmp_path: Path
) -> None:
    assert shares(tmp_path, "int8", nodes, [weight("w", 8, 8)]) == found


def test_int4_weights_are_computed_in_float(tmp_path: Path) -> None:
    made = shares(tmp_path, "int8", [node("MatMul", ["d", "k"], ["y"])], weight_kind="int4")
    assert made == {"fp32": 1.0}


@pytest.mark.parametrize("per_channel", [False, True])
def test_int32_biases_become_equal_float_biases(per_channel: bool, plain: Path, tmp_path: Path) -> None:
    model = quantised(plain, per_channel)
    assert qdq.has_int32_biases(model)
    qdq.write_without_int32_biases(model, tmp_path / "m.onnx")
    assert not qdq.has_int32_biases(read_model(tmp_path / "m.onnx"))
    np.testing.assert_allclose(infer(tmp_path / "m.onnx"), infer(model.path), rtol=1e-6, atol=1e-6)


def test_tensorrt_accepts_a_model_without_int32_biases(plain: Path, tmp_path: Path) -> None:
    rtx = pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")
    model = quantised(plain, per_channel=True)
    qdq.write_without_int32_biases(model, tmp_path / "m.onnx")
    log = rtx.Logger(rtx.Logger.INTERNAL_ERROR)
    for path, accepted in ((model.path, False), (tmp_path / "m.onnx", True)):
        builder = rtx.Builder(log)
        network = builder.create_network()
        parser = rtx.OnnxParser(network, log)
        assert parser.parse_from_file(str(path)) is accepted


def test_biases_are_folded_only_for_tensorrt_and_only_if_present(plain: Path, tmp_path: Path) -> None:
    """ONNX Runtime computes with int32 biases. The fingerprint of other engines does not change."""
    spec, model = EngineSpec(precision="int8"), quantised(plain, per_channel=False)
    prepared = prepare(spec, model, None, strongly_typed=True, takes_int32_biases=False)
    source, conversion = prepared.write_model(tmp_path, run_conversion, 60.0)
    assert (prepared.fingerprint, source.name, conversion.converter) == ("int32 biases folded", "prepared.onnx", "")
    assert prepare(spec, model, None, strongly_typed=True, takes_int32_biases=True).recipe is None
    assert prepare(EngineSpec(), read_model(plain), None, strongly_typed=True, takes_int32_biases=False).recipe is None
