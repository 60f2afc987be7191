"""The pipeline's ladder as a table and a chart, from what benchmarks/pipeline.py measured."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Iterator, Mapping
from typing import Any

import python_cost

Row = Mapping[str, Any]

MEANS = {
    "limit": "the larger of pinned copies alone and computation alone",
    "PyTorch eager fp32": "eager, copy in, copy out, one after another",
    "PyTorch eager fp16": "the same in half precision",
    "allocate per batch": "device memory anew for each batch, pageable host memory, one stream",
    "reuse": "device memory once",
    "pinned": "page-locked host memory",
    "two streams": "copies in streams of their own, two buffer sets, launched kernel by kernel",
    "CUDA graph": "the same, launched as one graph",
    "CUDA graph, depth 3": "three buffer sets",
    "two contexts": "two execution contexts taking turns",
    "four contexts": "four of them",
    "no transfers": "inputs stay on the device",
    "arrays in and out": "numpy arrays copied in and out, top 5 on the same thread",
    "arrays, output thread": "the same, top 5 on a thread of its own",
}
"""The rungs in their order, and what each does."""

_WIDTH, _BAR, _LEFT = 720, 20, 170


def _climbed(rows: Mapping[str, Row]) -> list[tuple[str, float]]:
    return [(name, float(rows[name]["ms"])) for name in MEANS if "ms" in rows.get(name, {})]


def table(rows: Mapping[str, Row], batch: int) -> str:
    """A Markdown table: ms a batch, inferences a second, share of the limit."""
    limit = float(rows["limit"]["ms"])
    lines = ["| rung | ms a batch | inferences/s | share of the limit | |", "|---|---:|---:|---:|---|"]
    for name, ms in _climbed(rows):
        lines.append(f"| {name} | {ms:.4f} | {batch * 1000 / ms:,.0f} | {limit / ms:.3f} | {MEANS[name]} |")
    return "\n".join(lines) + "\n"


def crossing(rows: Mapping[str, Row]) -> str:
    """A Markdown table of what arrays pay for crossing into a probe, in microseconds; `rows` are by batch."""
    lines = ["| | in the probe's process, ms | across, ms | crossing adds, us |", "|---|---:|---:|---:|"]
    for batch, row in rows.items():
        for name, means in (("infer", "`trt_runner(inputs)`"), ("stream", "`.stream()`, a batch")):
            if f"{name}_ms" in row:
                inside, across = row[f"{name}_inside_ms"], row[f"{name}_ms"]
                lines.append(f"| batch {batch}, {means} | {inside:.4f} | {across:.4f} | {row[f'{name}_adds_us']:.0f} |")
    return "\n".join(lines) + "\n"


def _reached(large: Mapping[str, Row], small: Mapping[str, Row]) -> Iterator[tuple[str, str, str]]:
    """What was to be reached, and what was: (what, wanted, got). A rung that failed has nothing to say here."""
    with contextlib.suppress(KeyError):
        share = large["limit"]["ms"] / large["CUDA graph"]["ms"]
        yield "batch 128 with transfers: share of the limit", ">= 0.985", f"{share:.3f}"
    with contextlib.suppress(KeyError):
        graph, alone = small["CUDA graph"]["of_compute"], small["no transfers"]["of_compute"]
        got = f"{graph:.3f}; without transfers {alone:.3f}"
        yield "batch 1, graph: throughput x compute in the same process", ">= 0.98", got
    with contextlib.suppress(KeyError):
        row = small["block, no transfers"]
        over = (row["host_ms"] - row["bare_host_ms"]) * 1000
        got = f"{over:+.1f} us ({row['host_ms']:.4f} ms against {row['bare_host_ms']:.4f})"
        yield "batch 1, no transfers, spinning: host latency over a bare loop of the bindings", "<= 2 us", got
    with contextlib.suppress(KeyError):
        one, two, four = (small[name]["ms"] for name in ("CUDA graph", "two contexts", "four contexts"))
        yield "batch 1: four contexts against one", ">= 2 x", f"{one / four:.2f} x (two: {one / two:.2f} x)"
    with contextlib.suppress(KeyError):
        yield "batch 1: Python's own cost an inference", "<= 15 us", python_cost.line(small["python"])
    with contextlib.suppress(KeyError):
        got = f"{small['block']['off']:+.2%}, without transfers {small['block, no transfers']['off']:+.2%}"
        yield "batch 1: median `gpu_ms` of blocks against replays timed as a whole", "within 0.3 %", got


def page(record: Row, name: str) -> str:
    """All of it as Markdown, to stand in docs/results beside `name`.json and the charts."""
    rows: Mapping[str, Mapping[str, Row]] = record["rows"]
    software = ", ".join(f"{what} {value}" for what, value in record["software"].items())
    parts = [
        f"# The pipeline against the limit of the hardware, {record['time'][:10]}\n",
        f"{software}. All figures: [JSON]({name}.json).\n",
    ]
    for batch, found in rows.items():
        parts.append(f"## Batch {batch}\n")
        parts.append(table(found, int(batch)) if "ms" in found["limit"] else "The limit was not measured.\n")
        parts.append(f"![batch {batch}]({name}-b{batch}.svg)\n")
    lines = [f"| {what} | {wanted} | {got} |" for what, wanted, got in _reached(rows["128"], rows["1"])]
    parts += ["## What was to be reached\n", "\n".join(["| | wanted | got |", "|---|---|---|", *lines]) + "\n"]
    if calls := rows["1"]["python"].get("calls"):
        said = ", ".join(f"{name} {us:.1f}" for name, us in calls)
        parts.append(f"What issuing an inference takes by call, in us, the driver's work included: {said}.\n")
    parts += ["## What crossing costs\n", crossing({batch: found["crossing"] for batch, found in rows.items()})]
    failed = [f"- {failure}\n" for failure in failures(rows)]
    return "\n".join([*parts, *(["## What failed\n", *failed] if failed else [])])


def failures(rows: Mapping[str, Mapping[str, Row]]) -> list[str]:
    """What each rung that failed had to say."""
    return [
        f"batch {batch}, {name}: {row['error']}"
        for batch, found in rows.items()
        for name, row in found.items()
        if "error" in row
    ]


def chart(rows: Mapping[str, Row], title: str) -> str:
    """The rungs' shares of the limit as an SVG of bars; the line is the limit."""
    climbed = [(name, float(rows["limit"]["ms"]) / ms) for name, ms in _climbed(rows)]
    most = max(share for _, share in climbed)
    room = _WIDTH - _LEFT - 60
    height = (len(climbed) + 2) * _BAR
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            'font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/><text x="8" y="15">{html.escape(title)}</text>',
    ]
    for number, (name, share) in enumerate(climbed):
        y, length = (number + 1) * _BAR, room * share / most
        color = "#9aa5b1" if name.startswith("PyTorch") else "#d9822b" if name == "limit" else "#3b7dd8"
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 14}" text-anchor="end">{html.escape(name)}</text>')
        parts.append(f'<rect x="{_LEFT}" y="{y + 3}" width="{length:.1f}" height="{_BAR - 6}" fill="{color}"/>')
        parts.append(f'<text x="{_LEFT + length + 4:.1f}" y="{y + 14}">{share:.3f}</text>')
    edge = _LEFT + room / most
    parts.append(f'<line x1="{edge:.1f}" x2="{edge:.1f}" y1="{_BAR}" y2="{height - _BAR}" stroke="#d9822b"/></svg>')
    return "\n".join(parts) + "\n"
