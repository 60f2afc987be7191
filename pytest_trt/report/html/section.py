"""Collect what the section of one test shows, as JSON that the page's script draws."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.core.figures import FIGURES, status_words
from pytest_trt.core.foreign_text import escape, escape_lines
from pytest_trt.core.records import Environment, Layer, Measurement, Result, Verdict
from pytest_trt.report import failure
from pytest_trt.report.header import Header, environment_line
from pytest_trt.report.html.series import blocks_over_time, distribution
from pytest_trt.report.numbers import format_number

_LATENCY_PARTS = ("h2d_ms", "gpu_ms", "d2h_ms")
_MEMORY_PARTS = ("weights_mb", "context_mb", "io_mb")


@dataclasses.dataclass(frozen=True)
class Detail:
    """How much of a test its section has: the most samples and blocks of each side, and the most layers."""

    samples: int
    blocks: int
    layers: int

    def halved(self) -> Detail:
        """Return half as much of everything."""
        return Detail(max(self.samples // 2, 20), max(self.blocks // 2, 10), max(self.layers // 2, 10))


def section(result: Result, header: Header, detail: Detail) -> dict[str, Any]:
    """Return the content of a test's section. Every text in it is escaped for a terminal, but not for HTML."""
    measurement, reference = result.measurement, result.reference
    content: dict[str, Any] = {
        "id": escape(result.node_id),
        "verdicts": [_verdict(v, result) for v in result.verdicts],
        "intervals": list(_intervals(result, header)),
        "accuracy": [
            [escape(v.figure or "all outputs"), status_words(v.status), escape_lines(v.text)]
            for v in result.verdicts
            if v.basis == "accuracy"
        ],
        "trend": [
            {**dataclasses.asdict(run), **{name: escape(getattr(run, name)) for name in ("commit", "cause", "reason")}}
            for run in result.history
        ],
        "accept": _accept_command(result, header),
    }
    if measurement is None:
        return content
    sides = {"new": measurement, **({"old": reference} if reference is not None else {})}
    layers = _paired_layers(measurement, reference)
    return {
        **content,
        "figures": list(_figures(measurement, reference)),
        "samples": {name: distribution(side, detail.samples) for name, side in sides.items() if side.samples},
        "blocks": {name: blocks_over_time(side, detail.blocks) for name, side in sides.items() if side.samples},
        "steps": {name: _steps(side) for name, side in sides.items() if len(side.step_ms) > 1},
        "parts": {
            title: {name: _parts(side, names) for name, side in sides.items()}
            for title, names in (("latency, ms", _LATENCY_PARTS), ("device memory, MB", _MEMORY_PARTS))
            if any(name in measurement.figures for name in names)
        },
        "layers": layers[: detail.layers],
        "layers_left_out": max(len(layers) - detail.layers, 0),
        "environment": escape(environment_line(measurement.environment)),
        "notes": [escape(note) for note in measurement.notes],
        "facts": [[escape(name), escape(value)] for name, value in _facts(measurement)],
    }


def _verdict(verdict: Verdict, result: Result) -> dict[str, Any]:
    return {
        "status": verdict.status,
        "words": status_words(verdict.status, verdict.figure),
        "text": escape(failure.sentence(verdict, result.measurement)),
        "details": [escape(line) for line in verdict.details],
        "causes": [escape(line) for line in verdict.causes],
    }


def _intervals(result: Result, header: Header) -> Iterator[dict[str, Any]]:
    """Yield each verdict as an interval on one axis: percent worse than the baseline or the budget, with its limit."""
    figures = result.measurement.figures if result.measurement else {}
    for v in result.verdicts:
        about, estimate = FIGURES.get(v.figure), figures.get(v.figure)
        if v.basis == "baseline" and v.ratio is not None:
            ends, limit, against = (v.ratio.low, v.ratio.value, v.ratio.high), 100 * (v.tolerance or 0.0), "baseline"
        elif v.basis == "budget" and v.limit and estimate is not None:
            ends = (estimate.low / v.limit, estimate.value / v.limit, estimate.high / v.limit)
            limit, against = 0.0, "budget"
        else:
            continue
        if about is not None and about.higher_is_better and min(ends) > 0:
            ends = (1 / ends[2], 1 / ends[1], 1 / ends[0])
        low, value, high = (round(100 * (end - 1), 3) for end in ends)
        yield {
            "label": f"{about.title if about else escape(v.figure)} against the {against}",
            "value": value,
            "low": low,
            "high": high,
            "limit": limit,
            "bad": v.status in header.failing,
            "words": status_words(v.status, v.figure),
        }


def _figures(measurement: Measurement, reference: Measurement | None) -> Iterator[list[str]]:
    old = reference.figures if reference is not None else {}
    for name in FIGURES:
        if name in measurement.figures:
            estimate = measurement.figures[name]
            numbers = (format_number(x, 5) for x in (estimate.value, estimate.low, estimate.high))
            before = format_number(old[name].value, 5) if name in old else ""
            yield [FIGURES[name].title, *numbers, before, FIGURES[name].unit]
        elif name in measurement.unsupported:
            yield [FIGURES[name].title, measurement.unsupported[name], "", "", "", ""]


def _steps(measurement: Measurement) -> list[list[float]]:
    """Return the tokens before each step of a generation, and its time in ms."""
    found = ((int(tokens), ms) for tokens, ms in measurement.step_ms.items())
    return [[tokens, float(f"{ms:.5g}")] for tokens, ms in sorted(found)]


def _parts(measurement: Measurement, names: Sequence[str]) -> dict[str, float]:
    figures = measurement.figures
    return {FIGURES[name].title: float(f"{figures[name].value:.5g}") for name in names if name in figures}


def _paired_layers(measurement: Measurement, reference: Measurement | None) -> list[list[Any]]:
    """Return each layer with its new and its old time, sorted by what it adds.

    Layers of the two engines are the same if they compute the same ONNX nodes, or else have the same name.
    """
    new = measurement.profile.layers if measurement.profile is not None else ()
    old = reference.profile.layers if reference is not None and reference.profile is not None else ()
    waiting: dict[object, list[Layer]] = {}
    for layer in old:
        waiting.setdefault(layer.nodes or layer.name, []).append(layer)
    rows = []
    for layer in new:
        candidates = waiting.get(layer.nodes or layer.name)
        before = candidates.pop(0) if candidates else None
        rows.append((layer, layer.ms, before.ms if before is not None else None))
    rows += [(layer, None, layer.ms) for left in waiting.values() for layer in left]

    def added(row: tuple[Layer, float | None, float | None]) -> float:
        _, now, before = row
        return abs((now or 0.0) - (before or 0.0)) if old else now or 0.0

    return [
        [
            *(escape(text) for text in (layer.name, layer.kind, layer.precision, layer.formats, layer.tactic)),
            escape(", ".join(layer.nodes)),
            now,
            before,
        ]
        for layer, now, before in sorted(rows, key=added, reverse=True)
    ]


def _accept_command(result: Result, header: Header) -> str:
    """Return the command that accepts a regression; it names the run's file if a CI service made it."""
    if header.commit or not any(v.status == "regressed" for v in result.verdicts):
        return ""
    from_run = f" --from={Path(header.run_file).name}" if header.run_file and os.environ.get("CI") else ""
    return escape(f"pytest-trt baseline accept {failure.quote_node_id(result.node_id)}{from_run} --reason=WHY")


def _facts(measurement: Measurement) -> Iterator[tuple[str, str]]:
    yield from measurement.proof.items()
    yield from measurement.spec.items()
    environment: Environment = measurement.environment
    for field in dataclasses.fields(environment):
        value = getattr(environment, field.name)
        if value not in (None, "", ()):
            yield field.name, str(value)
