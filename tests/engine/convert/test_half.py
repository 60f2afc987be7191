"""Models converted to fp16, bf16 and int8: run on ONNX Runtime, which says whether they are still right."""

from __future__ import annotations

import importlib.metadata
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pytest_trt.engine.convert import half as precision
from pytest_trt.engine.convert import int8
from pytest_trt.engine.convert.half import convert
from pytest_trt.engine.model.model import read
from pytest_trt.errors import BuildError, ModelError
from pytest_trt.judge.accuracy.allowed_error import DEFAULTS
from pytest_trt.judge.accuracy.verdicts import judge

FLOAT, LIGHT = TensorProto.FLOAT, Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
Save = Callable[..., Path]


def weight(name: str, *shape: int) -> TensorProto:
    random = np.random.default_rng(sum(name.encode()))
    return numpy_helper.from_array((random.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32), name)


def info(name: str, *shape: Any, kind: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes: list[onnx.NodeProto], inputs: list[Any], outputs: list[Any], weights: list[Any]) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def convolutions() -> onnx.ModelProto:
    """A residual block with batch normalisation, pooling, resizing and a classifier."""
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1"], ["a"], pads=[1] * 4),
        node("BatchNormalization", ["a", "s", "b", "m", "v"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("Conv", ["r", "w2"], ["c"], pads=[1] * 4),
        node("Add", ["r", "c"], ["e"]),
        node("Resize", ["e", "", "scales"], ["z"], mode="nearest"),
        node("GlobalAveragePool", ["z"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w3"], ["y"]),
    ]
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")
    variance = numpy_helper.from_array(np.ones(8, np.float32), "v")
    weights = [weight("w1", 8, 3, 3, 3), weight("w2", 8, 8, 3, 3), weight("w3", 8, 10), scales, variance]
    weights += [weight(name, 8) for name in "sbm"]
    return model(nodes, [info("x", "N", 3, 8, 8)], [info("y", "N", 10)], weights)


def branches() -> onnx.ModelProto:
    """An If whose branches take a tensor from around them; one has weights of its own."""
    one = helper.make_graph([helper.make_node("MatMul", ["h", "w2"], ["t"])], "one", [], [info("t", "N", 8)])
    own = [weight("k", 8)]
    two = helper.make_graph([helper.make_node("Mul", ["h", "k"], ["u"])], "two", [], [info("u", "N", 8)], own)
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"]),
        helper.make_node("If", ["c"], ["i"], then_branch=one, else_branch=two),
        helper.make_node("Relu", ["i"], ["y"]),
    ]
    inputs = [info("x", "N", 8), info("c", kind=TensorProto.BOOL)]
    return model(nodes, inputs, [info("y", "N", 8)], [weight("w1", 8, 8), weight("w2", 8, 8)])


def constants() -> onnx.ModelProto:
    """Weights as Constant nodes, in both ways, and a ConstantOfShape that is float by default."""
    node = helper.make_node
    nodes = [
        node("Constant", [], ["w"], value=weight("w", 8, 8)),
        node("Constant", [], ["s"], value_float=2.0),
        node("MatMul", ["x", "w"], ["h"]),
        node("Mul", ["h", "s"], ["m"]),
        node("Shape", ["x"], ["shape"]),
        node("ConstantOfShape", ["shape"], ["z"]),
        node("Add", ["m", "z"], ["y"]),
    ]
    return model(nodes, [info("x", "N", 8)], [info("y", "N", 8)], [])


def recurrent() -> onnx.ModelProto:
    nodes = [helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=8)]
    weights = [weight("w", 1, 32, 8), weight("r", 1, 32, 8)]
    return model(nodes, [info("x", 3, "N", 8)], [info("y", 3, 1, "N", 8)], weights)


def ranked() -> onnx.ModelProto:
    """TopK has to stay float32 between operators that do not."""
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
    """The converter that every test but AutoCast's is about, whatever else is installed."""
    monkeypatch.setattr(precision, "_CONVERTERS", precision._CONVERTERS[1:])


def functions() -> onnx.ModelProto:
    """Functions with a constant of their own, as PyTorch's exporter writes them; two nodes have one name."""
    node, opset = helper.make_node, [helper.make_opsetid("", 17)]
    inside = [node("Constant", [], ["c"], value_float=1.702), node("Mul", ["x", "c"], ["h"]),
              node("Sigmoid", ["h"], ["s"]), node("Mul", ["x", "s"], ["y"])]  # fmt: skip
    gelu = helper.make_function("pkg", "Gelu", ["x"], ["y"], inside, opset)
    nodes = [node("MatMul", ["x", "w1"], ["a"], "/fc"), node("Gelu", ["a"], ["y"], "/act", domain="pkg"),
             node("MatMul", ["y", "w2"], ["z"], "/out")]  # fmt: skip
    made = model(nodes, [info("x", "N", 8)], [info("y", "N", 8), info("z", "N", 8)],
                 [weight("w1", 8, 8), weight("w2", 8, 8)])  # fmt: skip
    made.functions.append(gelu)
    made.opset_import.append(helper.make_opsetid("pkg", 1))
    return made


def passed_through() -> onnx.ModelProto:
    """Outputs that are an input, a weight, and one that stands there twice, none of them last."""
    outputs = [info("x", "N", 8), info("y", "N", 8), info("w", 8, 8), info("y", "N", 8)]
    return model([helper.make_node("MatMul", ["x", "w"], ["y"])], [info("x", "N", 8)], outputs, [weight("w", 8, 8)])


def sparse() -> onnx.ModelProto:
    """Weights of which most are 0 and not stored, by flat indices and by rows and columns."""
    made = model([helper.make_node("MatMul", ["x", "w1"], ["h"]), helper.make_node("MatMul", ["h", "w2"], ["y"])],
                 [info("x", "N", 8)], [info("y", "N", 8)], [])  # fmt: skip
    for name, places in (("w1", np.arange(0, 64, 3)), ("w2", np.stack([np.arange(8), np.arange(8)[::-1]], 1))):
        indices = numpy_helper.from_array(places.astype(np.int64), f"{name}_places")
        made.graph.sparse_initializer.append(helper.make_sparse_tensor(weight(name, len(places)), indices, [8, 8]))
    return made


MODELS = {"convolutions": convolutions, "branches": branches, "constants": constants, "recurrent": recurrent,
          "functions": functions, "passed_through": passed_through, "sparse": sparse}  # fmt: skip


def feed(path: Path, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    return {
        tensor.name: np.array(True)
        if tensor.dtype == "bool"
        else random.standard_normal([2 if size < 0 else size for size in tensor.shape]).astype(tensor.dtype)
        for tensor in read(path).inputs
    }


def infer(path: Path, inputs: dict[str, Any]) -> dict[str, Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return dict(zip([out.name for out in session.get_outputs()], session.run(None, inputs), strict=True))


def saved(made: onnx.ModelProto, folder: Path, name: str = "m.onnx", **external: Any) -> Path:
    onnx.save(made, str(folder / name), **external)
    return folder / name


def types(path: Path) -> set[int]:
    return {tensor.data_type for tensor in onnx.load(str(path)).graph.initializer}


@pytest.mark.parametrize("name", MODELS)
def test_fp16_is_nearly_all_of_a_model_and_right(name: str, tmp_path: Path) -> None:
    path = saved(MODELS[name](), tmp_path)
    conversion = convert(path, "fp16", tmp_path / "half.onnx")
    assert conversion.shares["fp16"] >= (0.5 if name == "passed_through" else 0.9)
    assert conversion.by.startswith("onnxruntime ")
    assert [out.name for out in read(path).outputs] == [out.name for out in read(tmp_path / "half.onnx").outputs]
    inputs = feed(path)
    verdicts = judge(infer(tmp_path / "half.onnx", inputs), infer(path, inputs), DEFAULTS["fp16"], "float32")
    assert [verdict.text for verdict in verdicts if verdict.status != "ok"] == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["half.onnx", "m.onnx"]


@pytest.mark.parametrize("path", sorted(LIGHT.glob("*.onnx")), ids=lambda path: path.stem)
def test_models_of_the_onnx_package_convert_whole(path: Path, tmp_path: Path) -> None:
    for kind in ("fp16", "bf16"):
        conversion = convert(path, kind, tmp_path / f"{kind}.onnx")
        assert conversion.shares == {kind: 1.0}
        assert [tensor.dtype for tensor in read(tmp_path / f"{kind}.onnx").inputs] == ["float32"]


def test_what_must_stay_float32_does_and_is_counted(tmp_path: Path) -> None:
    path = saved(ranked(), tmp_path)
    conversion = convert(path, "fp16", tmp_path / "half.onnx")
    assert conversion.shares == {"fp16": pytest.approx(2 / 3), "fp32": pytest.approx(1 / 3)}
    inputs = feed(path)
    assert infer(tmp_path / "half.onnx", inputs)["y"] == pytest.approx(infer(path, inputs)["y"], abs=0.02)


def test_inputs_and_outputs_keep_their_types_unless_asked(save_model: Save, tmp_path: Path) -> None:
    path = save_model()
    convert(path, "fp16", tmp_path / "kept.onnx")
    convert(path, "fp16", tmp_path / "changed.onnx", keep_io=False)
    for name, dtype in (("kept", "float32"), ("changed", "float16")):
        made = read(tmp_path / f"{name}.onnx")
        assert [tensor.dtype for tensor in (*made.inputs, *made.outputs)] == [dtype] * 2


def test_bf16_leaves_the_float16_that_a_model_has(tmp_path: Path) -> None:
    """Inputs, outputs, weights and operators: they were made bfloat16 with the rest, the model's interface too."""
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
    converted = read(tmp_path / "b.onnx")
    assert [tensor.dtype for tensor in (*converted.inputs, *converted.outputs)] == ["float16", "float16"]
    given = {"x": np.random.default_rng(0).standard_normal((8, 8)).astype(np.float16)}
    got, expected = (ReferenceEvaluator(str(tmp_path / name)).run(None, given)[0] for name in ("b.onnx", "m.onnx"))
    assert got.dtype == np.float16
    assert np.abs(got - expected).max() < 0.1


def test_bf16_keeps_what_float16_would_clip(save_model: Save, tmp_path: Path) -> None:
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


def test_weights_that_nobody_reads_and_whose_type_is_told_again_are_no_fault(save_model: Save, tmp_path: Path) -> None:
    """PyTorch's newer exporter leaves both, and converters change what is told of such a weight, and not the weight."""
    made = onnx.load(str(save_model()))
    made.graph.initializer.append(weight("unread", 3))
    made.graph.value_info.extend([info("unread", 3), info("w0", 32, 32)])
    conversion = convert(saved(made, tmp_path), "fp16", tmp_path / "h.onnx")
    assert conversion.shares == {"fp16": 1.0}


def test_shapes_that_the_operators_contradict_do_not_count(tmp_path: Path) -> None:
    """Runtimes go by what is computed. Exported for one rank and cut out of a larger model, say."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    made = model(nodes, [info("x", "N", 8)], [info("y", 4)], [weight("w", 8, 8)])
    made.graph.value_info.append(info("h", 8, 8, 8))
    path = saved(made, tmp_path)
    assert convert(path, "fp16", tmp_path / "h.onnx").shares == {"fp16": 1.0}
    assert dict(int8.quantise(read(path), batches(path), tmp_path / "q.onnx").shares) == {"int8": 1.0}


def test_a_quantised_model_of_an_old_opset_becomes_fp16_around_its_scales(tmp_path: Path) -> None:
    """Up to opset 18 QuantizeLinear takes float32 alone, and exporters of Q/DQ still write 13 and 17."""
    scale = numpy_helper.from_array(np.float32(0.03), "s")
    zero, factors = numpy_helper.from_array(np.int8(0), "z"), weight("w", 8, 8)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ]
    path = saved(model(nodes, [info("x", "N", 8)], [info("y", "N", 8)], [scale, zero, factors]), tmp_path)
    assert convert(path, "fp16", tmp_path / "half.onnx").shares == {"fp16": 1.0}
    assert read(tmp_path / "half.onnx").opset == 19
    inputs = feed(path)
    assert infer(tmp_path / "half.onnx", inputs)["y"] == pytest.approx(infer(path, inputs)["y"], abs=0.02)


def test_weights_alone_that_are_quantised_in_an_old_opset(tmp_path: Path) -> None:
    """DequantizeLinear, too, gave float32 alone up to opset 18: ONNX Runtime refused what was made of it."""
    values = numpy_helper.from_array(np.random.default_rng(0).integers(-127, 128, (8, 8), np.int8), "q")
    scales = numpy_helper.from_array(np.full(8, 0.01, np.float32), "s")
    nodes = [helper.make_node("DequantizeLinear", ["q", "s"], ["w"]), helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = saved(model(nodes, [info("x", "N", 8)], [info("y", "N", 8)], [values, scales]), tmp_path)
    assert convert(path, "fp16", tmp_path / "half.onnx").shares == {"fp16": 1.0}
    inputs = feed(path)
    assert infer(tmp_path / "half.onnx", inputs)["y"] == pytest.approx(infer(path, inputs)["y"], abs=0.02)


def test_external_data_stays_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "made").mkdir()
    path = saved(convolutions(), tmp_path / "given", save_as_external_data=True, location="m.data", size_threshold=100)
    convert(path, "fp16", tmp_path / "made" / "half.onnx")
    assert read(tmp_path / "made" / "half.onnx").external == ("half.onnx.data",)
    assert sorted(file.name for file in (tmp_path / "given").iterdir()) == ["m.data", "m.onnx"]
    inputs = feed(path)
    found = judge(infer(tmp_path / "made" / "half.onnx", inputs), infer(path, inputs), DEFAULTS["fp16"], "float32")
    assert found[0].status == "ok"


def test_what_is_in_the_precision_already_is_left_as_it_is(save_model: Save, tmp_path: Path) -> None:
    convert(save_model(), "fp16", tmp_path / "half.onnx", keep_io=False)
    again = convert(tmp_path / "half.onnx", "fp16", tmp_path / "again.onnx")
    assert again.shares == {"fp16": 1.0}
    assert "in fp16 already" in again.notes[0]
    assert types(tmp_path / "again.onnx") == {TensorProto.FLOAT16}
    with pytest.raises(BuildError, match="no float32 operators"):
        convert(tmp_path / "half.onnx", "bf16", tmp_path / "b.onnx")


def test_a_model_without_floats_cannot_become_fp16(tmp_path: Path) -> None:
    whole = [info("x", 4, kind=TensorProto.INT64)], [info("y", 4, kind=TensorProto.INT64)]
    path = saved(model([helper.make_node("Abs", ["x"], ["y"])], *whole, []), tmp_path)
    with pytest.raises(BuildError, match=r"m.onnx has no float32 operators: nothing in it can become fp16"):
        convert(path, "fp16", tmp_path / "half.onnx")


def test_a_model_that_must_stay_float32_is_an_error(tmp_path: Path) -> None:
    path = saved(model([helper.make_node("CumSum", ["x", "a"], ["y"])], [info("x", 4)], [info("y", 4)], []), tmp_path)
    made = onnx.load(str(path))
    made.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "a"))
    onnx.save(made, str(path))
    with pytest.raises(BuildError, match=r"fp16 was asked for, and onnxruntime .* left m.onnx without an operator"):
        convert(path, "fp16", tmp_path / "half.onnx")


@pytest.fixture
def no_converter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing of the kind is installed."""

    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)


@pytest.mark.usefixtures("no_converter")
def test_without_a_converter_the_error_names_what_to_install(save_model: Save, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"pip install 'nvidia-modelopt\[onnx\]', onnxruntime, or"):
        convert(save_model(), "fp16", tmp_path / "half.onnx")
    with pytest.raises(BuildError, match=r"pip install 'pytest-trt\[cpu\]'"):
        int8.quantise(read(save_model()), list, tmp_path / "int8.onnx")


def test_onnxconverter_common_serves_where_it_is_what_there_is(
    save_model: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_CONVERTERS", precision._CONVERTERS[-1:])
    path = save_model()
    conversion = convert(path, "fp16", tmp_path / "half.onnx")
    assert conversion.by.startswith("onnxconverter-common ")
    assert conversion.shares == {"fp16": 1.0}
    inputs = feed(path)
    found = judge(infer(tmp_path / "half.onnx", inputs), infer(path, inputs), DEFAULTS["fp16"], "float32")
    assert found[0].status == "ok"


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_autocast_converts_where_it_is_installed(
    name: str, kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("modelopt", reason="nvidia-modelopt is not installed")
    monkeypatch.undo()
    path = saved(MODELS[name](), tmp_path)
    conversion = convert(path, kind, tmp_path / "half.onnx")
    assert conversion.by.startswith("nvidia-modelopt ")
    assert conversion.shares[kind] > 0
    assert [tensor.dtype for tensor in read(tmp_path / "half.onnx").inputs] == [t.dtype for t in read(path).inputs]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["half.onnx", "m.onnx"]
    if kind == "fp16":
        inputs = feed(path)
        found = judge(infer(tmp_path / "half.onnx", inputs), infer(path, inputs), DEFAULTS["fp16"], "float32")
        assert found[0].status == "ok"


def batches(path: Path, count: int = 4) -> Callable[[], Iterator[dict[str, Any]]]:
    return lambda: (feed(path, seed) for seed in range(count))


@pytest.mark.parametrize("name", ["convolutions", "branches", "constants", "functions", "passed_through", "sparse"])
def test_int8_is_right_within_its_steps(name: str, tmp_path: Path) -> None:
    path = saved(MODELS[name](), tmp_path)
    conversion = int8.quantise(read(path), batches(path), tmp_path / "int8.onnx")
    assert conversion.shares["int8"] > 0
    assert read(tmp_path / "int8.onnx").has_qdq
    assert [out.name for out in read(path).outputs] == [out.name for out in read(tmp_path / "int8.onnx").outputs]
    inputs = feed(path)
    verdicts = judge(infer(tmp_path / "int8.onnx", inputs), infer(path, inputs), DEFAULTS["int8"], "float32")
    assert [verdict.text for verdict in verdicts if verdict.status != "ok"] == []
    assert sorted(file.name for file in tmp_path.iterdir()) == ["int8.onnx", "m.onnx"]


def test_an_output_that_is_read_on_is_what_was_computed(tmp_path: Path) -> None:
    made = convolutions()
    made.graph.output.append(info("r", "N", 8, 8, 8))
    path = saved(made, tmp_path)
    int8.quantise(read(path), batches(path), tmp_path / "int8.onnx")
    quantised = onnx.load(str(tmp_path / "int8.onnx"))
    makers = {name: node.op_type for node in quantised.graph.node for name in node.output}
    assert [(value.name, makers[value.name]) for value in quantised.graph.output] == [("y", "Gemm"), ("r", "Relu")]
    second = [node for node in quantised.graph.node if node.op_type == "Conv"][1]
    assert makers[second.input[0]] == "DequantizeLinear"
    inputs = feed(path)
    found = judge(infer(tmp_path / "int8.onnx", inputs), infer(path, inputs), DEFAULTS["int8"], "float32")
    assert [verdict.text for verdict in found if verdict.status != "ok"] == []


def test_int8_is_symmetric_as_tensorrt_demands(tmp_path: Path) -> None:
    path = saved(convolutions(), tmp_path)
    conversion = int8.quantise(read(path), batches(path), tmp_path / "int8.onnx")
    assert conversion.shares == {"int8": 1.0}
    made = onnx.load(str(tmp_path / "int8.onnx"))
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    points = [weights[node.input[2]] for node in made.graph.node if node.op_type.endswith("QuantizeLinear")]
    points += [weights[node.input[2]] for node in made.graph.node if node.op_type == "DequantizeLinear"]
    assert points
    assert all(point.dtype == np.int8 and not point.any() for point in points)
    assert any(point.size == 8 for point in points), "no weight is quantised per channel"
    nodes = [node for node in made.graph.node if node.op_type == "Conv"]
    kernels = [a.ints for node in nodes for a in node.attribute if a.name == "kernel_shape"]
    assert len(kernels) == len(nodes) > 0  # TensorRT 8.6 asks for them
    assert all(len(kernel) == 2 for kernel in kernels)


def test_a_package_that_the_quantiser_imports_is_named_where_it_is_absent(
    save_model: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("onnxruntime.quantization")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(BuildError, match=r"onnxruntime .* cannot quantise without the package ml_dtypes: pip install"):
        int8.quantise(read(path := save_model()), batches(path), tmp_path / "int8.onnx")


def test_old_opsets_are_raised_to_where_channels_can_be_quantised(save_model: Save, tmp_path: Path) -> None:
    made = onnx.load(str(save_model()))
    made.opset_import[0].version = 11
    path = saved(made, tmp_path)
    conversion = int8.quantise(read(path), batches(path), tmp_path / "int8.onnx")
    assert (conversion.shares, conversion.notes) == ({"int8": 1.0}, ())
    assert read(tmp_path / "int8.onnx").opset >= int8.PER_CHANNEL_OPSET
    infer(tmp_path / "int8.onnx", feed(path))


def test_int8_of_a_model_with_external_data(tmp_path: Path) -> None:
    path = saved(convolutions(), tmp_path, save_as_external_data=True, location="m.data", size_threshold=100)
    int8.quantise(read(path), batches(path), tmp_path / "int8.onnx")
    inputs = feed(path)
    assert judge(infer(tmp_path / "int8.onnx", inputs), infer(path, inputs), DEFAULTS["int8"], "it")[0].status == "ok"


def fails() -> Iterator[dict[str, Any]]:
    raise OSError("the disk with the pictures is gone")
    yield {}


def test_int8_is_calibrated_on_inputs_of_unknown_rank(tmp_path: Path) -> None:
    made = model([helper.make_node("MatMul", ["x", "w"], ["y"])], [info("x")], [info("y", 4, 8)], [weight("w", 8, 8)])
    made.graph.input[0].type.tensor_type.ClearField("shape")
    batch = {"x": np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)}
    conversion = int8.quantise(read(saved(made, tmp_path)), lambda: [batch], tmp_path / "int8.onnx")
    assert conversion.shares == {"int8": 1.0}


@pytest.mark.parametrize(
    ("calibration", "said"),
    [
        (fails, "the function raised OSError: the disk with the pictures is gone"),
        (list, "the function yielded nothing"),
        (lambda: [{"X": np.zeros((1, 3, 8, 8), np.float32)}], r"batch 1: the engine has no input 'X': .*'x'"),
        (lambda: [{"x": np.zeros((1, 3, 9, 8), np.float32)}], r"batch 1: input 'x' has the shape \(1, 3, 9, 8\)"),
        (lambda: [{"x": np.zeros((1, 3, 8, 8))}], "batch 1: input 'x' is float64: it must be float32"),
        (lambda: [3], "batch 1: inputs are a int: give a dict"),
        (lambda: 3, "the function returned int: it must yield dicts"),
    ],
)
def test_a_calibration_that_cannot_be_used_is_told(calibration: Any, said: str, tmp_path: Path) -> None:
    subject = read(saved(convolutions(), tmp_path))
    with pytest.raises(BuildError, match=rf"int8 calibration of m.onnx.*{said}"):
        int8.fingerprint(subject, calibration)
    with pytest.raises(BuildError, match=rf"int8 calibration of m.onnx.*{said}"):
        int8.quantise(subject, calibration, tmp_path / "int8.onnx")


def test_a_model_with_nothing_to_quantise_is_an_error(tmp_path: Path) -> None:
    path = saved(recurrent(), tmp_path)
    with pytest.raises(BuildError, match=r"int8 was asked for, and m.onnx has none of Conv, .* with weights"):
        int8.quantise(read(path), batches(path), tmp_path / "int8.onnx")


def test_the_fingerprint_follows_what_is_calibrated_on(tmp_path: Path) -> None:
    path = saved(convolutions(), tmp_path)
    subject = read(path)
    assert int8.fingerprint(subject, batches(path)) == int8.fingerprint(subject, batches(path))
    assert int8.fingerprint(subject, batches(path)) != int8.fingerprint(subject, batches(path, 3))


def test_a_circle_of_nodes_is_an_error(tmp_path: Path) -> None:
    node = helper.make_node
    nodes = [node("Add", ["x", "b"], ["a"], "first"), node("Relu", ["a"], ["c"]), node("MatMul", ["c", "w"], ["b"])]
    path = saved(model(nodes, [info("x", "N", 8)], [info("b", "N", 8)], [weight("w", 8, 8)]), tmp_path)
    said = r"m\.onnx: node .* \((Add|Relu|MatMul)\) reads what is computed from its own output"
    with pytest.raises(ModelError, match=said):
        convert(path, "fp16", tmp_path / "half.onnx")


@pytest.mark.parametrize("kind", ["fp16", "bf16"])
def test_an_output_that_nothing_makes_is_an_error(kind: Any, save_model: Save, tmp_path: Path) -> None:
    made = onnx.load(str(save_model()))
    made.graph.output.append(info("unmade", "N", 8))
    with pytest.raises(ModelError, match=r"m\.onnx: nothing in it makes the output 'unmade': export the model again"):
        convert(saved(made, tmp_path), kind, tmp_path / "half.onnx")


def test_other_packages_are_kept_quiet_and_logging_as_it_was(tmp_path: Path) -> None:
    path = saved(convolutions(), tmp_path)
    root = logging.getLogger()
    before = (list(root.handlers), root.level, root.manager.disable)
    int8.quantise(read(path), batches(path), tmp_path / "int8.onnx")
    assert (list(root.handlers), root.level, root.manager.disable) == before
