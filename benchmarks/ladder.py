"""The pipeline's ladder as a table and a chart, from what benchmarks/pipeline.py measured."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

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
