"""Test the backend of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pytest_trt.engine.backends.base import backend
from pytest_trt.engine.onnx.model_files import copy_model
from pytest_trt.errors import BackendError, BuildError
from pytest_trt.pipeline.open import open_runner
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec


def ones_in_int8(depth: int) -> onnx.ModelProto:
    """x [1, depth] times a matrix of ones, both int8 with 127 for 1.0: each product has the largest possible value."""
    weights = [
        numpy_helper.from_array(np.full((depth, 4), 127, np.int8), "w"),
        numpy_helper.from_array(np.float32(1 / 127), "s"),
        numpy_helper.from_array(np.int8(0), "z"),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, depth])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])
    graph = helper.make_graph(nodes, "ones", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("depth", [4, 64, 1024])
def test_sums_of_int8_do_not_saturate(depth: int, tmp_path: Path) -> None:
    """Two products of an unsigned and a signed byte do not fit the 16 bits in which x86 without VNNI adds them up."""
    onnx.save(ones_in_int8(depth), str(tmp_path / "plan"))
    engine = backend("onnxruntime").load(tmp_path / "plan", "0", EngineSpec(threads=1))
    outputs = engine.run({"x": np.ones((1, depth), np.float32)})  # type: ignore[attr-defined]
    np.testing.assert_allclose(outputs["y"], np.full((1, 4), depth, np.float32), rtol=1e-5)


def test_external_weights_of_constants_are_copied_into_the_plan(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.eye(64, dtype=np.float32), "w")
    nodes = [helper.make_node("Constant", [], ["w"], value=weight), helper.make_node("MatMul", ["x", "w"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 64]) for name in "xy")
    graph = helper.make_graph(nodes, "constant", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "source").mkdir()
    path = tmp_path / "source" / "m.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="w.bin", size_threshold=0, convert_attribute=True)
    copy_model(path, tmp_path / "plan")
    engine = backend("onnxruntime").load(tmp_path / "plan", "0", EngineSpec(threads=1))
    inputs = np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32)
    np.testing.assert_array_equal(engine.run({"x": inputs})["y"], inputs)  # type: ignore[attr-defined]


def test_input_of_a_type_without_numpy_arrays_is_an_error(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("pixels", TensorProto.BFLOAT16, [4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    graph = helper.make_graph([helper.make_node("Cast", ["pixels"], ["y"], to=TensorProto.FLOAT)], "cast", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "plan")
    with pytest.raises(BackendError, match=r"'pixels' is bfloat16, which NumPy arrays cannot hold: export"):
        backend("onnxruntime").load(tmp_path / "plan", "0", EngineSpec(threads=1))


@pytest.mark.parametrize("beside", [False, True], ids=["whole", "weights-beside"])
def test_nodes_of_the_same_name_are_renamed(beside: bool, tmp_path: Path) -> None:
    """TensorRT accepts such models, and ONNX Runtime is its reference."""
    nodes = [helper.make_node("Relu", ["x"], ["a"], "n"), helper.make_node("MatMul", ["a", "w"], ["y"], "n")]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [8, 8]) for name in "xy")
    graph = helper.make_graph(nodes, "twins", [x], [y], [numpy_helper.from_array(np.eye(8, dtype=np.float32), "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "m.onnx"), save_as_external_data=beside, location="w.bin", size_threshold=0)
    inputs = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    engine = backend("onnxruntime").load(tmp_path / "m.onnx", "0", EngineSpec(threads=1))
    np.testing.assert_array_equal(engine.run({"x": inputs})["y"], np.maximum(inputs, 0))  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [TensorProto.BFLOAT16, TensorProto.FLOAT], ids=["throughout", "inside"])
def test_unsupported_bfloat16_is_an_error(kind: int, tmp_path: Path) -> None:
    """ONNX Runtime's own message only names a MatMul."""
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=TensorProto.BFLOAT16),
        helper.make_node("MatMul", ["a", "a"], ["b"]),
        helper.make_node("Cast", ["b"], ["y"], to=kind),
    ]
    x, y = (helper.make_tensor_value_info(name, kind, [4, 4]) for name in "xy")
    graph = helper.make_graph(nodes, "bf16", [x], [y])
    named = "x" if kind == TensorProto.BFLOAT16 else "a"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "plan")
    with pytest.raises(BuildError, match=rf"MatMul.*; '{named}' is bfloat16, .*: export the model in float32"):
        backend("onnxruntime").load(tmp_path / "plan", "0", EngineSpec(threads=1))


@pytest.mark.parametrize("declared", [[1, 4], [4]], ids=["size", "rank"])
def test_output_with_another_shape_than_declared_runs_repeatedly(declared: list[int], tmp_path: Path) -> None:
    """The model was exported for a batch of 1 and got a dynamic input later. ONNX Runtime runs it with a warning.

    With bound outputs, ONNX Runtime rejects the second run.
    """
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "misdeclared",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, declared)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "plan")
    engine = backend("onnxruntime").load(tmp_path / "plan", "0", EngineSpec(threads=1))
    runner = open_runner(engine, {"x": (3, 4)}, PipelineOptions())
    inputs = {"x": np.ones((3, 4), np.float32)}
    np.testing.assert_array_equal(runner.infer(inputs)["y"], inputs["x"])
    runner.set_inputs(inputs)
    assert len(runner.block(3)["ms"]) == 3


def test_errors_omit_status_codes_and_source_locations(tmp_path: Path) -> None:
    """A newer onnx writes newer models than ONNX Runtime reads. Its message follows 300 characters of C++ source."""
    model = ones_in_int8(4)
    model.ir_version = 99
    onnx.save(model, str(tmp_path / "plan"))
    with pytest.raises(BuildError, match=r"^ONNX Runtime \S+ cannot load the model: Unsupported model IR version: 99"):
        backend("onnxruntime").load(tmp_path / "plan", "0", EngineSpec())
    model.ir_version, model.opset_import[0].version = 8, 99
    onnx.save(model, str(tmp_path / "plan"))
    with pytest.raises(BuildError, match=r"cannot load the model: ONNX Runtime only \*guarantees\* support for models"):
        backend("onnxruntime").load(tmp_path / "plan", "0", EngineSpec())


@pytest.mark.parametrize("option", ["cuda_graph", "cold_l2", "expose_dma"])
def test_pipeline_options_that_need_a_gpu_are_errors(option: str, tmp_path: Path) -> None:
    """An earlier version silently measured a warm cache when a cold one was requested."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "plan")
    engine = backend("onnxruntime").load(tmp_path / "plan", "0", EngineSpec())
    with pytest.raises(BackendError, match=f"{option}=True needs a GPU"):
        open_runner(engine, {"x": (1,)}, PipelineOptions(**{option: True}))
