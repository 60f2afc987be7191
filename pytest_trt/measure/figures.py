"""All the figures of one measurement, from the blocks that were sampled and the passes of their own after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_trt.core import noise_levels, stats
from pytest_trt.core.records import Block, Estimate, Samples
from pytest_trt.measure.engine_probe import EngineProbe

DEFAULT_PROBE_SPREAD = {"gpu": 0.01, "cpu": 0.1}
"""How far two probes of one plan differ, as a share, until this device's own calibrations say better."""

DEFAULT_OPEN_ORDER_EFFECT = {"gpu": 0.01, "cpu": 0.0}
"""How far it moves one of two probes that are open at once to have been opened first, as a share, until then."""

WINDOW_S = 0.01
"""How long throughput is measured at a time, at least: some tens of queries of a small engine."""

_PARTS = {"weights": "weights_mb", "context": "context_mb", "io": "io_mb"}


def from_blocks(samples: Sequence[Samples], spread: float) -> dict[str, Estimate]:
    """Every figure that the blocks carry, with p95, p99 and the slowest of `ms`."""
    series = samples[0].blocks[0].times
    names = [*series, *((*noise_levels.PERCENTILES, "max_ms") if "ms" in series else ())]
    return {name: noise_levels.estimate(name, samples, spread) for name in names}


def from_memory(sizes: Mapping[str, int]) -> dict[str, Estimate]:
    """Memory in MB (10**6 bytes). `memory_mb` is the device memory that the engine needs: weights, context and I/O."""
    found = {figure: sizes[part] for part, figure in _PARTS.items() if part in sizes}
    if found:
        found["memory_mb"] = sizes.get("peak", sum(found.values()))
    found.update({f"{part}_mb": sizes[part] for part in ("process", "host") if part in sizes})
    return {figure: Estimate.exact(size / 1e6) for figure, size in found.items()}


def throughput(probe: EngineProbe, ms: Estimate, batch: int, *, overlapped: bool) -> Estimate:
    """Inferences a second. Where nothing overlaps, one query follows the other and latency says it all; else it is
    measured over windows of the overlapped pipeline, each as long as two latencies and WINDOW_S at least."""
    if not overlapped:
        return Estimate(batch * 1000 / ms.value, batch * 1000 / ms.high, batch * 1000 / ms.low, ms.samples)
    seconds = max(WINDOW_S, 2 * ms.value / 1000)
    rates = [probe.throughput(seconds) * batch for _ in range(stats.LOOKS[0])]
    windows = tuple(Block({"throughput": (rate,)}, seconds) for rate in rates)
    return noise_levels.estimate("throughput", (Samples(windows),))
