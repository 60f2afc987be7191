"""Test which operators stay float32 in a half precision, because they would be wrong or could not be built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from samples.conversions import differences

from pytest_trt.engine.backends.base import BuildJob, backend
from pytest_trt.engine.convert.half import convert
from pytest_trt.errors import BuildError
from pytest_trt.spec.engine_spec import EngineSpec

node = helper.make_node


KEPT = (
    "values beyond float16's range: the operators that compute with them stay fp32, and so do those after them, until "
    "the values are normalised, scaled down or read by a layer"
)


def weight(name: str, *shape: int, times: float = 1.0) -> TensorProto:
    values = np.random.default_rng(sum(name.encode())).standard_normal(shape) / np.sqrt(shape[0])
    return numpy_helper.from_array((times * values).astype(np.float32), name)


def saved(folder: Path, nodes: list[Any], inputs: dict[str, Any], weights: list[Any]) -> Path:
    """A model from `inputs` to y."""
    x = [helper.make_tensor_value_info(name, *kind_and_shape) for name, kind_and_shape in inputs.items()]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", x, [y], weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(folder / "m.onnx")
    )
    return folder / "m.onnx"


@pytest.mark.parametrize("stored", [True, False], ids=["initialiser", "constant"])
def test_operators_with_weights_beyond_float16_stay_float32(stored: bool, tmp_path: Path) -> None:
    """A text detector has variances of 3e5 in a BatchNormalization; with clipped ones, its output was all ones.

    Paddle's exporter writes weights as constants. A mask may be clipped.
    """
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
        f"v: {KEPT}",
        "masked: values beyond float16's range were clipped to 65504",
    )
    assert conversion.shares == {"fp16": 0.75, "fp32": 0.25}
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)
    inputs = {"x": x, "kept": np.array(True)}
    assert differences(tmp_path / "h.onnx", path, "fp16", inputs) == []


def builds(path: Path, folder: Path) -> None:
    """Build the model with TensorRT-RTX, which needs no device."""
    pytest.importorskip("tensorrt_rtx", reason="needs the package tensorrt_rtx")
    spec = EngineSpec(compute_capabilities=(89,))
    job = BuildJob("tensorrt_rtx", "0", spec, str(path), str(folder), (), None)
    backend("tensorrt_rtx").build(job, lambda text, share: None)
    assert (folder / "plan").exists()


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize(("operator", "gates"), [("GRU", 3), ("LSTM", 4), ("RNN", 1)])
def test_recurrent_layers_with_sequence_lengths_stay_float32(
    operator: str, gates: int, precision: Any, tmp_path: Path
) -> None:
    weights = [weight("w", 1, 4 * gates, 8), weight("r", 1, 4 * gates, 4), weight("v", 4, 4)]
    nodes = [node(operator, ["x", "w", "r", "", "lengths"], ["h"], hidden_size=4), node("MatMul", ["h", "v"], ["y"])]
    inputs = {"x": (TensorProto.FLOAT, [6, 2, 8]), "lengths": (TensorProto.INT32, [2])}
    path = saved(tmp_path, nodes, inputs, weights)
    assert convert(path, precision, tmp_path / "h.onnx").shares == {precision: 0.5, "fp32": 0.5}
    builds(tmp_path / "h.onnx", tmp_path)


@pytest.mark.parametrize(("precision", "lengths"), [("fp16", True), ("bf16", True), ("bf16", False)])
def test_recurrent_layers_between_half_precision_layers_build(precision: Any, lengths: bool, tmp_path: Path) -> None:
    """TensorRT-RTX cannot build a loop directly after a cast, so an Add of 0 is inserted."""
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
        assert differences(tmp_path / "h.onnx", path, "fp16", {"x": x, "lengths": np.array([6, 3], np.int32)}) == []
    builds(tmp_path / "h.onnx", tmp_path)


@pytest.mark.parametrize(("precision", "share"), [("fp16", 1.0), ("bf16", 0.5)])
@pytest.mark.parametrize("operator", ["HardSwish", "ConvTranspose", "LpPool", "RandomNormalLike"])
def test_operators_without_bf16_in_tensorrt_stay_float32(
    operator: str, precision: Any, share: float, tmp_path: Path
) -> None:
    weights = [weight("w", 8, 8, 1, 1), weight("v", 8, 8, 1, 1)]
    attributes = {"kernel_shape": [2, 2]} if operator == "LpPool" else {}
    second = node(operator, ["c", "w"] if operator == "ConvTranspose" else ["c"], ["y"], **attributes)
    path = saved(tmp_path, [node("Conv", ["x", "v"], ["c"]), second], {"x": (TensorProto.FLOAT, [1, 8, 4, 4])}, weights)
    assert convert(path, precision, tmp_path / "h.onnx").shares[precision] == share
    builds(tmp_path / "h.onnx", tmp_path)


@pytest.mark.parametrize("operator", ["RandomNormal", "RandomUniform"])
def test_random_operators_without_bf16_in_tensorrt_stay_float32(operator: str, tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["h"]), node(operator, [], ["r"], shape=[8, 8]), node("Add", ["h", "r"], ["y"])]
    path = saved(tmp_path, nodes, {"x": (TensorProto.FLOAT, [8, 8])}, [weight("w", 8, 8)])
    assert convert(path, "bf16", tmp_path / "h.onnx").shares["fp32"] == pytest.approx(1 / 3)
    builds(tmp_path / "h.onnx", tmp_path)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_operators_that_onnx_defines_only_for_float32(precision: Any, tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "v"], ["c"]), node("Celu", ["c"], ["y"])]
    path = saved(tmp_path, nodes, {"x": (TensorProto.FLOAT, [1, 8, 4, 4])}, [weight("v", 8, 8, 1, 1)])
    assert convert(path, precision, tmp_path / "h.onnx").shares == {precision: 0.5, "fp32": 0.5}
    if precision == "fp16":
        inputs = {"x": np.random.default_rng(0).standard_normal((1, 8, 4, 4)).astype(np.float32)}
        assert differences(tmp_path / "h.onnx", path, "fp16", inputs) == []
    builds(tmp_path / "h.onnx", tmp_path)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("operator", ["Celu", "TopK"])
def test_float32_operators_in_a_branch_have_casts_there(operator: str, precision: Any, tmp_path: Path) -> None:
    """An earlier version put the casts into the main graph, which does not have the branch's tensors."""
    first = node("MatMul", ["a", "v"], ["m"])
    second = node("TopK", ["m", "k"], ["t", "indices"]) if operator == "TopK" else node("Celu", ["m"], ["t"])
    n, r = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "nr")
    branches = {
        "then_branch": helper.make_graph([first, second, node("Neg", ["t"], ["n"])], "one", [], [n]),
        "else_branch": helper.make_graph([node("Relu", ["a"], ["r"])], "two", [], [r]),
    }
    nodes = [node("MatMul", ["x", "w"], ["a"]), node("If", ["c"], ["i"], **branches), node("Relu", ["i"], ["y"])]
    weights = [weight("w", 8, 8), weight("v", 8, 8), numpy_helper.from_array(np.array([3]), "k")]
    path = saved(tmp_path, nodes, {**ROWS, "c": (TensorProto.BOOL, [])}, weights)
    assert convert(path, precision, tmp_path / "h.onnx").shares["fp32"] < 0.5
    if precision == "fp16":
        assert differences(tmp_path / "h.onnx", path, "fp16", rows() | {"c": np.array(True)}) == []
    if operator == "Celu":
        builds(tmp_path / "h.onnx", tmp_path)


def rows(count: int = 8) -> dict[str, Any]:
    return {"x": np.random.default_rng(0).standard_normal((count, 8)).astype(np.float32)}


ROWS = {"x": (TensorProto.FLOAT, [8, 8])}


def test_shared_large_weights_are_clipped_for_other_readers(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Softmax", ["h"], ["s"]), node("Where", ["c", "s", "w"], ["y"])]
    inputs = {**ROWS, "c": (TensorProto.BOOL, [])}
    path = saved(tmp_path, nodes, inputs, [weight("w", 8, 8, times=1e6)])
    conversion = convert(path, "fp16", tmp_path / "h.onnx")
    assert conversion.notes == (f"w: {KEPT}", "w: values beyond float16's range were clipped to 65504")
    assert conversion.shares == {"fp32": pytest.approx(2 / 3), "fp16": pytest.approx(1 / 3)}
    assert differences(tmp_path / "h.onnx", path, "fp16", rows() | {"c": np.array(True)}) == []


@pytest.mark.parametrize("back", [node("Mul", ["h", "small"], ["s"]), node("LayerNormalization", ["h", "one"], ["s"])],
                         ids=["scaled", "normalised"])  # fmt: skip
def test_large_results_stay_float32_until_they_are_small(back: Any, tmp_path: Path) -> None:
    """An earlier version cast the Gemm's results to float16, where they became infinite."""
    nodes = [node("Gemm", ["x", "w", "b"], ["g"]), node("Relu", ["g"], ["r"]), node("Transpose", ["r"], ["h"]), back,
             node("MatMul", ["s", "v"], ["y"])]  # fmt: skip
    bias = numpy_helper.from_array(np.linspace(1e6, 2e6, 8, dtype=np.float32), "b")
    small, one = (numpy_helper.from_array(np.full(8, value, np.float32), name)
                  for name, value in (("small", 1e-6), ("one", 1)))  # fmt: skip
    path = saved(tmp_path, nodes, ROWS, [weight("w", 8, 8, times=1e5), weight("v", 8, 8), bias, small, one])
    conversion = convert(path, "fp16", tmp_path / "h.onnx")
    assert conversion.notes == (f"b, w: {KEPT}",)
    assert conversion.shares == {"fp32": 0.8, "fp16": 0.2}
    assert differences(tmp_path / "h.onnx", path, "fp16", rows()) == []


def test_layer_that_reads_large_results_stays_float32_with_a_note(tmp_path: Path) -> None:
    nodes = [node("Gemm", ["x", "w", "b"], ["g"]), node("MatMul", ["g", "v"], ["m"]), node("Relu", ["m"], ["y"])]
    bias = numpy_helper.from_array(np.full(8, 1e6, np.float32), "b")
    path = saved(tmp_path, nodes, ROWS, [weight("w", 8, 8), weight("v", 8, 8, times=1e-6), bias])
    conversion = convert(path, "fp16", tmp_path / "h.onnx")
    assert conversion.notes == (
        f"b: {KEPT}",
        "m: computed in fp32 from values beyond float16's range, then converted to fp16, where it may overflow",
    )
    assert conversion.shares == {"fp32": pytest.approx(2 / 3), "fp16": pytest.approx(1 / 3)}
    assert differences(tmp_path / "h.onnx", path, "fp16", rows()) == []


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.INT64], ids=["float", "int"])
def test_large_divisor_is_not_clipped(kind: int, tmp_path: Path) -> None:
    """The model divides seconds by 86400. With 65504, outputs were 32 % too large; seconds exceed float16, too."""
    nodes = [
        node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        node("Mul", ["f", "two"], ["t"]),
        node("Div", ["t", "day"], ["d"]),
        node("MatMul", ["d", "w"], ["y"]),
    ]
    constants = [numpy_helper.from_array(np.float32(value), name) for name, value in (("two", 2), ("day", 86400))]
    path = saved(tmp_path, nodes, {"x": (kind, [8, 8])}, [weight("w", 8, 8), *constants])
    conversion = convert(path, "fp16", tmp_path / "h.onnx")
    assert conversion.notes == (f"day: {KEPT}",)
    assert conversion.shares == {"fp32": pytest.approx(2 / 3), "fp16": pytest.approx(1 / 3)}
    inputs = {"x": (rows()["x"] * 3e5).astype(helper.tensor_dtype_to_np_dtype(kind))}
    assert differences(tmp_path / "h.onnx", path, "fp16", inputs) == []
    got = ReferenceEvaluator(str(tmp_path / "h.onnx")).run(None, inputs)[0]
    assert np.abs(got - ReferenceEvaluator(str(path)).run(None, inputs)[0]).max() < 0.05


def test_a_mask_before_a_softmax_may_be_clipped(tmp_path: Path) -> None:
    """Exporters of BERT write such a mask; all of it stays float16."""
    nodes = [
        node("Sub", ["one", "kept"], ["hidden"]),
        node("Mul", ["hidden", "large"], ["m"]),
        node("Unsqueeze", ["m", "ax"], ["mask"]),
        node("MatMul", ["x", "w"], ["s"]),
        node("Add", ["s", "mask"], ["a"]),
        node("Softmax", ["a"], ["y"]),
    ]
    constants = [numpy_helper.from_array(np.float32(value), name) for name, value in (("one", 1), ("large", -3.4e38))]
    weights = [weight("w", 8, 8), numpy_helper.from_array(np.array([0]), "ax"), *constants]
    path = saved(tmp_path, nodes, {**ROWS, "kept": (TensorProto.FLOAT, [8])}, weights)
    conversion = convert(path, "fp16", tmp_path / "h.onnx")
    assert conversion.notes == ("large: values beyond float16's range were clipped to 65504",)
    assert conversion.shares == {"fp16": 1.0}
    assert (
        differences(
            tmp_path / "h.onnx", path, "fp16", rows() | {"kept": np.array([1, 1, 0, 1, 1, 0, 1, 1], np.float32)}
        )
        == []
    )


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_error_explains_why_no_operator_can_be_converted(precision: Any, tmp_path: Path) -> None:
    x, lengths = (TensorProto.FLOAT, [6, 2, 8]), (TensorProto.INT32, [2])
    recurrent = node("LSTM", ["x", "w", "r", "", "lengths"], ["y"], hidden_size=4)
    path = saved(tmp_path, [recurrent], {"x": x, "lengths": lengths}, [weight("w", 1, 16, 8), weight("r", 1, 16, 4)])
    message = (
        r"no operator of m\.onnx can have it \(TensorRT runs recurrent layers with an input of sequence lengths only"
    )
    with pytest.raises(BuildError, match=f"{precision} was requested, but {message}"):
        convert(path, precision, tmp_path / "h.onnx")


def test_error_names_operators_that_onnx_lacks_in_fp16(tmp_path: Path) -> None:
    path = saved(tmp_path, [node("Celu", ["x"], ["y"])], ROWS, [])
    with pytest.raises(BuildError, match=r"no operator of m\.onnx can have it \(ONNX has no Celu in fp16\): leave"):
        convert(path, "fp16", tmp_path / "h.onnx")


def test_error_names_weights_beyond_float16(tmp_path: Path) -> None:
    path = saved(tmp_path, [node("MatMul", ["x", "w"], ["y"])], ROWS, [weight("w", 8, 8, times=1e6)])
    with pytest.raises(BuildError, match=r"no operator of m\.onnx can have it \(w: values beyond float16's range: "):
        convert(path, "fp16", tmp_path / "h.onnx")
