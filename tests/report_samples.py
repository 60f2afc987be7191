"""Results as a run gives them, for the tests of the reports."""

from __future__ import annotations

import dataclasses
import random

from pytest_trt.records import (
    Block,
    Environment,
    Estimate,
    Layer,
    LayerProfile,
    Measurement,
    Result,
    Samples,
    Status,
    Verdict,
)

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
    commit="a1b2c3d4e5f60718293a4b5c6d7e8f9012345678",
)


def blocks(ms: float, count: int = 8, size: int = 50, seed: int = 0) -> tuple[Block, ...]:
    """Blocks of samples around `ms`, as a probe on a GPU gives them."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        times = [ms * (1 + 0.002 * draw.random()) for _ in range(size)]
        made.append(
            Block(
                times={
                    "ms": tuple(times),
                    "gpu_ms": tuple(0.9 * t for t in times),
                    "h2d_ms": tuple(0.06 * t for t in times),
                    "d2h_ms": tuple(0.04 * t for t in times),
                    "enqueue_ms": tuple(0.02 * t for t in times),
                    "host_ms": tuple(1.05 * t for t in times),
                },
                seconds=sum(times) / 1000,
                state={"sm_mhz": 1980.0, "power_w": 411.0},
            )
        )
    return tuple(made)


def measurement(node_id: str, ms: float = 0.272, environment: Environment = H200) -> Measurement:
    figures = {
        "ms": Estimate(ms, ms * 0.999, ms * 1.001, 400),
        "p99_ms": Estimate(ms * 1.004, ms * 1.003, ms * 1.006, 400),
        "throughput": Estimate(1000 / ms, 995 / ms, 1005 / ms, 400),
        "gpu_ms": Estimate(ms * 0.9, ms * 0.899, ms * 0.901, 400),
        "h2d_ms": Estimate(ms * 0.06, ms * 0.05, ms * 0.07, 400),
        "memory_mb": Estimate.exact(628.4),
        "weights_mb": Estimate.exact(23.4),
        "build_s": Estimate.exact(27.2),
    }
    return Measurement(
        node_id=node_id,
        environment=environment,
        figures=figures,
        spec={"precision": "fp16"},
        spec_digest="5" * 64,
        engine_digest=node_id,
        plan_sha256="7" * 64,
        proof={"graph": "captured", "pinned": "yes", "contexts": "1", "depth": "2"},
        warm_up_s=0.3,
        measured_s=0.4,
        time="2026-07-01T12:00:00+00:00",
        samples=(Samples(blocks(ms), probe=0), Samples(blocks(ms, seed=1), probe=1)),
        profile=LayerProfile((Layer("Conv_0 + Relu_1", ms * 0.6, "CaskConvolution", "sm90_xmma_fprop", "FP16"),
                              Layer("Gemm_60", ms * 0.3, "CaskGemm", "sm90_gemm", "FP16")), runs=50),
    )  # fmt: skip


def compared(status: Status, ratio: float, figure: str = "ms") -> Verdict:
    """What the comparison with a baseline found."""
    change = 100 * (ratio - 1)
    return Verdict(
        status=status,
        basis="baseline",
        figure=figure,
        text=f"latency {status}: 0.306 ms against 0.275 ms, {change:+.1f} % "
        f"[{change - 0.2:+.1f}, {change + 0.2:+.1f}], tolerance 5 %",
        ratio=Estimate(ratio, ratio - 0.002, ratio + 0.002) if figure == "ms" else Estimate.exact(ratio),
        tolerance=0.05,
        resolution=0.003,
        details=("judged engine against engine: 2 probes x 8 blocks, 0.4 s of GPU time",) if status != "ok" else (),
    )


def result(name: str, *verdicts: Verdict, ms: float = 0.272, built_s: float | None = None) -> Result:
    node_id = f"tests/test_models.py::{name}"
    return Result(
        node_id=node_id,
        verdicts=verdicts,
        measurement=measurement(node_id, ms),
        built_s=built_s,
        seconds=4.1,
        parts_s={"build": 2.7, "load": 0.2, "measure": 1.2},
    )


NEW = Verdict("new", "baseline", "ms", "no baseline main of this test for NVIDIA H200 yet")
OVER = Verdict(
    "over_budget", "budget", "p99_ms", "p99 latency over budget: 0.44 ms, the limit is 0.4 ms, 10 % above", limit=0.4
)
RUN = (
    result("test_resnet18[fp16-b1]", compared("ok", 1.001)),
    result("test_resnet18[fp16-b8]", compared("regressed", 1.11), ms=0.306, built_s=27.1),
    result("test_encoder[fp16-b1]", NEW, ms=0.245),
)
"""The run that the design shows."""


def unmeasured(name: str) -> Result:
    """A test whose probe was lost."""
    lost = Verdict("error", "run", "", "the probe was killed by signal 9 while it ran: see its log")
    return Result(node_id=f"tests/test_models.py::{name}", verdicts=(lost,))


def on(environment: Environment, sample: Result) -> Result:
    assert sample.measurement is not None
    return dataclasses.replace(sample, measurement=dataclasses.replace(sample.measurement, environment=environment))
