"""Test models whose int8 version was once wrong or did not load on ONNX Runtime, with the options of engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_trt.engine.backends.onnxruntime import open_backend
from pytest_trt.engine.convert import int8
from pytest_trt.engine.model.model import read_model
from pytest_trt.errors import BuildError
from pytest_trt.judge.accuracy.allowed_error import DEFAULTS
from pytest_trt.judge.accuracy.verdicts import judge
from pytest_trt.spec.engine_spec import EngineSpec

node = helper.make_node


def weight(name: str, *shape: int) -> TensorProto:
    values = np.random.default_rng(sum(name.encode())).standard_normal(shape) / np.sqrt(shape[-1])
    return numpy_helper.from_array(values.astype(np.float32), name)


def saved(
    folder: Path, nodes: list[Any], shape: tuple[Any, ...], weights: list[Any], inputs: tuple[Any, ...] = ()
) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", [x, *inputs], [y], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(folder / "m.onnx"))
    return folder / "m.onnx"


def feed(path: Path, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        tensor.name: random.integers(0, 4, (2,))
        if tensor.dtype == "int64"
        else random.standard_normal([2 if size < 0 else size for size in tensor.shape]).astype(np.float32)
        for tensor in read_model(path).inputs
    }


def quantised(path: Path) -> onnx.ModelProto:
    return quantised_and_noted(path)[0]


def quantised_and_noted(path: Path) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return the int8 model, after checking its outputs, and its notes."""
    output = path.with_name("int8.onnx")

    def batches() -> Iterator[dict[str, Any]]:
        return (feed(path, seed) for seed in range(4))

    notes = int8.quantise(read_model(path), batches, output).notes
    inputs, outputs = feed(path), []
    for file in (path, output):
        engine: Any = open_backend("onnxruntime").load(file, "0", EngineSpec(threads=1))
        outputs.append(engine.run(inputs))
        engine.close()
    found = judge(outputs[1], outputs[0], DEFAULTS["int8"], "float32")
    assert [verdict.text for verdict in found if verdict.status != "ok"] == []
    return onnx.load(str(output)), notes


def dequantised(made: onnx.ModelProto) -> list[str]:
    """Return the operators whose first two inputs come from DequantizeLinear."""
    made_by = {name: node.op_type for node in made.graph.node for name in node.output}
    return [
        node.op_type
        for node in made.graph.node
        if [made_by.get(name) for name in node.input[:2]] == ["DequantizeLinear"] * 2
    ]


def test_layers_with_shared_weights_are_quantised(tmp_path: Path) -> None:
    """The head of a detector runs on several levels."""
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2]),
        node("Conv", ["p", "w"], ["y"], pads=[1] * 4),
    ]
    made = quantised(saved(tmp_path, nodes, ("N", 3, 8, 8), [weight("w", 3, 3, 3, 3)]))
    assert dequantised(made) == ["Conv", "Conv"]


def test_embedding_that_is_also_a_projection_stays_float(tmp_path: Path) -> None:
    nodes = [
        node("Gather", ["w", "i"], ["e"]),
        node("Add", ["e", "x"], ["h"]),
        node("Gemm", ["h", "w"], ["y"], transB=1),
    ]
    ids = helper.make_tensor_value_info("i", TensorProto.INT64, ("N",))
    made = quantised(saved(tmp_path, nodes, ("N", 8), [weight("w", 4, 8)], (ids,)))
    (gather,) = (one for one in made.graph.node if one.op_type == "Gather")
    assert dequantised(made) == ["Gemm"]
    assert gather.input[0] == "w"


def test_bias_of_a_gemm_is_scaled_by_beta(tmp_path: Path) -> None:
    nodes = [node("Gemm", ["x", "w", "b"], ["h"], beta=4.0), node("Gemm", ["h", "v", "b"], ["y"], beta=0.5, alpha=2.0)]
    assert dequantised(
        quantised(saved(tmp_path, nodes, ("N", 8), [weight("w", 8, 8), weight("v", 8, 8), weight("b", 8)]))
    )


def test_stacked_matrices_have_one_scale(tmp_path: Path) -> None:
    path = saved(tmp_path, [node("MatMul", ["x", "w"], ["y"])], ("N", 3, 4, 8), [weight("w", 3, 8, 5)])
    made = quantised(path)
    assert dequantised(made) == ["MatMul"]
    assert {tuple(tensor.dims) for tensor in made.graph.initializer if tensor.name.endswith("_scale")} == {()}


def test_constant_left_operand_stays_float(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["v", "x"], ["h"]), node("MatMul", ["h", "w"], ["y"])]
    assert dequantised(quantised(saved(tmp_path, nodes, (8, 3), [weight("v", 5, 8), weight("w", 3, 4)]))) == ["MatMul"]
    path = saved(tmp_path, [node("MatMul", ["v", "x"], ["y"])], (8, 3), [weight("v", 5, 8)])
    message = r"none of Conv, .* that can be quantised: a constant on the left of a MatMul stays float: leave int8 out"
    with pytest.raises(BuildError, match=message):
        quantised(path)


def test_float64_weights_are_an_error(tmp_path: Path) -> None:
    double = numpy_helper.from_array(numpy_helper.to_array(weight("w", 8, 8)).astype(np.float64), "w")
    cast = [node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE), node("MatMul", ["d", "w"], ["m"])]
    path = saved(tmp_path, [*cast, node("Cast", ["m"], ["y"], to=TensorProto.FLOAT)], ("N", 8), [double])
    with pytest.raises(
        BuildError, match=r"that can be quantised: their weights are float64: export the model in float32"
    ):
        quantised(path)


@pytest.mark.parametrize(("position", "name"), [(1, "w"), (2, "b")])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weight_with_nan_or_infinity_is_named(position: int, name: str, value: float, tmp_path: Path) -> None:
    path = saved(tmp_path, [node("Gemm", ["x", "w", "b"], ["y"])], ("N", 8), [weight("w", 8, 4), weight("b", 4)])
    made = onnx.load(str(path))
    broken = numpy_helper.to_array(made.graph.initializer[position - 1]).copy()
    broken.flat[1] = value
    made.graph.initializer[position - 1].CopyFrom(numpy_helper.from_array(broken, name))
    onnx.save(made, str(path))
    with pytest.raises(BuildError, match=rf"'{name}' holds 1 NaN or infinities of \d+ values"):
        quantised(path)


def test_nan_that_the_model_computes_is_reported(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["h"]), node("Log", ["h"], ["l"]), node("MatMul", ["l", "v"], ["y"])]
    with pytest.raises(BuildError, match=r"cannot quantise m.onnx: .* \(the model computes NaN or inf"):
        quantised(saved(tmp_path, nodes, ("N", 8), [weight("w", 8, 8), weight("v", 8, 8)]))


def int8_weight(name: str, *shape: int) -> TensorProto:
    return numpy_helper.from_array(np.random.default_rng(1).integers(-100, 100, shape).astype(np.int8), name)


SCALE = numpy_helper.from_array(np.float32(0.01), "s")


def test_float_weights_beside_quantised_ones_are_quantised(tmp_path: Path) -> None:
    """The model has an embedding, and a layer with float activations."""
    pytest.importorskip("onnxruntime", minversion="1.30", reason="the older ones abort on the result")
    ids = helper.make_tensor_value_info("i", TensorProto.INT64, ("N",))
    nodes = [
        node("DequantizeLinear", ["e", "s"], ["table"]),
        node("Gather", ["table", "i"], ["g"]),
        node("Add", ["g", "x"], ["h"]),
        node("DequantizeLinear", ["k", "s"], ["kept"]),
        node("MatMul", ["h", "kept"], ["m"]),
        node("MatMul", ["m", "w"], ["y"]),
    ]
    weights = [int8_weight("e", 4, 8), int8_weight("k", 8, 8), weight("w", 8, 8), SCALE]
    made = quantised(saved(tmp_path, nodes, ("N", 8), weights, (ids,)))
    assert dequantised(made) == ["MatMul"]


@pytest.mark.parametrize("moved", [False, True])
def test_model_with_only_quantised_weights_is_an_error(moved: bool, tmp_path: Path) -> None:
    if not moved:
        pytest.importorskip("onnxruntime", minversion="1.24", reason="the older quantiser fails on this model")
    nodes = [node("DequantizeLinear", ["k", "s"], ["kept"]), node("Transpose", ["kept"], ["t"])]
    nodes.append(node("MatMul", ["x", "t" if moved else "kept"], ["y"]))
    path = saved(tmp_path, nodes, ("N", 8), [int8_weight("k", 8, 8), SCALE])
    with pytest.raises(
        BuildError, match=r": only their weights have Q/DQ, so they compute in float: request fp32 or fp16"
    ):
        quantised(path)


def test_float16_weights_are_quantised(tmp_path: Path) -> None:
    half = numpy_helper.from_array(numpy_helper.to_array(weight("w", 8, 8)).astype(np.float16), "w")
    cast = [node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16), node("MatMul", ["h", "w"], ["m"])]
    nodes = [*cast, node("Cast", ["m"], ["y"], to=TensorProto.FLOAT)]
    made = quantised(saved(tmp_path, nodes, ("N", 8), [half]))
    assert dequantised(made) == ["MatMul"]
    assert any(tuple(t.dims) == (8,) for t in made.graph.initializer if t.name.endswith("_scale"))


def test_shared_and_two_dimensional_biases(tmp_path: Path) -> None:
    """ONNX Runtime's quantiser copies a shared bias under a name that another tensor may have.

    For int32 biases, which TensorRT does not accept, it widens the scales of weights, and fails for a bias of two
    dimensions.
    """
    nodes = [
        node("MatMul", ["x", "u"], ["b0"]),
        node("Gemm", ["b0", "w", "b"], ["h"]),
        node("Gemm", ["h", "v", "b"], ["y"]),
    ]
    weights = [weight("u", 8, 8), weight("w", 8, 8), weight("v", 8, 8), weight("b", 1, 8)]
    assert dequantised(quantised(saved(tmp_path, nodes, ("N", 8), weights))) == ["MatMul", "Gemm", "Gemm"]


@pytest.mark.parametrize(
    ("kind", "groups", "inputs", "outputs", "in_int8"),
    [
        ("Conv", 1, 6, 6, True),
        ("Conv", 2, 8, 16, True),
        ("Conv", 2, 12, 8, False),
        ("Conv", 2, 8, 12, False),
        ("Conv", 6, 6, 6, True),
        ("Conv", 6, 6, 12, False),
        ("ConvTranspose", 2, 8, 16, True),
        ("ConvTranspose", 2, 12, 8, False),
        ("ConvTranspose", 6, 6, 6, False),
    ],
)
def test_channel_groups_without_int8_kernels_stay_float(
    tmp_path: Path, kind: str, groups: int, inputs: int, outputs: int, in_int8: bool
) -> None:
    """A note names the layer; the convolution before it is in int8."""
    first, shape = weight("first", inputs, 4, 1, 1), (outputs, inputs // groups)
    shape = shape if kind == "Conv" else (inputs, outputs // groups)
    nodes = [
        node("Conv", ["x", "first"], ["h"], name="before"),
        node(kind, ["h", "second"], ["y"], name="odd", group=groups),
    ]
    path = saved(tmp_path, nodes, (2, 4, 5, 5), [first, weight("second", *shape, 3, 3)])
    made, notes = quantised_and_noted(path)
    assert dequantised(made) == ["Conv", *([kind] if in_int8 else [])]
    assert [note for note in notes if "odd is not in int8" in note] == list(notes)
    assert bool(notes) is not in_int8


def test_quantising_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """ONNX Runtime warns, at every run, of each output whose shape differs from the declared one."""
    path = saved(tmp_path, [node("MatMul", ["x", "w"], ["y"])], ("N", 8), [weight("w", 8, 8)])
    made = onnx.load(str(path))
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 8)))
    onnx.save(made, str(path))
    int8.quantise(read_model(path), lambda: iter([feed(path)]), tmp_path / "int8.onnx")
    assert capfd.readouterr() == ("", "")
