"""Measurements as a trial hands them over, for the tests of baselines and of reports."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import random
from typing import Any

from pytest_trt.core.records import Block, Environment, Estimate, Layer, LayerProfile, Measurement, Samples
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.judge.baselines.updating import update_baseline

H200 = Environment(
    device="NVIDIA H200",
    kind="gpu",
    backend="tensorrt",
    backend_version="8.6.0",
    driver="550.54.15",
    cuda="12.4",
    compute_capability="9.0",
    device_uuid="GPU-5f2e",
    device_memory_bytes=150_000_000_000,
    host_cpu="Intel Xeon 8480+",
    host_cpus=16,
    os="Linux 6.1",
    python="3.11.9",
    plugin="0.1.0",
    commit="a1b2c3d4e5f6",
)

TEST = "tests/test_models.py::test_resnet18[fp16-b8]"
"""The node id of the sample measurements."""


def digest(text: str) -> str:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


@functools.lru_cache(64)
def blocks(ms: float, count: int = 8, size: int = 20, seed: int = 0) -> tuple[Block, ...]:
    """Return blocks of samples within 0.1 % of `ms`, with all series that a probe on a GPU reports."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        times = [ms * draw.uniform(0.999, 1.001) for _ in range(size)]
        shares = {"ms": 1.0, "gpu_ms": 0.9, "h2d_ms": 0.06, "d2h_ms": 0.04, "enqueue_ms": 0.02, "host_ms": 1.05}
        made.append(
            Block(
                times={name: tuple(share * t for t in times) for name, share in shares.items()},
                seconds=sum(times) / 1000,
                state={"sm_mhz": 1980.0, "power_w": 411.0},
            )
        )
    return tuple(made)


def measurement(
    ms: float = 0.272,
    node_id: str = TEST,
    *,
    plan: str = "plan",
    day: int = 1,
    environment: Environment = H200,
    **changes: Any,
) -> Measurement:
    """Return a measurement with the latency `ms` to 0.1 %. `plan` replaces the plan's bytes; `day` is in July 2026."""
    figures = {
        "ms": Estimate(ms, ms * 0.999, ms * 1.001, 400),
        "p99_ms": Estimate(ms * 1.004, ms * 1.003, ms * 1.006, 400),
        "throughput": Estimate(1000 / ms, 995 / ms, 1005 / ms, 400),
        "gpu_ms": Estimate(ms * 0.9, ms * 0.899, ms * 0.901, 400),
        "h2d_ms": Estimate(ms * 0.06, ms * 0.05, ms * 0.07, 400),
        "memory_mb": Estimate.exact(628.4),
        "weights_mb": Estimate.exact(23.4),
        "engine_mb": Estimate.exact(23.4),
        "build_s": Estimate.exact(27.2),
    }
    layers = (
        Layer("Conv_0 + Relu_1", ms * 0.6, "CaskConvolution", "sm90_xmma_fprop", "FP16"),
        Layer("Gemm_60", ms * 0.3, "CaskGemm", "sm90_gemm", "FP16"),
    )
    made = Measurement(
        node_id=node_id,
        environment=environment,
        figures=figures,
        spec={"path": "models/resnet18.onnx", "precision": "fp16", "batch": "8", "pipeline.depth": "2"},
        spec_digest=digest("spec"),
        engine_digest=digest("engine"),
        plan_sha256=digest(plan),
        proof={"graph": "captured", "pinned": "yes", "contexts": "1", "depth": "2"},
        warm_up_s=0.3,
        measured_s=0.4,
        time=f"2026-07-{day:02}T12:00:00+00:00",
        profile=LayerProfile(layers, runs=50),
    )
    if "samples" not in changes:
        changes["samples"] = (Samples(blocks(ms), probe=0), Samples(blocks(ms, seed=1), probe=1))
    return dataclasses.replace(made, **changes)


def stored(first: Measurement | None = None, *runs: Measurement) -> Baseline:
    """Return the baseline of `first`. Its history also has the further runs, which are ok."""
    baseline, _ = update_baseline(None, first or measurement(), "missing")
    for run in runs:
        assert baseline is not None
        baseline, _ = update_baseline(baseline, run, "ok")
    assert baseline is not None
    return baseline
