"""What stays float32 in a half precision: what would be wrong, or not be built, in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_trt.backends.base import BuildJob, backend
from pytest_trt.engine.precision import convert
from pytest_trt.errors import BuildError
from pytest_trt.judge.accuracy import judge
from pytest_trt.judge.tolerance import DEFAULTS
from pytest_trt.spec import EngineSpec

node = helper.make_node


def weight(name: str, *shape: int, times: float = 1.0) -> TensorProto:
    values = np.random.default_rng(sum(name.encode())).standard_normal(shape) / np.sqrt(shape[0])
    return numpy_helper.from_array((times * values).astype(np.float32), name)


def saved(folder: Path, nodes: list[Any], inputs: dict[str, Any], weights: list[Any]) -> Path:
    """A model from `inputs` to y."""
    x = [helper.make_tensor_value_info(name, *said) for name, said in inputs.items()]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", x, [y], weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(folder / "m.onnx")
    )
    return folder / "m.onnx"


def departs(half: Path, given: Path, inputs: dict[str, Any]) -> list[str]:
    """What is said against the outputs of the converted model."""
    answers = [
        {"y": onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(["y"], inputs)[0]}
        for path in (half, given)
    ]
    verdicts = judge(answers[0], answers[1], DEFAULTS["fp16"], "float32")
    return [verdict.text for verdict in verdicts if verdict.status != "ok"]


@pytest.mark.parametrize("stored", [True, False], ids=["initialiser", "constant"])
def test_what_computes_with_weights_that_float16_does_not_hold(stored: bool, tmp_path: Path) -> None:
    """A detector of text has variances of 3e5 in a BatchNormalization; clipped, its map was all ones. Exporters of
    Paddle write weights as constants. A mask is as good where it is clipped."""
    variance = numpy_helper.from_array(np.full(8, 4e5, np.float32), "v")
    nodes = [
        node("Conv", ["x", "w"], ["c"]),
        node("BatchNormalization", ["c", "s", "b", "m", "v"], ["n"]),
        node("Conv", ["n", "w2"], ["z"]),
        node("Where", ["kept", "z", "masked"], ["y"]),
    ]
    weights = [weight("w", 8, 3, 1, 1, times=300), weight("s", 8, times=600), weight("w2", 4, 8, 1, 1)]
    weights += [weight("b", 8), weight("m", 8), numpy_helper.from_array(np.float32(-3e38), "masked")]
    if stored:
        weights.append(variance)
    else:
        nodes.insert(0, node("Constant", [], ["v"], value=variance))
    kinds = {"x": (TensorProto.FLOAT, ["N", 3, 4, 4]), "kept": (TensorProto.BOOL, [])}
    path = saved(tmp_path, nodes, kinds, weights)
    conversion = convert(path, "fp16", tmp_path / "h.onnx")
    assert conversion.notes == (
        "v: values beyond float16's range: what computes with them stays fp32",
        "masked: values beyond float16's range were clipped to 65504",
    )
    assert conversion.shares == {"fp16": 0.75, "fp32": 0.25}
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)
    inputs = {"x": x, "kept": np.array(True)}
    assert departs(tmp_path / "h.onnx", path, inputs) == []


def builds(path: Path, folder: Path) -> None:
    """Build the model by TensorRT-RTX, for a device that need not be there."""
    pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")
    spec = EngineSpec(compute_capabilities=(89,))
    job = BuildJob("tensorrt_rtx", "0", spec, str(path), str(folder), (), None)
    backend("tensorrt_rtx").build(job, lambda text, share: None)
    assert (folder / "plan").exists()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize(("operator", "gates"), [("GRU", 3), ("LSTM", 4), ("RNN", 1)])
def test_sequences_of_several_lengths(operator: str, gates: int, precision: Any, tmp_path: Path) -> None:
    weights = [weight("w", 1, 4 * gates, 8), weight("r", 1, 4 * gates, 4), weight("v", 4, 4)]
    nodes = [node(operator, ["x", "w", "r", "", "lengths"], ["h"], hidden_size=4), node("MatMul", ["h", "v"], ["y"])]
    inputs = {"x": (TensorProto.FLOAT, [6, 2, 8]), "lengths": (TensorProto.INT32, [2])}
    path = saved(tmp_path, nodes, inputs, weights)
    assert convert(path, precision, tmp_path / "h.onnx").shares == {precision: 0.5, "fp32": 0.5}
    builds(tmp_path / "h.onnx", tmp_path)


@pytest.mark.parametrize(("precision", "lengths"), [("fp16", True), ("bf16", True), ("bf16", False)])
def test_sequences_that_are_computed_in_half_precision(precision: Any, lengths: bool, tmp_path: Path) -> None:
    """TensorRT-RTX builds no loop behind a cast: there is an Add of 0 between them."""
    nodes = [
        node("MatMul", ["x", "p"], ["i"]),
        node("GRU", ["i", "w", "r", "", *(["lengths"] if lengths else [])], ["h"], hidden_size=4),
        node("MatMul", ["h", "v"], ["y"]),
    ]
    inputs = {"x": (TensorProto.FLOAT, [6, 2, 8]), **({"lengths": (TensorProto.INT32, [2])} if lengths else {})}
    weights = [weight("p", 8, 8), weight("w", 1, 12, 8), weight("r", 1, 12, 4), weight("v", 4, 4)]
    path = saved(tmp_path, nodes, inputs, weights)
    assert convert(path, precision, tmp_path / "h.onnx").shares == {precision: 0.5, "fp32": 0.5}
    if precision == "fp16":
        x = np.random.default_rng(0).standard_normal((6, 2, 8)).astype(np.float32)
        assert departs(tmp_path / "h.onnx", path, {"x": x, "lengths": np.array([6, 3], np.int32)}) == []
    builds(tmp_path / "h.onnx", tmp_path)


@pytest.mark.parametrize(("precision", "share"), [("fp16", 1.0), ("bf16", 0.5)])
@pytest.mark.parametrize("operator", ["HardSwish", "ConvTranspose", "LpPool", "RandomNormalLike"])
def test_operators_that_tensorrt_lacks_in_bf16(operator: str, precision: Any, share: float, tmp_path: Path) -> None:
    weights = [weight("w", 8, 8, 1, 1), weight("v", 8, 8, 1, 1)]
    attributes = {"kernel_shape": [2, 2]} if operator == "LpPool" else {}
    second = node(operator, ["c", "w"] if operator == "ConvTranspose" else ["c"], ["y"], **attributes)
    path = saved(
        tmp_path, [node("Conv", ["x", "v"], ["c"]), second], {"x": (TensorProto.FLOAT, [1, 8, 4, 4])}, weights
    )
    assert convert(path, precision, tmp_path / "h.onnx").shares[precision] == share
    builds(tmp_path / "h.onnx", tmp_path)


@pytest.mark.parametrize("operator", ["RandomNormal", "RandomUniform"])
def test_random_numbers_that_tensorrt_lacks_in_bf16(operator: str, tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["h"]), node(operator, [], ["r"], shape=[8, 8]), node("Add", ["h", "r"], ["y"])]
    path = saved(tmp_path, nodes, {"x": (TensorProto.FLOAT, [8, 8])}, [weight("w", 8, 8)])
    assert convert(path, "bf16", tmp_path / "h.onnx").shares["fp32"] == pytest.approx(1 / 3)
    builds(tmp_path / "h.onnx", tmp_path)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_what_onnx_defines_for_float32_alone(precision: Any, tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "v"], ["c"]), node("Celu", ["c"], ["y"])]
    path = saved(tmp_path, nodes, {"x": (TensorProto.FLOAT, [1, 8, 4, 4])}, [weight("v", 8, 8, 1, 1)])
    assert convert(path, precision, tmp_path / "h.onnx").shares == {precision: 0.5, "fp32": 0.5}
    if precision == "fp16":
        inputs = {"x": np.random.default_rng(0).standard_normal((1, 8, 4, 4)).astype(np.float32)}
        assert departs(tmp_path / "h.onnx", path, inputs) == []
    builds(tmp_path / "h.onnx", tmp_path)


def test_weights_that_others_read_too_are_clipped(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Add", ["h", "w"], ["y"])]
    path = saved(tmp_path, nodes, {"x": (TensorProto.FLOAT, [8, 8])}, [weight("w", 8, 8, times=1e6)])
    conversion = convert(path, "fp16", tmp_path / "h.onnx")
    assert conversion.notes == ("w: values beyond float16's range were clipped to 65504",)
    assert conversion.shares == {"fp16": 1.0}


def test_that_nothing_is_left_to_convert_is_said_with_why(tmp_path: Path) -> None:
    nodes, inputs = [node("MatMul", ["x", "w"], ["y"])], {"x": (TensorProto.FLOAT, [8, 8])}
    path = saved(tmp_path, nodes, inputs, [weight("w", 8, 8, times=1e6)])
    said = r"without an operator in it \(w: values beyond float16's range: what computes with them stays fp32\): leave"
    with pytest.raises(BuildError, match=said):
        convert(path, "fp16", tmp_path / "h.onnx")
