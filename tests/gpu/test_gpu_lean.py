"""Test the lean and dispatch runtimes on plans of TensorRT's builder."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pytest_trt.engine.backends.base import BuildJob, backend
from pytest_trt.engine.dlpack import take_arrays
from pytest_trt.errors import BackendError, BuildError, InputError
from pytest_trt.measure.engine_probe import EngineProbe, Subject
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.pipeline.open import open_runner
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec


@pytest.mark.parametrize("name", ["tensorrt_lean", "tensorrt_dispatch"])
def test_version_compatible_plan_has_the_same_outputs(plans: Path, name: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs the package {name}")
    if not (plans / "conv.plan").exists():
        pytest.skip("needs conv.plan in PYTEST_TRT_PLANS, which a run with TensorRT's builder leaves there")
    stored = np.load(plans / "conv.npz")
    lean, trusted = backend(name), EngineSpec(engine_host_code_allowed=True)
    with pytest.raises(BackendError, match=rf"but this is {name} .*engine_host_code_allowed=True|cannot be loaded"):
        lean.load(plans / "conv.plan", "0", EngineSpec())
    with pytest.raises(BackendError, match=rf"built by TensorRT .* cannot be loaded by {name} {lean.version()}"):
        lean.load(plans / "plain.plan", "0", trusted)
    with pytest.raises(BuildError, match=f"{name} cannot build engines: build the plan with tensorrt, and name it in"):
        lean.build(BuildJob(name, "0", EngineSpec(), "m.onnx", str(plans)), lambda text, share: None)
    engine = lean.load(plans / "conv.plan", "0", trusted)
    runner = open_runner(engine, {"x": (4, 3, 32, 32)}, PipelineOptions())
    inputs = {"x": stored["x"]}
    first, second = runner.infer(inputs), runner.infer(inputs)
    for name in ("y", "z"):
        np.testing.assert_allclose(first[name], stored[name], rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(first[name], second[name])
    runner.set_inputs(inputs)
    times = runner.block(10)
    assert len(times["gpu_ms"]) == 10
    assert runner.memory()["weights"] > 0
    assert runner.profile(3).layers
    print(dict(runner.proof), dict(runner.memory()), engine.layers()[:1])
    runner.close()
    engine.close()


@pytest.mark.parametrize("name", ["tensorrt_lean", "tensorrt_dispatch"])
@pytest.mark.parametrize("layout", ["hwc8", "chw2"])
def test_inputs_and_outputs_use_their_memory_formats(plans: Path, name: str, layout: str) -> None:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"needs the package {name}")
    if not (plans / f"{layout}.plan").exists():
        pytest.skip(f"needs {layout}.plan in PYTEST_TRT_PLANS, which a run with TensorRT's builder leaves there")
    stored = np.load(plans / f"{layout}.npz")
    engine = backend(name).load(plans / f"{layout}.plan", "0", EngineSpec(engine_host_code_allowed=True))
    types_and_formats = {tensor.name: (tensor.dtype, tensor.format) for tensor in (*engine.inputs, *engine.outputs)}
    assert types_and_formats == {"x": ("float16", layout), "y": ("float32", "linear"), "z": ("float16", layout)}
    runner = open_runner(engine, {"x": (4, 3, 32, 32)}, PipelineOptions())
    outputs = runner.infer({"x": stored["x"]})
    for output in ("y", "z"):
        np.testing.assert_allclose(outputs[output], stored[output], rtol=1e-3, atol=1e-3)
    runner.close()
    engine.close()


def test_pytorch_tensors_are_taken_as_they_are(plans: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    if not (plans / "conv.plan").exists() or importlib.util.find_spec("tensorrt_lean") is None:
        pytest.skip("needs tensorrt_lean, and conv.plan in PYTEST_TRT_PLANS")
    stored = np.load(plans / "conv.npz")
    spec = EngineSpec(engine_host_code_allowed=True)
    subject = Subject(plans / "conv.plan", "0", spec, {"x": (4, 3, 32, 32)}, PipelineOptions())
    host = torch.from_numpy(stored["x"])
    wide = torch.zeros((8, 3, 32, 32), device="cuda")
    wide[3:7] = host.cuda()
    tensors = [host, host.pin_memory(), host.cuda(), wide[3:7], host.to("cuda", non_blocking=True) * 1]
    with ProbeServer("tensorrt_lean") as server, EngineProbe(server, subject) as probe:
        outputs = [probe.infer(take_arrays({"x": tensor})) for tensor in tensors]
        outputs += probe.stream(take_arrays({"x": tensor}) for tensor in tensors * 4)
        for got in outputs:
            np.testing.assert_allclose(got["y"], stored["y"], rtol=1e-3, atol=1e-3)
        with pytest.raises(InputError, match="'x' is not contiguous on the GPU"):
            take_arrays({"x": host.cuda().transpose(2, 3)})
        with pytest.raises(InputError, match=r"'x' of type torch\.Tensor cannot be shared"):
            take_arrays({"x": host.clone().requires_grad_()})
