"""Compute the figures of one measurement from its blocks and from the extra passes after them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pytest_trt.core import noise_levels, repeats, stats
from pytest_trt.core.records import Block, Estimate, Samples
from pytest_trt.measure.engine_probe import EngineProbe
from pytest_trt.measure.stopping import Rule

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


def from_openings(openings: Sequence[Block]) -> dict[str, Estimate]:
    """Return the estimates of the times that occur once in a process; a single value has no interval.

    Args:
        openings: For each process that opened the engine, a block with one value of each figure.
    """
    values = {name: [opening.times[name][0] for opening in openings] for name in openings[0].times}
    return {
        name: repeats.estimate_repeats(name, found) if len(found) > 1 else Estimate.exact(found[0])
        for name, found in values.items()
    }


def throughput(
    probe: EngineProbe,
    found: Mapping[str, Estimate],
    *,
    batch: int,
    spread: float,
    rule: Rule | None = None,
    max_time_s: float = 10.0,
    state: Callable[[], Mapping[str, float]] | None = None,
) -> tuple[Estimate, tuple[Samples, ...]]:
    """Return the throughput in inferences a second, with the spread between probes, and the windows that it is of.

    If the pipeline overlaps queries, throughput is measured over windows of two latencies, and of `WINDOW_S` at least.
    Otherwise one query follows the other, and throughput follows from the latency, without windows.

    Args:
        probe: The probe that runs the overlapped pipeline.
        found: The figures of the blocks; only queries on a device have `gpu_ms`, and overlap.
        batch: The number of inferences in a query.
        spread: How far two probes of one plan may differ, as a share.
        rule: Decides when there are enough windows; None for as many as an interval needs.
        max_time_s: The most time of all windows, in seconds.
        state: Reads the state of the GPU after each window.
    """
    ms = found["ms"]
    if "gpu_ms" not in found:
        return ms.inverse(batch * 1000), ()
    seconds = max(WINDOW_S, 2 * ms.value / 1000)
    windows: list[Block] = []
    while len(windows) < stats.LOOKS[0] or (
        rule is not None
        and len(windows) * seconds < max_time_s
        and not (rule.finished() or rule.wants_probe())  # a fresh probe is not opened for throughput alone
    ):
        rate = probe.throughput(seconds) * batch
        windows.append(Block({"throughput": (rate,)}, seconds, state() if rule is not None and state else {}))
        if rule is not None:
            rule.add(0, 0, windows[-1])
    samples = (Samples(tuple(windows)),)
    return noise_levels.estimate("throughput", samples, spread), samples
