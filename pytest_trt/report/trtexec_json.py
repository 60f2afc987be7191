"""Report a measurement as trtexec would: its performance summary, its advice and its three JSON exports.

The exports have the form of --exportTimes, --exportProfile and --exportLayerInfo (NVIDIA/TensorRT, samples/common, tags
8.6 to 11.1), so that tools that read trtexec's files also read these.
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

TITLES = {
    "ms": "Latency",
    "enqueue_ms": "Enqueue Time",
    "h2d_ms": "H2D Latency",
    "gpu_ms": "GPU Compute Time",
    "d2h_ms": "D2H Latency",
}
"""The title of each series in the summary. A series without samples has no line."""

ENQUEUE_SHARE = 0.8
"""trtexec warns if the median enqueue time exceeds this share of the median compute time."""


def series(measurement: Measurement, name: str) -> list[float]:
    """Return every sample of a series such as `gpu_ms`, in milliseconds, in the order of measurement."""
    return [ms for s in measurement.samples for block in s.blocks for ms in block.times.get(name, ())]


def summary(measurement: Measurement) -> str:
    """Return the text of trtexec's performance summary.

    Percentiles are samples and not interpolated, as trtexec's are. Throughput counts inferences, while trtexec's qps
    counts batches.
    """
    lines = ["=== Performance summary ==="]
    if "throughput" in measurement.figures:
        lines.append(f"Throughput: {measurement.figures['throughput'].value:.6g} inf/s")
    lines += [
        f"{title}: {_statistics(samples)}" for name, title in TITLES.items() if (samples := series(measurement, name))
    ]
    for name, title in (("host_ms", "Total Host Walltime"), ("gpu_ms", "Total GPU Compute Time")):
        if samples := series(measurement, name):
            lines.append(f"{title}: {sum(samples) / 1000:.6g} s")
    return "\n".join(lines) + "\n"


def advice(measurement: Measurement) -> list[str]:
    """Return what bounds the engine and what to try, by trtexec's thresholds.

    Returns:
        One sentence for each finding; none if the engine did not run on a GPU.
    """
    compute = series(measurement, "gpu_ms")
    if not compute:
        return []
    median = statistics.median(compute)
    enqueue, h2d, d2h = (
        statistics.median(series(measurement, name) or [0.0]) for name in ("enqueue_ms", "h2d_ms", "d2h_ms")
    )
    found = []
    if enqueue > ENQUEUE_SHARE * median:
        found.append(
            f"bound by enqueue ({enqueue:.3g} ms, compute {median:.3g} ms): use a CUDA graph or a larger batch"
        )
    if h2d >= median:
        found.append(
            f"bound by copies in ({h2d:.3g} ms, compute {median:.3g} ms): copy less, or keep inputs on the device"
        )
    if d2h >= median:
        found.append(
            f"bound by copies out ({d2h:.3g} ms, compute {median:.3g} ms): copy less, or keep outputs on the device"
        )
    mean = statistics.fmean(compute)
    variation = math.sqrt(statistics.fmean((ms - mean) ** 2 for ms in compute)) / mean
    limit = instability_threshold(measurement.environment)
    if variation > limit:
        found.append(
            f"compute is unstable (coefficient of variation {variation:.1%}, above {limit:.1%}): lock the clocks"
        )
    if measurement.proof.get("contexts", "1") != "1":
        found.append("several contexts run at once: each latency is longer than with a single context")
    return found


def instability_threshold(environment: Environment) -> float:
    """Return the coefficient of variation of compute above which that version of trtexec calls it unstable."""
    version = [int(part) for part in environment.backend_version.split(".")[:3] if part.isdigit()]
    return 0.01 if environment.backend.startswith("tensorrt") and version <= [10, 13, 0] else 0.025


def files(results: Sequence[Result]) -> Iterator[tuple[str, str]]:
    """Yield the files that trtexec would have written for each measured test, as names and contents.

    They are the summary with the advice (`.txt`), the times, and, if the layers were timed, the profile and the layer
    information (`.json`).
    """
    names: set[str] = set()
    for result in results:
        measurement = result.measurement
        if measurement is None or not series(measurement, "ms"):
            continue
        name = re.sub(r"[^A-Za-z0-9.]+", "-", result.node_id).strip("-.")[:150]
        if name in names:  # The ids of two tests differ only in characters that a file name cannot have.
            name += f"-{hashlib.sha256(result.node_id.encode()).hexdigest()[:8]}"
        names.add(name)
        yield f"{name}.txt", "".join((summary(measurement), *(f"{line}\n" for line in advice(measurement))))
        yield f"{name}.times.json", export_times(measurement)
        if measurement.profile is not None:
            yield f"{name}.profile.json", export_profile(measurement.profile)
            yield f"{name}.layers.json", export_layer_info(measurement.profile)


def export_times(measurement: Measurement) -> str:
    """Return the JSON of --exportTimes: one row for each inference, in milliseconds.

    A measurement has only durations, so the inferences are placed one after another: each is enqueued when the previous
    one has ended.

    Raises:
        KeyError: A block has no latencies.
    """
    rows, start = [], 0.0
    for row, end in _rows(measurement):
        rows.append({name: value + start if name[:3] in ("sta", "end") else value for name, value in row.items()})
        start += end
    return json.dumps(rows, indent=1) + "\n"


def export_profile(layers: LayerProfile) -> str:
    """Return the JSON of --exportProfile: the number of runs, then one row for each layer, in milliseconds.

    A profile has only medians, so `averageMs` is the median too, and `timeMs` is the median times the number of runs.
    """
    total = layers.total_ms
    rows: list[dict[str, Any]] = [{"count": layers.runs}]
    for layer in layers.layers:
        ms = layer.ms or 0.0
        share = 100 * ms / total if total else 0.0
        row = {"timeMs": ms * layers.runs, "averageMs": ms, "medianMs": ms, "percentage": share}
        rows.append({"name": layer.name, **row})
    return json.dumps(rows, indent=1) + "\n"


def export_layer_info(layers: LayerProfile) -> str:
    """Return the JSON of --exportLayerInfo: the output of TensorRT's engine inspector, in the form of its version.

    Without an inspector, the form is that of TensorRT 10, with the layers and the names of inputs and outputs.
    """
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
    """Yield a row for each inference as if it began at 0, and the time at which it ends."""
    for block in (b for s in measurement.samples for b in s.blocks):
        absent = (0.0,) * len(block.times["ms"])
        columns = [block.times.get(n, absent) for n in ("enqueue_ms", "h2d_ms", "gpu_ms", "d2h_ms", "ms", "host_ms")]
        if "gpu_ms" not in block.times:
            columns[2] = block.times["ms"]  # A CPU copies nothing: all of the latency is compute.
        for enqueue, h2d, compute, d2h, latency, host in zip(*columns, strict=True):
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


def _statistics(samples: Sequence[float]) -> str:
    # The import is here because it loads numpy.
    from pytest_trt.core.stats import percentile

    named = {"min": min(samples), "max": max(samples), "mean": statistics.fmean(samples)}
    named["median"] = statistics.median(samples)
    named |= {f"percentile({p}%)": percentile(samples, p) for p in (90, 95, 99)}
    return ", ".join(f"{name} = {ms:.6g} ms" for name, ms in named.items())
