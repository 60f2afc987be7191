"""Collect what the page shows of the run as a whole: its facts, its failures, and one row for each test."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_trt.core.foreign_text import escape, escape_lines
from pytest_trt.core.records import Result
from pytest_trt.report import failure
from pytest_trt.report.header import Header, device_name
from pytest_trt.report.numbers import format_duration
from pytest_trt.report.table import result_words, tightest_budget

MAX_FAILURES = 50
"""How many failures are shown in full above the table."""

_MOST_VALUES = 40
"""A parameter with more values in a run is no axis: nobody would filter by it."""

_NO_AXES = frozenset(("path", "onnx", "build"))


def css_class(result: Result, header: Header) -> str:
    """Return the class of a verdict: `bad` fails the test, `good` is fine, `other` is worth a look."""
    if result.status in header.failing:
        return "bad"
    return "good" if result.status in ("ok", "improved") else "other"


def facts(header: Header) -> Iterator[tuple[str, str]]:
    """Yield the facts about the run that are known, by name."""
    run = header.run
    if run is not None:
        yield "project", run.project
        yield "commit", " on ".join(filter(None, (run.commit, run.branch)))
        yield "date", _date(run.start)
        yield "command", " ".join(run.command)
        yield "host", run.host
        yield "duration", format_duration(run.duration_s) if run.duration_s is not None else ""
    yield "device", header.device
    yield "software", ", ".join(filter(None, (header.backend, f"pytest-trt {run.plugin}" if run is not None else "")))
    baseline = "none" if header.baseline is None else header.baseline
    yield "compared with", f"{baseline} ({header.commit})" if header.commit else f"baseline {baseline}"


def _date(text: str) -> str:
    try:
        return datetime.datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return text


def failures(results: Sequence[Result], header: Header) -> Iterator[tuple[int, str, str, str]]:
    """Yield the number, the id, the verdict and the message of every failing test."""
    for number, result in enumerate(results):
        if result.status in header.failing:
            text = failure.text(result, header.failing, stored=not header.commit)
            yield number, escape(result.node_id), result_words(result), escape_lines(text)


def row_data(results: Sequence[Result], header: Header) -> dict[str, Any]:
    """Return what the page sorts, filters and pivots by: the axes, and the values of each test."""
    axes = _axes(results)
    return {
        "axes": list(axes),
        "tests": [
            {
                "id": escape(result.node_id),
                "words": result_words(result),
                "class": css_class(result, header),
                "axes": [escape(values.get(axis, "")) for axis in axes],
                **_measures(result),
            }
            for result, values in zip(results, map(_parameters, results), strict=True)
        ],
    }


def _measures(result: Result) -> dict[str, float | None]:
    """Return the figures that a pivot can show: the latency, the speed-up against the baseline, the headroom."""
    figures = result.measurement.figures if result.measurement is not None else {}
    ratio = next((v.ratio for v in result.verdicts if v.basis == "baseline" and v.figure == "ms" and v.ratio), None)
    budget = tightest_budget(result)
    return {
        "ms": float(f"{figures['ms'].value:.6g}") if "ms" in figures else None,
        "speedup": round(1 / ratio.value, 5) if ratio is not None and ratio.value > 0 else None,
        "used": round(budget[1], 5) if budget is not None else None,
    }


def _parameters(result: Result) -> Mapping[str, str]:
    measurement = result.measurement
    if measurement is None:
        return {}
    return {**measurement.spec, "device": device_name(measurement.environment)}


def _axes(results: Sequence[Result]) -> list[str]:
    """Return the parameters that differ between tests, those with the fewest values first."""
    values: dict[str, set[str]] = {}
    for result in results:
        for name, value in _parameters(result).items():
            values.setdefault(name, set()).add(value)
    varied = {name: len(found) for name, found in values.items() if name not in _NO_AXES}
    return sorted((name for name, count in varied.items() if 1 < count <= _MOST_VALUES), key=lambda name: varied[name])
