"""Draw the tables and charts of the rungs that benchmarks/pipeline.py measured."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Iterator, Mapping
from typing import Any

import python_cost

Row = Mapping[str, Any]

RUNGS = {
    "limit": "the larger of pinned copies alone and computation alone",
    "PyTorch eager fp32": "eager mode: copy in, compute, copy out",
    "PyTorch eager fp16": "the same in half precision",
    "allocate per batch": "device memory allocated for each batch, pageable host memory, one stream",
    "reuse": "device memory allocated once",
    "pinned": "page-locked host memory",
    "two streams": "copies in separate streams, two buffer sets, launched kernel by kernel",
    "CUDA graph": "the same, launched as one graph",
    "CUDA graph, depth 3": "three buffer sets",
    "two contexts": "two execution contexts in turns",
    "four contexts": "four execution contexts in turns",
    "no transfers": "inputs stay on the device",
    "arrays in and out": "numpy arrays copied in and out, top 5 on the same thread",
    "arrays, output thread": "the same, top 5 on a separate thread",
    "arrays in place": "arrays of trt_runner.inputs(n) in another process, outputs as views there, depth 3, spinning",
    "arrays in place, sleeping": "the same, depth 2, sleeping",
    "copies exposed": "nothing overlaps: one stream, as with trtexec's --exposeDMA",
}
"""The rungs in their order, with a description."""

_WIDTH, _BAR, _LEFT = 720, 20, 170


def _measured_rungs(rows: Mapping[str, Row]) -> list[tuple[str, float]]:
    """Return the name and the time per batch in ms of each rung that was measured."""
    return [(name, float(rows[name]["ms"])) for name in RUNGS if "ms" in rows.get(name, {})]


def table(rows: Mapping[str, Row], batch: int) -> str:
    """Return a Markdown table of the time per batch, the throughput, and the share of the limit."""
    limit = float(rows["limit"]["ms"])
    lines = ["| rung | ms per batch | inferences/s | share of the limit | |", "|---|---:|---:|---:|---|"]
    for name, ms in _measured_rungs(rows):
        lines.append(f"| {name} | {ms:.4f} | {batch * 1000 / ms:,.0f} | {limit / ms:.3f} | {RUNGS[name]} |")
    return "\n".join(lines) + "\n"


def crossing(rows: Mapping[str, Row]) -> str:
    """Return a Markdown table of the cost of passing arrays to a probe; `rows` are by batch."""
    lines = ["| | inside the probe's process, ms | from outside, ms | difference, us |", "|---|---:|---:|---:|"]
    for batch, row in rows.items():
        for name, call in (("infer", "`trt_runner(inputs)`"), ("stream", "`.stream()`, per batch")):
            if f"{name}_ms" in row:
                inside, outside = row[f"{name}_inside_ms"], row[f"{name}_ms"]
                lines.append(f"| batch {batch}, {call} | {inside:.4f} | {outside:.4f} | {row[f'{name}_adds_us']:.0f} |")
    return "\n".join(lines) + "\n"


def _targets(large: Mapping[str, Row], small: Mapping[str, Row]) -> Iterator[tuple[str, str, str]]:
    """Yield each target as (figure, target, result). A target whose rung failed is left out."""
    with contextlib.suppress(KeyError):
        share = large["limit"]["ms"] / large["CUDA graph"]["ms"]
        yield "batch 128 with transfers: share of the limit", ">= 0.985", f"{share:.3f}"
    with contextlib.suppress(KeyError):
        share = large["limit"]["ms"] / large["arrays in place"]["ms"]
        yield (
            "batch 128, arrays filled in place, across the probe's boundary: share of the limit",
            ">= 0.95",
            f"{share:.3f}",
        )
    with contextlib.suppress(KeyError):
        share = small["limit"]["compute_ms"] / small["arrays in place"]["ms"]
        yield "batch 1, the same: throughput x compute", ">= 0.9", f"{share:.3f}"
    with contextlib.suppress(KeyError):
        graph, alone = small["CUDA graph"]["of_compute"], small["no transfers"]["of_compute"]
        got = f"{graph:.3f}; without transfers {alone:.3f}"
        yield "batch 1, graph: throughput x compute in the same process", ">= 0.98", got
    with contextlib.suppress(KeyError):
        row = small["block, no transfers"]
        difference_us = (row["host_ms"] - row["bare_host_ms"]) * 1000
        got = f"{difference_us:+.1f} us ({row['host_ms']:.4f} ms against {row['bare_host_ms']:.4f})"
        yield "batch 1, no transfers, spinning: host latency minus that of a bare loop of the bindings", "<= 2 us", got
    with contextlib.suppress(KeyError):
        one, two, four = (small[name]["ms"] for name in ("CUDA graph", "two contexts", "four contexts"))
        yield "batch 1: four contexts relative to one", ">= 2 x", f"{one / four:.2f} x (two: {one / two:.2f} x)"
    with contextlib.suppress(KeyError):
        yield "batch 1: the cost of Python per inference", "<= 15 us", python_cost.line(small["python"])
    with contextlib.suppress(KeyError):
        got = f"{small['block']['off']:+.2%}, without transfers {small['block, no transfers']['off']:+.2%}"
        yield "batch 1: median `gpu_ms` of blocks relative to replays timed as a whole", "within 0.3 %", got


def page(record: Row, name: str) -> str:
    """Return the page for docs/results, beside `name`.json and the charts."""
    rows: Mapping[str, Mapping[str, Row]] = record["rows"]
    software = ", ".join(f"{name} {value}" for name, value in record["software"].items())
    parts = [
        f"# The pipeline relative to the limit of the hardware, {record['time'][:10]}\n",
        f"{software}. All figures: [JSON]({name}.json).\n",
    ]
    for batch, rungs in rows.items():
        parts.append(f"## Batch {batch}\n")
        parts.append(table(rungs, int(batch)) if "ms" in rungs["limit"] else "The limit was not measured.\n")
        parts.append(f"![batch {batch}]({name}-b{batch}.svg)\n")
    lines = [f"| {figure} | {target} | {result} |" for figure, target, result in _targets(rows["128"], rows["1"])]
    parts += ["## Targets\n", "\n".join(["| | target | result |", "|---|---|---|", *lines]) + "\n"]
    if calls := rows["1"]["python"].get("calls"):
        times = ", ".join(f"{name} {us:.1f}" for name, us in calls)
        parts.append(f"The time of each call of an inference in us, including the work of the driver: {times}.\n")
    parts += ["## Passing arrays to a probe\n", crossing({batch: rungs["crossing"] for batch, rungs in rows.items()})]
    failed = [f"- {failure}\n" for failure in failures(rows)]
    return "\n".join([*parts, *(["## Failures\n", *failed] if failed else [])])


def failures(rows: Mapping[str, Mapping[str, Row]]) -> list[str]:
    """Return the error of each rung that failed."""
    return [
        f"batch {batch}, {name}: {row['error']}"
        for batch, rungs in rows.items()
        for name, row in rungs.items()
        if "error" in row
    ]


def chart(rows: Mapping[str, Row], title: str) -> str:
    """Return an SVG bar chart of the rungs' shares of the limit; the line is the limit."""
    shares = [(name, float(rows["limit"]["ms"]) / ms) for name, ms in _measured_rungs(rows)]
    largest = max(share for _, share in shares)
    width = _WIDTH - _LEFT - 60
    height = (len(shares) + 2) * _BAR
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            'font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/><text x="8" y="15">{html.escape(title)}</text>',
    ]
    for number, (name, share) in enumerate(shares):
        y, length = (number + 1) * _BAR, width * share / largest
        color = "#9aa5b1" if name.startswith("PyTorch") else "#d9822b" if name == "limit" else "#3b7dd8"
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 14}" text-anchor="end">{html.escape(name)}</text>')
        parts.append(f'<rect x="{_LEFT}" y="{y + 3}" width="{length:.1f}" height="{_BAR - 6}" fill="{color}"/>')
        parts.append(f'<text x="{_LEFT + length + 4:.1f}" y="{y + 14}">{share:.3f}</text>')
    edge = _LEFT + width / largest
    parts.append(f'<line x1="{edge:.1f}" x2="{edge:.1f}" y1="{_BAR}" y2="{height - _BAR}" stroke="#d9822b"/></svg>')
    return "\n".join(parts) + "\n"
