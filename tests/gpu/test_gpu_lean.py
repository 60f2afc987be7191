"""The lean runtime, on a plan that TensorRT's builder left for it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from pytest_trt.backends.base import backend
from pytest_trt.errors import BackendError
from pytest_trt.pipeline.runner import open_runner
from pytest_trt.spec import EngineSpec, PipelineOptions


@pytest.mark.skipif(importlib.util.find_spec("tensorrt_lean") is None, reason="needs the package tensorrt_lean")
def test_a_version_compatible_plan_gives_the_same_outputs(plans: Path) -> None:
    if not (plans / "conv.plan").exists():
        pytest.skip("needs conv.plan in PYTEST_TRT_PLANS, which a run with TensorRT's builder leaves there")
    stored = np.load(plans / "conv.npz")
    lean = backend("tensorrt_lean")
    with pytest.raises(BackendError, match=r"version_compatible=True"):
        lean.load(plans / "conv.plan", "0", EngineSpec())
    with pytest.raises(BackendError, match=rf"built by TensorRT .* cannot be loaded by tensorrt_lean {lean.version()}"):
        lean.load(plans / "plain.plan", "0", EngineSpec(version_compatible=True))
    engine = lean.load(plans / "conv.plan", "0", EngineSpec(version_compatible=True))
    runner = open_runner(engine, {"x": (4, 3, 32, 32)}, PipelineOptions())
    inputs = {"x": stored["x"]}
    first, second = runner.infer(inputs), runner.infer(inputs)
    for name in ("y", "z"):
        np.testing.assert_allclose(first[name], stored[name], rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(first[name], second[name])
    runner.fill(inputs)
    times = runner.block(10)
    assert len(times["gpu_ms"]) == 10
    assert runner.memory()["weights"] > 0
    assert runner.profile(3).layers
    print(dict(runner.proof), dict(runner.memory()), engine.layers()[:1])
    runner.close()
    engine.close()
