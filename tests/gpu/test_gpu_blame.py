"""Test blame on TensorRT engines with one change each: the cause and the layer that it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chain
import numpy as np
import pytest
from gpu_workshop import Workshop

from pytest_trt.core.records import LayerProfile
from pytest_trt.engine.backends.base import BuildJob
from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.judge.regression.blame import Blame, blame
from pytest_trt.pipeline.open import open_runner
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec

BATCH, SIZE = 4, 32
SHAPE = (BATCH, 3, 2 * SIZE, 2 * SIZE)
Profiled = Callable[..., LayerProfile]


@pytest.fixture(scope="module")
def profiled(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Profiled:
    """Return a function that profiles a chain of four convolutions.

    Its arguments change the model, the optimization level, and the layers that TensorRT's own API keeps in FP32.
    """
    known: dict[str, LayerProfile] = {}

    def make(fp32: tuple[str, ...] | None = None, level: int = 0, **model: Any) -> LayerProfile:
        key = repr((fp32, level, sorted(model.items())))
        if key not in known:
            folder = tmp_path_factory.mktemp("chain")
            path = chain.save(folder / "chain.onnx", convolutions=4, channels=64, size=SIZE, **model)
            if fp32 is None:
                spec = EngineSpec(optimization_level=level)
                job = BuildJob("tensorrt", "0", spec, str(path), str(folder), ({"x": (SHAPE, SHAPE, SHAPE)},))
                workshop.backend.build(job, lambda text, share: None)
            else:
                chain.build_typed(path, folder / "plan", BATCH, fp32, level)
            engine = workshop.load(folder / "plan")
            runner = open_runner(engine, {"x": SHAPE}, PipelineOptions())
            runner.set_inputs({"x": np.zeros(SHAPE, np.float32)})
            known[key] = runner.profile(10)
            runner.close()
            engine.close()
        return known[key]

    return make


def changed(old: LayerProfile, new: LayerProfile) -> Blame:
    found = blame(old, new, new.total_ms - old.total_ms)
    print(*found.lines(99), sep="\n")
    return found


def test_added_layer_is_a_new_layer(profiled: Profiled) -> None:
    found = changed(profiled(), profiled(added=True))
    assert any(cause.kind == "new layer" and "conv_added" in cause.layer for cause in found.causes)
    gone = changed(profiled(added=True), profiled())
    assert any(cause.kind == "layer gone" and "conv_added" in cause.layer for cause in gone.causes)


def test_output_that_breaks_a_fusion_is_a_lost_fusion(profiled: Profiled) -> None:
    found = changed(profiled(), profiled(shown=2))
    assert any(cause.kind == "fusion lost" and "conv2" in cause.layer for cause in found.causes)
    won = changed(profiled(shown=2), profiled())
    assert any(cause.kind == "fusion gained" and "conv2" in cause.layer for cause in won.causes)


def test_one_layer_in_another_precision_is_named(workshop: Workshop, profiled: Profiled) -> None:
    if versions.strongly_typed("tensorrt", workshop.backend.version()):
        pytest.skip("needs a TensorRT that is not strongly typed")
    found = changed(profiled(fp32=(), level=2), profiled(fp32=("conv2", "relu2"), level=2))
    causes = [cause for cause in found.causes if cause.kind == "other precision"]
    assert any("conv2" in cause.layer and cause.detail == "fp16 to fp32" for cause in causes)
    assert not any(f"conv{other}" in cause.layer for cause in causes for other in (0, 1))


def test_half_precision_throughout_is_one_cause(workshop: Workshop, profiled: Profiled) -> None:
    if versions.strongly_typed("tensorrt", workshop.backend.version()):
        pytest.skip("needs a TensorRT that is not strongly typed")
    every = tuple(f"{kind}{name}" for kind in ("conv", "relu") for name in ("_stem", *range(4)))
    found = changed(profiled(fp32=(), level=2), profiled(fp32=every, level=2))
    causes = [cause for cause in found.causes if cause.kind == "other precision"]
    assert any("layers, most in" in cause.layer and cause.detail == "fp16 to fp32" for cause in causes)


def test_other_optimisation_level_changes_tactics(profiled: Profiled) -> None:
    """Tactics differ only if the builder chose others, which depends on its timings."""
    old, new = profiled(level=2), profiled(level=0)
    found = changed(old, new)
    kinds = {"other tactic", "other format", "other precision", "new reformat", "fusion lost", "fused differently"}
    chosen = [{(layer.name, layer.tactic) for layer in profile.layers} for profile in (old, new)]
    assert bool(kinds & {cause.kind for cause in found.causes}) == (chosen[0] != chosen[1])
    assert all(cause.kind not in ("new layer", "layer gone") or "conv" not in cause.layer for cause in found.causes)
