"""What every table of results says, whatever it is drawn with: rows of texts, the line of totals, the warnings."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import STATUSES, Estimate, Result, Status, Verdict
from pytest_trt.report.header import Header, device_name
from pytest_trt.report.numbers import format_change, format_count, format_duration, format_figure, format_share

_NAMED, _LINES = 3, 20


@dataclasses.dataclass(frozen=True)
class Row:
    """A result as a table shows it: `cells` stand under the table's heads."""

    result: Result
    cells: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Table:
    """`headings` name the columns: the first is the test, the last the verdict. `numeric` are the columns to be aligned
    to the right."""

    headings: tuple[str, ...]
    numeric: frozenset[int]
    rows: tuple[Row, ...]


def build_table(results: Sequence[Result], header: Header) -> Table:
    """The table of `results`, in their order. The device stands in it only where there are several; memory is the
    device's, or the host's where no test used a device."""
    devices = [device_name(r.measurement.environment).removeprefix("NVIDIA ") if r.measurement else "" for r in results]
    hidden = "host_mb" if any("memory_mb" in _figures(r) for r in results) else "memory_mb"
    figures = {name: about.column for name, about in FIGURES.items() if about.column and name != hidden}
    leading = ("test", "device") if len(set(devices) - {""}) > 1 else ("test",)
    heads = (*leading, *figures.values(), f"against {header.baseline}" if header.baseline else "change", "verdict")
    rows = tuple(
        Row(
            result,
            (
                *(name, device)[: len(leading)],
                *(format_figure(f, _figures(result)[f].value) if f in _figures(result) else "-" for f in figures),
                _against(result),
                status_words(result.status),
            ),
        )
        for result, name, device in zip(results, display_names(results), devices, strict=True)
    )
    return Table(heads, frozenset(range(len(leading), len(leading) + len(figures))), rows)


def display_names(results: Sequence[Result]) -> list[str]:
    """The tests' names without their files, except where one name stands in several files."""
    short = [_split(r.node_id)[1] for r in results]
    count = Counter(set(zip(short, (_split(r.node_id)[0] for r in results), strict=True)))
    files = Counter(name for name, _ in count)
    return [r.node_id if files[name] > 1 else name for r, name in zip(results, short, strict=True)]


def status_words(status: Status) -> str:
    return status.replace("_", " ")


def leading_comparison(result: Result) -> Verdict | None:
    """The verdict against the baseline that a row shows: the worst, and of equals the latency's."""
    compared = [v for v in result.verdicts if v.basis == "baseline" and v.ratio is not None]
    return min(compared, key=lambda v: (STATUSES.index(v.status), v.figure != "ms"), default=None)


def totals(results: Sequence[Result]) -> str:
    """One line: engines built and found, tests by status, and the slowdown that would have been seen."""
    if not results:
        return "No test measured an engine."
    built = [r.built_s for r in results if r.built_s is not None]
    fresh = {r.measurement.engine_digest for r in results if r.measurement and r.built_s is not None}
    cached = {r.measurement.engine_digest for r in results if r.measurement} - fresh
    engines = [f"{format_count(len(built), 'engine')} built in {format_duration(sum(built))}"] if built else []
    if cached:
        engines.append(
            f"{len(cached)} from the cache" if built else f"{format_count(len(cached), 'engine')} from the cache"
        )
    statuses = Counter(r.status for r in results)
    tests = [f"{statuses[s]} {status_words(s)}" for s in reversed(STATUSES) if statuses[s]]
    sentences = [", ".join(part) for part in (engines, tests) if part]
    sentences += [seen] if (seen := _resolution(results)) else []
    return ". ".join(sentences) + "."


def warnings(results: Sequence[Result], header: Header) -> list[str]:
    """What a reader should know although no test fails for it: one line a kind, with the first tests it is about."""
    about: dict[str, list[tuple[str, str]]] = {}
    for result, name in zip(results, display_names(results), strict=True):
        for kind, detail in _warnings(result, header):
            about.setdefault(kind, []).append((name, detail))
    lines = [f"{kind}: {_affected_tests(tests)}" for kind, tests in about.items()]
    return lines if len(lines) <= _LINES else [*lines[:_LINES], f"{len(lines) - _LINES} more kinds of warnings"]


def _affected_tests(tests: Sequence[tuple[str, str]]) -> str:
    """Tests with what is to be said of each; what is the same for several is said once."""
    details = {detail for _, detail in tests}
    if len(tests) > 1 and len(details) == 1 and (detail := details.pop()):
        return f"{detail.removeprefix('(').removesuffix(')')} ({_some([name for name, _ in tests])})"
    return _some([f"{name} {detail}".rstrip() for name, detail in tests])


def _figures(result: Result) -> Mapping[str, Estimate]:
    return result.measurement.figures if result.measurement else {}


def _against(result: Result) -> str:
    verdict = leading_comparison(result)
    if verdict is None or verdict.ratio is None:
        return ""
    return (
        format_change(verdict.ratio) if verdict.figure == "ms" else f"{verdict.figure} {format_change(verdict.ratio)}"
    )


def _split(node_id: str) -> tuple[str, str]:
    path, _, name = node_id.partition("::")
    return (path, name) if name else ("", path)


def _resolution(results: Sequence[Result]) -> str:
    seen = [v.resolution for r in results for v in r.verdicts if v.figure == "ms" and v.resolution is not None]
    if not seen:
        return ""
    typical, poorest = statistics.median(seen), max(seen)
    if poorest <= 2 * typical:
        return f"Would see slowdowns from {format_share(poorest)}"
    return f"Would see slowdowns from {format_share(typical)}, in the noisiest test from {format_share(poorest)}"


def _warnings(result: Result, header: Header) -> Iterable[tuple[str, str]]:
    """Kinds of warnings, and what of this test belongs to each."""
    for v in result.verdicts:
        if v.status == "missing" and result.saved:
            continue
        if v.status in ("inconclusive", "missing", "unenforced") and v.status not in header.failing:
            yield status_words(v.status), f"({' '.join(v.text.split())})"
        if v.status == "new" and v.details:
            yield status_words(v.status), f"({'; '.join(v.details)})"
        if v.status == "ok" and v.basis == "budget" and v.details:
            yield "near the budget", f"({v.figure} {'; '.join(v.details)})"
        if v.resolution is not None and v.tolerance is not None and v.resolution > v.tolerance:
            seen = f"{v.figure} within {format_share(v.tolerance)}, seen from {format_share(v.resolution)}"
            yield "tolerance tighter than what can be seen", f"({seen})"
    if result.measurement is not None:
        proofs = result.measurement.proof.items()
        yield from ((f"{name} {proof}", "") for name, proof in proofs if proof.startswith("fell back"))
        notes = (*result.measurement.notes, *result.measurement.environment.notes)
        yield from ((note, "") for note in dict.fromkeys(notes))


def _some(tests: Sequence[str]) -> str:
    listed = ", ".join(tests[:_NAMED])
    return listed if len(tests) <= _NAMED else f"{listed} and {len(tests) - _NAMED} more"
