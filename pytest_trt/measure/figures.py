"""Compute the figures of one measurement from its blocks and from the extra passes after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_trt.core import noise_levels, stats
from pytest_trt.core.records import Block, Estimate, Samples
from pytest_trt.measure.engine_probe import EngineProbe

DEFAULT_PROBE_SPREAD = {"gpu": 0.01, "cpu": 0.1}
"""How far two probes of one plan may differ, as a share, until the device has been calibrated."""

DEFAULT_OPEN_ORDER_EFFECT = {"gpu": 0.01, "cpu": 0.0}
"""How far being opened first may move one of two probes, as a share, until the device has been calibrated."""

WINDOW_S = 0.01
"""The least length of a throughput window, in seconds: some tens of queries of a small engine."""

_MEMORY_FIGURES = {"weights": "weights_mb", "context": "context_mb", "io": "io_mb"}


def from_blocks(samples: Sequence[Samples], spread: float) -> dict[str, Estimate]:
    """Return an estimate of every figure in the blocks, and of p95, p99 and the slowest sample of `ms`.

    Args:
        samples: The samples of one side, one for each probe.
        spread: How far two probes of one plan may differ, as a share.
    """
    series = samples[0].blocks[0].times
    names = [*series, *((*noise_levels.PERCENTILES, "max_ms") if "ms" in series else ())]
    return {name: noise_levels.estimate(name, samples, spread) for name in names}


def split_supported(figures: Mapping[str, Estimate]) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Return the figures without the percentiles that have too few samples, and the reason for each of these."""
    unsupported = {
        name: f"too few samples ({figures[name].samples}): it needs about {figures[name].needs_s:.2g} s more"
        for name in noise_levels.PERCENTILES
        if name in figures and figures[name].needs_s > 0
    }
    return {name: figure for name, figure in figures.items() if name not in unsupported}, unsupported


def from_memory(sizes: Mapping[str, int]) -> dict[str, Estimate]:
    """Return the memory figures in MB (10**6 bytes).

    `memory_mb` is the device memory that the engine needs: its weights, its context and its inputs and outputs.

    Args:
        sizes: Bytes by name, as `EngineProbe.memory` returns them.
    """
    found = {figure: sizes[part] for part, figure in _MEMORY_FIGURES.items() if part in sizes}
    if found:
        found["memory_mb"] = sizes.get("peak", sum(found.values()))
    if "host" in sizes:
        found["host_mb"] = sizes["host"]
    return {figure: Estimate.exact(size / 1e6) for figure, size in found.items()}


def throughput(probe: EngineProbe, ms: Estimate, batch: int, *, overlapped: bool) -> Estimate:
    """Return the throughput in inferences a second.

    If the pipeline overlaps queries, throughput is measured over windows of two latencies, and of `WINDOW_S` at least.
    Otherwise one query follows the other, and throughput follows from the latency.

    Args:
        probe: The probe that runs the overlapped pipeline.
        ms: The latency in ms.
        batch: The number of inferences in a query.
        overlapped: Whether the pipeline overlaps queries.
    """
    if not overlapped:
        return Estimate(batch * 1000 / ms.value, batch * 1000 / ms.high, batch * 1000 / ms.low, ms.samples)
    seconds = max(WINDOW_S, 2 * ms.value / 1000)
    rates = [probe.throughput(seconds) * batch for _ in range(stats.LOOKS[0])]
    windows = tuple(Block({"throughput": (rate,)}, seconds) for rate in rates)
    return noise_levels.estimate("throughput", (Samples(windows),))
