"""The parts that every table of results has, whatever its format: rows, totals and warnings."""

from __future__ import annotations

import dataclasses
import shlex
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pytest_trt.core.figures import FIGURES, OF_GENERATION, ON_REQUEST, status_words
from pytest_trt.core.foreign_text import escape
from pytest_trt.core.records import STATUSES, Estimate, Result, Verdict
from pytest_trt.report.header import Header, device_name
from pytest_trt.report.numbers import (
    format_change,
    format_count,
    format_duration,
    format_figure,
    format_limit,
    format_share,
)

_OPTIONAL = ("memory_mb", "host_mb", "throughput", "p99_ms", "energy_mj")
"""The figures whose columns a narrow table leaves out, in this order."""

_FIRST = ": --trt-baseline-save"
"""What the text of a verdict has if the device has no baseline."""

_MAX_WARNINGS = 20
_MAX_NAMES = 3
"""How many tests a warning names."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A result and its cells, in the order of the table's headings."""

    result: Result
    cells: tuple[str, ...]

    @property
    def group(self) -> str:
        """The file of the test, with its class if it has one."""
        return _split_last(self.result.node_id)[0]

    @property
    def name(self) -> str:
        """The rest of the test's node id."""
        return _split_last(self.result.node_id)[1]


@dataclasses.dataclass(frozen=True)
class Table:
    """A frozen record of a table of results.

    Attributes:
        headings: The headings of the columns. The first column is the test, the last the verdict, and the one before
            it the change.
        numeric: The indices of the columns that are aligned to the right.
        rows: One row for each result.
        optional: The indices of the columns that a narrow table leaves out, in this order.
    """

    headings: tuple[str, ...]
    numeric: frozenset[int]
    rows: tuple[Row, ...]
    optional: tuple[int, ...] = ()


def build_table(results: Sequence[Result], header: Header) -> Table:
    """Return the table of `results`, in their order.

    The device has a column only if there are several devices. The memory is that of the device, or of the host if no
    test used a device. The tightest budget of each test has a column if there are budgets, and so has a figure that is
    measured only on request if a test has it.
    """
    devices = [
        escape(device_name(r.measurement.environment).removeprefix("NVIDIA ")) if r.measurement else "" for r in results
    ]
    found = {name for result in results for name in _figures(result)}
    hidden = {"host_mb" if "memory_mb" in found else "memory_mb", *((ON_REQUEST | OF_GENERATION) - found)}
    figures = {name: about.column for name, about in FIGURES.items() if about.column and name not in hidden}
    leading = ("test", "device") if len(set(devices) - {""}) > 1 else ("test",)
    budgets = list(map(_budget_cell, results))
    budget = ("budget",) if any(budgets) else ()
    change = escape(f"against {header.baseline}") if header.baseline else "change"
    rows = tuple(
        Row(
            result,
            (
                *(name, device)[: len(leading)],
                *(format_figure(f, _figures(result)[f].value) if f in _figures(result) else "-" for f in figures),
                *(budget_cell,)[: len(budget)],
                _change_cell(result),
                result_words(result),
            ),
        )
        for result, name, device, budget_cell in zip(results, display_names(results), devices, budgets, strict=True)
    )
    positions = {name: number for number, name in enumerate(figures, len(leading))}
    return Table(
        headings=(*leading, *figures.values(), *budget, change, "verdict"),
        numeric=frozenset(positions.values()),
        rows=rows,
        optional=tuple(positions[name] for name in _OPTIONAL if name in positions),
    )


def _figures(result: Result) -> Mapping[str, Estimate]:
    return result.measurement.figures if result.measurement else {}


def tightest_budget(result: Result) -> tuple[Verdict, float] | None:
    """Return the verdict on the tightest budget of a test, and the figure as a share of its limit; None without one."""
    figures = _figures(result)
    shares = [
        (v, figures[v.figure].value / v.limit)
        for v in result.verdicts
        if v.basis == "budget" and v.limit and v.figure in figures and figures[v.figure].value > 0
    ]
    return max(shares, key=lambda s: 1 / s[1] if FIGURES[s[0].figure].higher_is_better else s[1], default=None)


def _budget_cell(result: Result) -> str:
    """Return the headroom to the tightest budget, such as `82 % of 10 ms`."""
    if (found := tightest_budget(result)) is None:
        return ""
    verdict, share = found
    about = FIGURES[verdict.figure]
    name = about.column.removesuffix(about.unit).strip() if about.column else about.title
    return f"{name} {format_share(share)} of {format_limit(verdict.limit or 0.0)} {about.unit}".lstrip()


def _change_cell(result: Result) -> str:
    verdict = _main_comparison(result)
    layers = next((v for v in result.verdicts if v.basis == "layers" and v.status == result.status != "ok"), None)
    if layers is not None and (verdict is None or verdict.status != result.status):
        return f"layers: {layers.figure}" if layers.figure else "layers"
    if verdict is None or verdict.ratio is None:
        return ""
    change = format_change(verdict.ratio)
    return change if verdict.figure == "ms" else escape(f"{verdict.figure} {change}")


def _main_comparison(result: Result) -> Verdict | None:
    """Return the worst verdict of a comparison with the baseline; that of the latency if several are equally bad."""
    compared = [v for v in result.verdicts if v.basis == "baseline" and v.ratio is not None]
    return min(compared, key=lambda v: (STATUSES.index(v.status), v.figure != "ms"), default=None)


def display_names(results: Sequence[Result]) -> list[str]:
    """Return the names of the tests: without the file, unless tests in several files have the same name."""
    short = [_split(r.node_id)[1] for r in results]
    count = Counter(set(zip(short, (_split(r.node_id)[0] for r in results), strict=True)))
    files = Counter(name for name, _ in count)
    return [escape(r.node_id if files[name] > 1 else name) for r, name in zip(results, short, strict=True)]


def _split(node_id: str) -> tuple[str, str]:
    """Return the file and the rest of a node id."""
    path, _, name = node_id.partition("::")
    return (path, name) if name else ("", path)


def _split_last(node_id: str) -> tuple[str, str]:
    """Return the file with its classes, and the name of the test, whose parameters may contain `::` themselves."""
    head, bracket, parameters = node_id.partition("[")
    group, _, name = head.rpartition("::")
    return group, f"{name}{bracket}{parameters}"


def result_words(result: Result) -> str:
    """Return the status of a result for a person: its worst verdict, in the words of that verdict's figure."""
    figures = {v.figure for v in result.verdicts if v.status == result.status}
    words = {status_words(result.status, figure) for figure in figures}
    return words.pop() if len(words) == 1 else status_words(result.status)


def totals(results: Sequence[Result]) -> str:
    """Return one line: the engines that were built or cached, the number of tests by status, and the resolution."""
    if not results:
        return "No test measured an engine."
    built = [r.built_s for r in results if r.built_s is not None]
    fresh = {r.measurement.engine_digest for r in results if r.measurement and r.built_s is not None}
    cached = {r.measurement.engine_digest for r in results if r.measurement} - fresh
    engines = [f"{format_count(len(built), 'engine')} built in {format_duration(sum(built))}"] if built else []
    if cached:
        engines.append(f"{len(cached) if built else format_count(len(cached), 'engine')} from the cache")
    best_first = sorted(results, key=lambda r: STATUSES.index(r.status), reverse=True)
    tests = [f"{count} {words}" for words, count in Counter(map(result_words, best_first)).items()]
    sentences = [", ".join(part) for part in (engines, tests) if part]
    sentences += [sentence] if (sentence := _detectable_slowdown(results)) else []
    return ". ".join(sentences) + "."


def _detectable_slowdown(results: Sequence[Result]) -> str:
    resolutions = [v.resolution for r in results for v in r.verdicts if v.figure == "ms" and v.resolution is not None]
    if not resolutions:
        return ""
    typical, poorest = statistics.median(resolutions), max(resolutions)
    if poorest <= 2 * typical:
        return f"Detectable slowdown: {format_share(poorest)}"
    return f"Detectable slowdown: {format_share(typical)}, in the noisiest test {format_share(poorest)}"


def next_step(results: Sequence[Result], header: Header) -> str:
    """Return what to do after the first run on a device, which has no baseline yet; empty after any other run."""
    absent = (v for r in results if not r.saved for v in r.verdicts if _is_first(v))
    if header.run is None or (verdict := next(absent, None)) is None:
        return ""
    reason = " ".join(verdict.text.split()).partition(_FIRST)[0]
    return escape(f"Next: {reason}. Store one with: {shlex.join(header.run.command)} --trt-baseline-save")


def _is_first(verdict: Verdict) -> bool:
    """Return whether the device has no baseline at all: one command stores those of all tests."""
    return verdict.status == "missing" and verdict.basis == "baseline" and _FIRST in verdict.text


def warnings(results: Sequence[Result], header: Header) -> list[str]:
    """Return what a reader should know although it fails no test: one line for each kind, with the first tests."""
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for result, name in zip(results, display_names(results), strict=True):
        for kind, detail in _warnings(result, header):
            by_kind.setdefault(kind, []).append((name, detail))
    lines = [*map(escape, header.findings)]
    lines += [escape(f"{kind}: {_affected_tests(tests)}") for kind, tests in by_kind.items()]
    if len(lines) <= _MAX_WARNINGS:
        return lines
    return [*lines[:_MAX_WARNINGS], f"{len(lines) - _MAX_WARNINGS} more kinds of warnings"]


def _warnings(result: Result, header: Header) -> Iterator[tuple[str, str]]:
    """Yield the kind of each warning, and its detail for this test."""
    if result.node_id in header.doubtful:
        yield "seen too few times for a run of so many tests, where chance does the same: run it again", ""
    for v in result.verdicts:
        if v.status == "missing" and (result.saved or (header.run is not None and _is_first(v))):
            continue  # next_step has the command that stores a baseline
        if v.status in ("inconclusive", "missing", "unenforced") and v.status not in header.failing:
            yield status_words(v.status), " ".join(v.text.split())
        if v.status == "new" and v.details:
            yield status_words(v.status), "; ".join(v.details)
        if v.status == "ok" and v.basis == "budget" and v.details:
            yield "near the budget", f"{v.figure} {'; '.join(v.details)}"
        if v.resolution is not None and v.tolerance is not None and v.resolution > v.tolerance:
            detail = f"{v.figure}: tolerance {format_share(v.tolerance)}, detectable {format_share(v.resolution)}"
            yield "tolerance below the detectable change", detail
    if result.measurement is not None:
        proofs = result.measurement.proof.items()
        yield from ((f"{name} {proof}", "") for name, proof in proofs if proof.startswith("fell back"))
        notes = (*result.measurement.notes, *result.measurement.environment.notes)
        yield from ((note, "") for note in dict.fromkeys(notes))


def _affected_tests(tests: Sequence[tuple[str, str]]) -> str:
    """Return the names of the tests, each with its detail. A detail that all tests share is written once."""
    details = {detail for _, detail in tests}
    if len(tests) > 1 and len(details) == 1 and (detail := details.pop()):
        return f"{detail} ({_first_of([name for name, _ in tests])})"
    return _first_of([f"{name} ({detail})" if detail else name for name, detail in tests])


def _first_of(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_MAX_NAMES])
    return listed if len(names) <= _MAX_NAMES else f"{listed} and {len(names) - _MAX_NAMES} more"
