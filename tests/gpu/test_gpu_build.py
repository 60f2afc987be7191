"""Builds and loads with TensorRT's own builder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from gpu_workshop import RANGES, Workshop, conv_inputs
from onnx import TensorProto, helper

from pytest_trt import cuda
from pytest_trt.backends import tensorrt_versions as versions
from pytest_trt.backends.base import BuildJob
from pytest_trt.errors import BackendError, BuildError
from pytest_trt.pipeline.runner import open_runner
from pytest_trt.spec import EngineSpec, PipelineOptions


def test_the_environment_names_device_driver_and_versions(workshop: Workshop) -> None:
    found = workshop.backend.environment("0")
    assert found.kind == "gpu"
    assert found.device == cuda.device("0").name
    assert found.backend_version == workshop.backend.version()
    assert found.compute_capability
    assert found.driver


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_build_proves_its_precision(workshop: Workshop, precision: str) -> None:
    if versions.strongly_typed("tensorrt", workshop.backend.version()) and precision == "fp16":
        pytest.skip("needs a TensorRT that is not strongly typed")
    report, plan = workshop.build("wide", (RANGES["wide"],), precision=precision, optimization_level=2)
    assert report.proved_by == "inspector"
    assert report.precisions[precision] > 0.5
    assert report.plan_bytes == plan.stat().st_size
    assert any("conv0" in node for layer in report.layers for node in layer.nodes)


def test_a_given_plan_tells_inputs_outputs_and_profiles(workshop: Workshop, conv_plan: Path) -> None:
    engine = workshop.load(conv_plan)
    assert [(t.name, t.dtype, t.shape) for t in engine.inputs] == [("x", "float32", (-1, 3, 32, 32))]
    assert {t.name for t in engine.outputs} == {"y", "z"}
    assert engine.profiles[0]["x"] == RANGES["conv"]["x"]
    assert engine.layers()
    engine.close()


def test_the_timing_cache_is_written_and_read(workshop: Workshop, tmp_path: Path) -> None:
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


def test_an_unknown_operator_is_named_with_its_node(workshop: Workshop, tmp_path: Path) -> None:
    nodes = [helper.make_node("Nonsense", ["x"], ["y"], "the_odd_one", domain="no.such")]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("no.such", 1)]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y]), opset_imports=opsets, ir_version=8)
    path = tmp_path / "odd.onnx"
    onnx.save(model, str(path))
    job = BuildJob("tensorrt", "0", EngineSpec(), str(path), str(tmp_path))
    with pytest.raises(BuildError, match=r"parser refuses odd\.onnx.*the_odd_one \(Nonsense\)"):
        workshop.backend.build(job, lambda text, share: None)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"precision": "int8"}, "QuantizeLinear"),
        ({"compute_capabilities": (89,)}, "compute_capabilities is not in tensorrt .*: TensorRT-RTX has it"),
        ({"tactic_sources": ("NONSENSE",)}, "tactic_sources: 'NONSENSE' is not in tensorrt"),
    ],
)
def test_what_this_tensorrt_cannot_do_is_said(workshop: Workshop, spec: dict[str, Any], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        workshop.build("conv", (RANGES["conv"],), **spec)


def test_a_plan_of_another_product_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    plan = tmp_path / "plan"
    plan.write_bytes(b"vtrt" + bytes(20) + bytes([1, 7, 1, 116]) + bytes(100))
    with pytest.raises(BackendError, match=r"built by TensorRT-RTX 1\.7\.1\.116: tensorrt cannot run it"):
        workshop.load(plan)
    plan.write_bytes(b"not a plan at all, but long enough")
    with pytest.raises(BackendError, match="is no TensorRT plan"):
        workshop.load(plan)


def test_a_truncated_plan_is_refused(workshop: Workshop, conv_plan: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan"
    plan.write_bytes(conv_plan.read_bytes()[:2000])
    with pytest.raises(BackendError, match="cannot be loaded"):
        workshop.load(plan)


def test_a_version_compatible_plan_goes_to_the_lean_runtime(workshop: Workshop, conv_plan: Path, plans: Path) -> None:
    """Leaves the plan, an input and its output for test_gpu_lean, and a plan that is of this version only."""
    _, plan = workshop.build("conv", (RANGES["conv"],), version_compatible=True)
    with pytest.raises(BackendError, match="engine_host_code_allowed=True"):
        workshop.load(plan)
    workshop.load(plan, version_compatible=True).close()
    engine = workshop.load(plan, engine_host_code_allowed=True)
    runner = open_runner(engine, {"x": (4, 3, 32, 32)}, PipelineOptions())
    inputs = conv_inputs(4, seed=5)
    outputs = runner.infer(inputs)
    (plans / "conv.plan").write_bytes(plan.read_bytes())
    (plans / "plain.plan").write_bytes(conv_plan.read_bytes())
    np.savez(plans / "conv.npz", x=inputs["x"], **outputs)
    runner.close()
    engine.close()
