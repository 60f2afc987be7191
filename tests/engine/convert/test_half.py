"""Test models converted to fp16 and bf16, against the original models on ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from samples.conversions import (
    FLOAT,
    LIGHT,
    MODELS,
    Save,
    batches,
    convolutions,
    differences,
    feed,
    infer,
    info,
    model,
    saved,
    weight,
)

from pytest_trt.engine.convert import converters, int8
from pytest_trt.engine.convert.half import convert
from pytest_trt.engine.model.model import read_model
from pytest_trt.errors import BuildError, ModelError


def ranked() -> onnx.ModelProto:
    """A model whose TopK has to stay float32 between operators that become fp16."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("TopK", ["h", "k"], ["v", "i"]),
        helper.make_node("Mul", ["v", "v"], ["y"]),
    ]
    k = numpy_helper.from_array(np.array([3], np.int64), "k")
    outputs = [info("y", "N", 3), info("i", "N", 3, kind=TensorProto.INT64)]
    return model(nodes, [info("x", "N", 8)], outputs, [weight("w", 8, 8), k])


@pytest.fixture(autouse=True)
def onnx_runtimes_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use ONNX Runtime's converter, even if AutoCast is installed."""
    monkeypatch.setattr(converters, "PACKAGES", converters.PACKAGES[1:])


def types(path: Path) -> set[int]:
    return {tensor.data_type for tensor in onnx.load(str(path)).graph.initializer}


@pytest.mark.parametrize("name", MODELS)
def test_fp16_covers_nearly_all_of_a_model_and_is_accurate(name: str, tmp_path: Path) -> None:
    path = saved(MODELS[name](), tmp_path)
    conversion = convert(path, "fp16", tmp_path / "half.onnx")
    assert conversion.shares["fp16"] >= (0.5 if name == "passed_through" else 0.9)
    assert conversion.converter.startswith("onnxruntime ")
    assert [out.name for out in read_model(path).outputs] == [
        out.name for out in read_model(tmp_path / "half.onnx").outputs
    ]
    assert differences(tmp_path / "half.onnx", path, "fp16") == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["half.onnx", "m.onnx"]


@pytest.mark.parametrize("path", sorted(LIGHT.glob("*.onnx")), ids=lambda path: path.stem)
def test_models_of_the_onnx_package_convert_completely(path: Path, tmp_path: Path) -> None:
    for kind in ("fp16", "bf16"):
        conversion = convert(path, kind, tmp_path / f"{kind}.onnx")
        assert conversion.shares == {kind: 1.0}
        assert [tensor.dtype for tensor in read_model(tmp_path / f"{kind}.onnx").inputs] == ["float32"]


def test_operators_that_must_stay_float32_are_counted(tmp_path: Path) -> None:
    path = saved(ranked(), tmp_path)
    conversion = convert(path, "fp16", tmp_path / "half.onnx")
    assert conversion.shares == {"fp16": pytest.approx(2 / 3), "fp32": pytest.approx(1 / 3)}
    inputs = feed(path)
    assert infer(tmp_path / "half.onnx", inputs)["y"] == pytest.approx(infer(path, inputs)["y"], abs=0.02)


def test_inputs_and_outputs_keep_their_types_by_default(save_model: Save, tmp_path: Path) -> None:
    path = save_model()
    convert(path, "fp16", tmp_path / "kept.onnx")
    convert(path, "fp16", tmp_path / "changed.onnx", keep_io=False)
    for name, dtype in (("kept", "float32"), ("changed", "float16")):
        made = read_model(tmp_path / f"{name}.onnx")
        assert [tensor.dtype for tensor in (*made.inputs, *made.outputs)] == [dtype] * 2


def test_bf16_keeps_existing_float16(tmp_path: Path) -> None:
    """An earlier version converted float16 inputs, outputs, weights and operators to bfloat16 as well."""
    pytest.importorskip("onnx", minversion="1.19", reason="the older evaluator rounds bfloat16 wrongly")
    node, half = helper.make_node, TensorProto.FLOAT16
    own = numpy_helper.from_array(numpy_helper.to_array(weight("v", 8, 8)).astype(np.float16), "v")
    nodes = [
        node("Cast", ["x"], ["f"], to=FLOAT),
        node("MatMul", ["f", "w"], ["a"]),
        node("Cast", ["a"], ["h"], to=half),
        node("MatMul", ["h", "v"], ["b"]),
        node("Cast", ["v"], ["u"], to=FLOAT),
        node("Cast", ["b"], ["g"], to=FLOAT),
        node("Add", ["g", "u"], ["d"]),
        node("Cast", ["d"], ["y"], to=half),
    ]
    made = model(nodes, [info("x", 8, 8, kind=half)], [info("y", 8, 8, kind=half)], [weight("w", 8, 8), own])
    conversion = convert(saved(made, tmp_path), "bf16", tmp_path / "b.onnx")
    assert conversion.shares == {"bf16": pytest.approx(2 / 3), "fp16": pytest.approx(1 / 3)}
    converted = read_model(tmp_path / "b.onnx")
    assert [tensor.dtype for tensor in (*converted.inputs, *converted.outputs)] == ["float16", "float16"]
    inputs = {"x": np.random.default_rng(0).standard_normal((8, 8)).astype(np.float16)}
    got, expected = (ReferenceEvaluator(str(tmp_path / name)).run(None, inputs)[0] for name in ("b.onnx", "m.onnx"))
    assert got.dtype == np.float16
    assert np.abs(got - expected).max() < 0.1


def test_bf16_keeps_values_that_float16_would_clip(save_model: Save, tmp_path: Path) -> None:
    import ml_dtypes

    made = onnx.load(str(save_model()))
    large = np.full((32, 32), 1e10, np.float32)
    made.graph.initializer[0].CopyFrom(numpy_helper.from_array(large, "w0"))
    path = saved(made, tmp_path)
    conversion = convert(path, "bf16", tmp_path / "b.onnx")
    assert conversion.shares == {"bf16": 1.0}
    assert conversion.notes == ()
    assert types(tmp_path / "b.onnx") == {TensorProto.BFLOAT16}
    kept = onnx.load(str(tmp_path / "b.onnx")).graph.initializer[0]
    assert (numpy_helper.to_array(kept).astype(np.float32) == large.astype(ml_dtypes.bfloat16)).all()


def test_unread_weights_with_repeated_types_are_no_error(save_model: Save, tmp_path: Path) -> None:
    """PyTorch's newer exporter writes both. Converters change the repeated type, but not the weight itself."""
    made = onnx.load(str(save_model()))
    made.graph.initializer.append(weight("unread", 3))
    made.graph.value_info.extend([info("unread", 3), info("w0", 32, 32)])
    conversion = convert(saved(made, tmp_path), "fp16", tmp_path / "h.onnx")
    assert conversion.shares == {"fp16": 1.0}


def test_wrong_declared_shapes_are_ignored(tmp_path: Path) -> None:
    """Runtimes ignore wrong declared shapes, such as those of a part that was cut out of a larger model."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    made = model(nodes, [info("x", "N", 8)], [info("y", 4)], [weight("w", 8, 8)])
    made.graph.value_info.append(info("h", 8, 8, 8))
    path = saved(made, tmp_path)
    assert convert(path, "fp16", tmp_path / "h.onnx").shares == {"fp16": 1.0}
    assert dict(int8.quantise(read_model(path), batches(path), tmp_path / "q.onnx").shares) == {"int8": 1.0}


def test_quantised_model_of_an_old_opset_becomes_fp16(tmp_path: Path) -> None:
    """Up to opset 18, QuantizeLinear only accepts float32, and exporters of Q/DQ still write opsets 13 and 17."""
    scale = numpy_helper.from_array(np.float32(0.03), "s")
    zero, factors = numpy_helper.from_array(np.int8(0), "z"), weight("w", 8, 8)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ]
    path = saved(model(nodes, [info("x", "N", 8)], [info("y", "N", 8)], [scale, zero, factors]), tmp_path)
    assert convert(path, "fp16", tmp_path / "half.onnx").shares == {"fp16": 1.0}
    assert read_model(tmp_path / "half.onnx").opset == 19
    inputs = feed(path)
    assert infer(tmp_path / "half.onnx", inputs)["y"] == pytest.approx(infer(path, inputs)["y"], abs=0.02)


def test_quantised_weights_of_an_old_opset_become_fp16(tmp_path: Path) -> None:
    """Up to opset 18, DequantizeLinear only returns float32, so ONNX Runtime rejected the converted model."""
    values = numpy_helper.from_array(np.random.default_rng(0).integers(-127, 128, (8, 8), np.int8), "q")
    scales = numpy_helper.from_array(np.full(8, 0.01, np.float32), "s")
    nodes = [helper.make_node("DequantizeLinear", ["q", "s"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = saved(model(nodes, [info("x", "N", 8)], [info("y", "N", 8)], [values, scales]), tmp_path)
    assert convert(path, "fp16", tmp_path / "half.onnx").shares == {"fp16": 1.0}
    inputs = feed(path)
    assert infer(tmp_path / "half.onnx", inputs)["y"] == pytest.approx(infer(path, inputs)["y"], abs=0.02)


def test_external_data_is_written_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "converted").mkdir()
    path = saved(convolutions(), tmp_path / "source", save_as_external_data=True, location="m.data", size_threshold=100)
    convert(path, "fp16", tmp_path / "converted" / "half.onnx")
    assert read_model(tmp_path / "converted" / "half.onnx").external == ("half.onnx.data",)
    assert sorted(file.name for file in (tmp_path / "source").iterdir()) == ["m.data", "m.onnx"]
    assert differences(tmp_path / "converted" / "half.onnx", path, "fp16") == []


def test_model_already_in_the_precision_is_unchanged(save_model: Save, tmp_path: Path) -> None:
    convert(save_model(), "fp16", tmp_path / "half.onnx", keep_io=False)
    again = convert(tmp_path / "half.onnx", "fp16", tmp_path / "again.onnx")
    assert again.shares == {"fp16": 1.0}
    assert "in fp16 already" in again.notes[0]
    assert types(tmp_path / "again.onnx") == {TensorProto.FLOAT16}
    with pytest.raises(BuildError, match="no float32 operators"):
        convert(tmp_path / "half.onnx", "bf16", tmp_path / "b.onnx")


def test_model_without_floats_cannot_become_fp16(tmp_path: Path) -> None:
    whole = [info("x", 4, kind=TensorProto.INT64)], [info("y", 4, kind=TensorProto.INT64)]
    path = saved(model([helper.make_node("Abs", ["x"], ["y"])], *whole, []), tmp_path)
    with pytest.raises(BuildError, match=r"m.onnx has no float32 operators: nothing in it can become fp16"):
        convert(path, "fp16", tmp_path / "half.onnx")


def test_model_that_must_stay_float32_is_an_error(tmp_path: Path) -> None:
    path = saved(model([helper.make_node("CumSum", ["x", "a"], ["y"])], [info("x", 4)], [info("y", 4)], []), tmp_path)
    made = onnx.load(str(path))
    made.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "a"))
    onnx.save(made, str(path))
    with pytest.raises(BuildError, match=r"fp16 was requested, but onnxruntime .* left m.onnx without an operator"):
        convert(path, "fp16", tmp_path / "half.onnx")


def test_cycle_of_nodes_is_an_error(tmp_path: Path) -> None:
    node = helper.make_node
    nodes = [node("Add", ["x", "b"], ["a"], "first"), node("Relu", ["a"], ["c"]), node("MatMul", ["c", "w"], ["b"])]
    path = saved(model(nodes, [info("x", "N", 8)], [info("b", "N", 8)], [weight("w", 8, 8)]), tmp_path)
    message = r"m\.onnx: node .* \((Add|Relu|MatMul)\) reads what is computed from its own output"
    with pytest.raises(ModelError, match=message):
        convert(path, "fp16", tmp_path / "half.onnx")


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_output_that_no_node_computes_is_an_error(kind: Any, save_model: Save, tmp_path: Path) -> None:
    made = onnx.load(str(save_model()))
    made.graph.output.append(info("unmade", "N", 8))
    with pytest.raises(ModelError, match=r"m\.onnx: no node computes the output 'unmade': export the model again"):
        convert(saved(made, tmp_path), kind, tmp_path / "half.onnx")
