"""Test builds and loads with TensorRT's own builder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from gpu_workshop import RANGES, Workshop, assert_close, conv_inputs
from onnx import TensorProto, helper

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.base import BuildJob
from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.engine.backends.tensorrt.precision import with_precision_preferred
from pytest_trt.errors import BackendError, BuildError
from pytest_trt.pipeline.open import open_runner
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec


def test_environment_has_device_driver_and_versions(workshop: Workshop) -> None:
    found = workshop.backend.environment("0")
    assert found.kind == "gpu"
    assert found.device == cuda.device("0").name
    assert found.backend_version == workshop.backend.version()
    assert found.compute_capability
    assert found.driver


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_build_proves_its_precision(workshop: Workshop, precision: str) -> None:
    if versions.strongly_typed("tensorrt", workshop.backend.version()) and precision == "fp16":
        pytest.skip("needs a TensorRT that is not strongly typed")
    report, plan = workshop.build("wide", (RANGES["wide"],), precision=precision, optimization_level=1)
    assert report.proved_by == "inspector"
    assert report.precisions[precision] > 0.5
    assert report.plan_bytes == plan.stat().st_size
    assert any("conv0" in node for layer in report.layers for node in layer.nodes)


def test_small_network_has_the_requested_precision(workshop: Workshop, reference: Callable[..., Any]) -> None:
    """The network is built as timing chooses, and with fp16 preferred, as if timing had chosen only FP32."""
    if versions.strongly_typed("tensorrt", workshop.backend.version()):
        pytest.skip("needs a TensorRT that is not strongly typed")
    chosen, _ = workshop.build("conv", (RANGES["conv"],), precision="fp16")
    assert chosen.precisions["fp16"] > 0
    float32 = dataclasses.replace(chosen, precisions={"fp32": 1.0})
    spec = with_precision_preferred(EngineSpec(precision="fp16"), float32)
    assert spec is not None
    preferred, plan = workshop.build(
        "conv", (RANGES["conv"],), precision="fp16", layer_precisions=dict(spec.layer_precisions),
        precision_constraints=spec.precision_constraints,
    )  # fmt: skip
    print(chosen.precisions, chosen.notes, preferred.precisions)
    assert preferred.precisions["fp16"] > 0
    engine = workshop.load(plan)
    runner = open_runner(engine, {"x": (4, 3, 32, 32)}, PipelineOptions())
    inputs = conv_inputs(4, seed=8)
    assert_close(runner.infer(inputs), reference("conv", inputs), 2e-2)
    runner.close()
    engine.close()


def test_plan_has_inputs_outputs_and_profiles(workshop: Workshop, conv_plan: Path) -> None:
    engine = workshop.load(conv_plan)
    assert [(t.name, t.dtype, t.shape) for t in engine.inputs] == [("x", "float32", (-1, 3, 32, 32))]
    assert {t.name for t in engine.outputs} == {"y", "z"}
    assert engine.profiles[0]["x"] == RANGES["conv"]["x"]
    assert engine.layers()
    engine.close()


def test_timing_cache_is_written_and_read(workshop: Workshop, tmp_path: Path) -> None:
    cache = tmp_path / "timing.cache"
    sizes = []
    for name in ("conv", "gather"):
        folder = tmp_path / name
        folder.mkdir()
        profiles = (RANGES["conv"] if name == "conv" else {"ids": ((1, 4), (2, 4), (4, 4))},)
        spec = EngineSpec(optimization_level=1)
        job = BuildJob("tensorrt", "0", spec, str(workshop.model(name)), str(folder), profiles, str(cache))
        workshop.backend.build(job, lambda text, share: None)
        sizes.append(cache.stat().st_size)
    assert sizes[1] >= sizes[0] > 100
    cache.write_bytes(b"this is no timing cache" * 100)
    report = workshop.backend.build(job, lambda text, share: None)
    assert cache.stat().st_size > 100
    assert report.plan_bytes


def test_unknown_operator_is_named_with_its_node(workshop: Workshop, tmp_path: Path) -> None:
    nodes = [helper.make_node("Nonsense", ["x"], ["y"], "the_odd_one", domain="no.such")]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("no.such", 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=opsets, ir_version=8)
    path = tmp_path / "odd.onnx"
    onnx.save(model, str(path))
    job = BuildJob("tensorrt", "0", EngineSpec(), str(path), str(tmp_path))
    with pytest.raises(BuildError, match=r"parser rejects odd\.onnx.*the_odd_one \(Nonsense\)"):
        workshop.backend.build(job, lambda text, share: None)


def test_dimensions_named_question_mark_may_differ(workshop: Workshop, tmp_path: Path) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["?", "?"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    spec = EngineSpec(optimization_level=0)
    job = BuildJob("tensorrt", "0", spec, str(path), str(tmp_path), ({"x": ((2, 4), (2, 6), (2, 8))},))
    workshop.backend.build(job, lambda text, share: None)
    engine: Any = workshop.backend.load(tmp_path / "plan", "0", spec)
    runner = open_runner(engine, {"x": (2, 6)}, PipelineOptions())
    try:
        x = np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6)
        np.testing.assert_array_equal(runner.infer({"x": x})["y"], np.maximum(x, 0))
    finally:
        runner.close()
        engine.close()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"precision": "int8"}, "QuantizeLinear"),
        ({"compute_capabilities": (89,)}, "compute_capabilities is not in tensorrt .*: TensorRT-RTX has it"),
        ({"tactic_sources": ("NONSENSE",)}, "tactic_sources: 'NONSENSE' is not in tensorrt"),
    ],
)
def test_unsupported_options_are_errors(workshop: Workshop, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        workshop.build("conv", (RANGES["conv"],), **spec)


def test_plan_of_another_product_is_an_error(workshop: Workshop, tmp_path: Path) -> None:
    plan = tmp_path / "plan"
    plan.write_bytes(b"vtrt" + bytes(20) + bytes([1, 7, 1, 116]) + bytes(100))
    with pytest.raises(BackendError, match=r"built by TensorRT-RTX 1\.7\.1\.116: tensorrt cannot run it"):
        workshop.load(plan)
    plan.write_bytes(b"not a plan at all, but long enough")
    with pytest.raises(BackendError, match="is not a TensorRT plan"):
        workshop.load(plan)


def test_truncated_plan_is_an_error(workshop: Workshop, conv_plan: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan"
    plan.write_bytes(conv_plan.read_bytes()[:2000])
    with pytest.raises(BackendError, match=rf"was cut short: it has 2000 of {conv_plan.stat().st_size} bytes"):
        workshop.load(plan)


def test_version_compatible_plan_is_saved_for_the_lean_runtime(
    workshop: Workshop, conv_plan: Path, plans: Path
) -> None:
    """Leaves the plan, an input and its output for test_gpu_lean, and a plan that is of this version only."""
    _, plan = workshop.build("conv", (RANGES["conv"],), version_compatible=True)
    with pytest.raises(BackendError, match="engine_host_code_allowed=True"):
        workshop.load(plan)
    workshop.load(plan, version_compatible=True).close()
    (plans / "plain.plan").write_bytes(conv_plan.read_bytes())
    leave(workshop, plan, plans / "conv", conv_inputs(4, seed=5))


def test_plans_with_memory_formats_are_saved_for_the_lean_runtime(workshop: Workshop, plans: Path) -> None:
    """Save version-compatible plans with memory formats, which the lean runtime describes in words."""
    if not versions.has(versions.import_package("tensorrt"), "io_dtypes"):
        pytest.skip("needs a TensorRT that is not strongly typed")
    half = {name: array.astype(np.float16) for name, array in conv_inputs(4, seed=6).items()}
    for layout in ("hwc8", "chw2"):
        _, plan = workshop.build(
            "conv", (RANGES["conv"],), version_compatible=True, precision="fp16", io_dtypes={"x": "fp16", "z": "fp16"},
            io_formats={"x": layout, "z": layout},
        )  # fmt: skip
        leave(workshop, plan, plans / layout, half)


def leave(workshop: Workshop, plan: Path, path: Path, inputs: dict[str, Any]) -> None:
    """The plan as `path`.plan, and what it makes of the inputs as `path`.npz."""
    engine = workshop.load(plan, engine_host_code_allowed=True)
    runner = open_runner(engine, {"x": inputs["x"].shape}, PipelineOptions())
    outputs = runner.infer(inputs)
    path.with_suffix(".plan").write_bytes(plan.read_bytes())
    np.savez(path.with_suffix(".npz"), x=inputs["x"], **outputs)
    runner.close()
    engine.close()
