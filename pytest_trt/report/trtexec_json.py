"""What trtexec tells of an engine, from our measurement: its summary, its advice, and its three JSON exports.

The shapes are those of --exportTimes, --exportProfile and --exportLayerInfo (NVIDIA/TensorRT, samples/common, tags 8.6
to 11.1), so that what reads those reads these.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_trt.core.records import Environment, LayerProfile, Measurement, Result

LINES = {
    "ms": "Latency",
    "enqueue_ms": "Enqueue Time",
    "h2d_ms": "H2D Latency",
    "gpu_ms": "GPU Compute Time",
    "d2h_ms": "D2H Latency",
}
"""The lines of the summary, by the series they are about; a series that was not taken has no line."""

ENQUEUE_SHARE = 0.8
"""trtexec warns where the median enqueue takes more than this share of the median compute."""


def series(measurement: Measurement, name: str) -> list[float]:
    """Every sample of a series, such as `gpu_ms`, in ms, in the order taken."""
    return [ms for s in measurement.samples for block in s.blocks for ms in block.times.get(name, ())]


def summary(measurement: Measurement) -> str:
    """The lines of trtexec's performance summary. Percentiles are trtexec's own, samples and not interpolations;
    throughput counts inferences, where trtexec's qps counts batches."""
    lines = ["=== Performance summary ==="]
    if "throughput" in measurement.figures:
        lines.append(f"Throughput: {measurement.figures['throughput'].value:.6g} inf/s")
    lines += [f"{title}: {_spread(taken)}" for name, title in LINES.items() if (taken := series(measurement, name))]
    for name, title in (("host_ms", "Total Host Walltime"), ("gpu_ms", "Total GPU Compute Time")):
        if taken := series(measurement, name):
            lines.append(f"{title}: {sum(taken) / 1000:.6g} s")
    return "\n".join(lines) + "\n"


def advice(measurement: Measurement) -> list[str]:
    """What bounds the engine, by trtexec's thresholds: a sentence each, with what to try. None without a device."""
    compute = series(measurement, "gpu_ms")
    if not compute:
        return []
    median = statistics.median(compute)
    enqueue, h2d, d2h = (
        statistics.median(series(measurement, name) or [0.0]) for name in ("enqueue_ms", "h2d_ms", "d2h_ms")
    )
    said = []
    if enqueue > ENQUEUE_SHARE * median:
        said.append(f"bound by enqueue ({enqueue:.3g} ms, compute {median:.3g} ms): use a CUDA graph or a larger batch")
    if h2d >= median:
        said.append(
            f"bound by copies in ({h2d:.3g} ms, compute {median:.3g} ms): send less, or keep inputs on the device"
        )
    if d2h >= median:
        said.append(f"bound by copies out ({d2h:.3g} ms, compute {median:.3g} ms): send less, or keep outputs there")
    mean = statistics.fmean(compute)
    variation = math.sqrt(statistics.fmean((ms - mean) ** 2 for ms in compute)) / mean
    limit = instability_threshold(measurement.environment)
    if variation > limit:
        said.append(
            f"compute is unstable (coefficient of variation {variation:.1%}, above {limit:.1%}): lock the clocks"
        )
    if measurement.proof.get("contexts", "1") != "1":
        said.append("several contexts run at once: latencies are longer than one alone would have")
    return said


def instability_threshold(environment: Environment) -> float:
    """The coefficient of variation of compute above which trtexec of that version calls it unstable."""
    version = [int(part) for part in environment.backend_version.split(".")[:3] if part.isdigit()]
    return 0.01 if environment.backend.startswith("tensorrt") and version <= [10, 13, 0] else 0.025


def files(results: Sequence[Result]) -> dict[str, str]:
    """What trtexec would have written of each measured test, by file name: its summary with its advice, the times, and
    where layers were timed, the profile and the layers."""
    found: dict[str, str] = {}
    for result in results:
        measured = result.measurement
        if measured is None or not series(measured, "ms"):
            continue
        name = re.sub(r"[^A-Za-z0-9.]+", "-", result.node_id).strip("-.")[:150]
        if f"{name}.txt" in found:  # of another test, whose id differs in what a file name does not show
            name += f"-{hashlib.sha256(result.node_id.encode()).hexdigest()[:8]}"
        said = [summary(measured), *(f"{line}\n" for line in advice(measured))]
        found[f"{name}.txt"] = "".join(said)
        found[f"{name}.times.json"] = export_times(measured)
        if measured.profile is not None:
            found[f"{name}.profile.json"] = export_profile(measured.profile)
            found[f"{name}.layers.json"] = export_layer_info(measured.profile)
    return found


def export_times(measurement: Measurement) -> str:
    """--exportTimes: a row an inference, in ms. Only durations are kept, so the inferences are laid end to end: each
    starts with its enqueue where the one before was done. Raises KeyError where no latencies were taken."""
    rows, start = [], 0.0
    for row, end in _rows(measurement):
        rows.append({name: value + start if name[:3] in ("sta", "end") else value for name, value in row.items()})
        start += end
    return json.dumps(rows, indent=1) + "\n"


def export_profile(layers: LayerProfile) -> str:
    """--exportProfile: the count of runs, then a row a layer in ms. Only medians are kept, so `averageMs` is the median
    too, and `timeMs` that times the runs."""
    total = layers.total_ms
    rows: list[dict[str, Any]] = [{"count": layers.runs}]
    for layer in layers.layers:
        ms = layer.ms or 0.0
        share = 100 * ms / total if total else 0.0
        row = {"timeMs": ms * layers.runs, "averageMs": ms, "medianMs": ms, "percentage": share}
        rows.append({"name": layer.name, **row})
    return json.dumps(rows, indent=1) + "\n"


def export_layer_info(layers: LayerProfile) -> str:
    """--exportLayerInfo: what TensorRT's inspector said, in that version's own shape. Where there is no inspector, the
    shape is that of 10.x, with what is known: the layers, and the names of inputs and outputs."""
    if layers.inspected:
        return json.dumps(layers.inspected, indent=1) + "\n"
    rows = [
        {
            "Name": layer.name,
            "LayerType": layer.kind,
            "Inputs": [],
            "Outputs": [],
            "TacticName": layer.tactic,
            "Precision": layer.precision,
            "Metadata": "\x1e".join(f"[ONNX Layer: {node}]" for node in layer.nodes),
        }
        for layer in layers.layers
    ]
    return json.dumps({"Layers": rows, "Bindings": list(layers.bindings)}, indent=1) + "\n"


def _rows(measurement: Measurement) -> Iterator[tuple[dict[str, float], float]]:
    """A row an inference as if it began at 0, and when it is done."""
    for block in (b for s in measurement.samples for b in s.blocks):
        absent = (0.0,) * len(block.times["ms"])
        taken = [block.times.get(n, absent) for n in ("enqueue_ms", "h2d_ms", "gpu_ms", "d2h_ms", "ms", "host_ms")]
        if "gpu_ms" not in block.times:
            taken[2] = block.times["ms"]  # on a host there is no copy: all of it is compute
        for enqueue, h2d, compute, d2h, latency, host in zip(*taken, strict=True):
            row = {
                "startEnqMs": 0.0,
                "endEnqMs": enqueue,
                "startH2dMs": 0.0,
                "endH2dMs": h2d,
                "startComputeMs": h2d,
                "endComputeMs": h2d + compute,
                "startD2hMs": h2d + compute,
                "endD2hMs": h2d + compute + d2h,
                "h2dMs": h2d,
                "computeMs": compute,
                "d2hMs": d2h,
                "latencyMs": latency,
            }
            yield row, max(host, latency, h2d + compute + d2h)


def _spread(samples: Sequence[float]) -> str:
    from pytest_trt.core.stats import percentile

    named = {"min": min(samples), "max": max(samples), "mean": statistics.fmean(samples)}
    named["median"] = statistics.median(samples)
    named |= {f"percentile({p}%)": percentile(samples, p) for p in (90, 95, 99)}
    return ", ".join(f"{name} = {ms:.6g} ms" for name, ms in named.items())
