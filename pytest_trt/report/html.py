"""Render a run as one HTML file that needs no script, font or network."""

from __future__ import annotations

import dataclasses
import html
import statistics
from collections.abc import Iterable, Iterator, Sequence

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.foreign_text import escape_lines
from pytest_trt.core.records import Environment, LayerProfile, Measurement, Result
from pytest_trt.report import failure
from pytest_trt.report.header import Header, environment_line
from pytest_trt.report.numbers import format_count, format_number, format_share
from pytest_trt.report.stored_results import summaries
from pytest_trt.report.table import Table, build_table, result_words, totals, warnings

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d0d7de; --soft: #f3f5f7; --mark: #0a5cad;
  --bad: #b3141c; --good: #116329; --other: #7a4d00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --line: #3d444d; --soft: #161b22;
  --mark: #79b8ff; --bad: #ff8a80; --good: #6fdd8b; --other: #e3b341 } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 76rem; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } caption { text-align: left; padding: .3rem 0 }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .75rem; text-align: left; vertical-align: top }
td.n, th.n { text-align: right } td, thead th, .all th { white-space: nowrap }
a { color: var(--mark) } .bad { color: var(--bad); font-weight: 600 } .good { color: var(--good) }
.other { color: var(--other) }
details { border-bottom: 1px solid var(--line); padding: .4rem 0 } summary { cursor: pointer; overflow-wrap: anywhere }
pre { background: var(--soft); padding: .75rem; overflow-x: auto; font-size: .85rem }
svg { width: 100%; max-width: 40rem; height: auto } svg text { font: 11px system-ui, sans-serif; fill: var(--ink) }
svg circle { fill: var(--mark) } svg line { stroke: var(--line) }
"""

_LEFT = 85
"""The x coordinate at which the dots begin; the labels are left of it."""


def render(results: Sequence[Result], header: Header) -> str:
    """Return the page: totals, table, warnings, and one section for each test.

    A section has the test's verdicts, block medians, layers and environment. Sections are folded; those of failing
    tests are open.
    """
    title, known = _html(header.title), summaries(results)
    parts = [
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p>{_html(totals(known))}</p>",
        *((f"<p>{_html(header.selftest)}</p>",) if header.selftest else ()),
        _overview(build_table(known, header), header),
    ]
    if lines := warnings(known, header):
        parts.append(f"<h2>Warnings</h2>\n<ul>{''.join(f'<li>{_html(line)}</li>' for line in lines)}</ul>")
    parts.append("<h2>Tests</h2>")
    parts += [_test(number, result, header) for number, result in enumerate(results)]
    return "\n".join((*parts, "</main>\n</body>\n</html>\n"))


def _html(text: str) -> str:
    """Return `text` for HTML, with its line breaks and without anything that HTML or a reader misunderstands."""
    return html.escape(escape_lines(text))


def _overview(table: Table, header: Header) -> str:
    ths = (f'<th scope="col"{_numeric(c in table.numeric)}>{_html(h)}</th>' for c, h in enumerate(table.headings))
    lines = ['<div class="wide"><table class="all"><caption>All tests</caption>']
    lines.append(f"<thead><tr>{''.join(ths)}</tr></thead>\n<tbody>")
    for number, row in enumerate(table.rows):
        name, *cells, verdict = row.cells
        css_class = _css_class(row.result, header)
        tds = (f"<td{_numeric(c in table.numeric)}>{_html(cell)}</td>" for c, cell in enumerate(cells, 1))
        link = f'<th scope="row"><a href="#t{number}">{_html(name)}</a></th>'
        lines.append(f'<tr>{link}{"".join(tds)}<td class="{css_class}">{_html(verdict)}</td></tr>')
    return "\n".join((*lines, "</tbody></table></div>"))


def _test(number: int, result: Result, header: Header) -> str:
    css_class = _css_class(result, header)
    opened = " open" if css_class == "bad" else ""
    status = f'<span class="{css_class}">{_html(result_words(result))}</span>'
    lines = [f'<details id="t{number}"{opened}><summary>{_html(result.node_id)}: {status}</summary>']
    for verdict in result.verdicts:
        description = (failure.sentence(verdict, result.measurement), *(f"  {line}" for line in verdict.details))
        lines.append(f"<pre>{_html(chr(10).join(description))}</pre>")
        if verdict.causes:
            causes = f"<pre>{_html(chr(10).join(verdict.causes))}</pre>"
            lines.append(_folded(f"All causes found by blame: {len(verdict.causes)}", causes))
    if result.measurement is not None:
        lines += _measurement_sections(result.measurement)
    return "\n".join((*lines, "</details>"))


def _measurement_sections(measurement: Measurement) -> Iterator[str]:
    known = ((FIGURES[name], estimate) for name, estimate in measurement.figures.items() if name in FIGURES)
    yield _table(
        "Figures",
        ("figure", "value", "low", "high", "unit"),
        ((f.title, *(format_number(x, 5) for x in (e.value, e.low, e.high)), f.unit) for f, e in known),
        numeric=(1, 2, 3),
    )
    yield _block_chart(measurement)
    if measurement.profile is not None and measurement.profile.layers:
        yield _layer_table(measurement.profile)
    facts = {**measurement.proof, **measurement.spec, **_environment_facts(measurement.environment)}
    yield f"<p>{_html(environment_line(measurement.environment))}</p>"
    yield "".join(f"<p>Note: {_html(note)}</p>" for note in measurement.notes)
    yield _folded("Configuration and environment", _table("", ("", ""), facts.items()))


def _block_chart(measurement: Measurement) -> str:
    """Draw each block's median latency as a dot, in the order of measurement, with a line between two probes."""
    probes = [[statistics.median(b.times["ms"]) for b in s.blocks if b.times.get("ms")] for s in measurement.samples]
    medians = [ms for probe in probes for ms in probe]
    if len(medians) < 2:
        return ""
    low, high = min(medians), max(medians)
    step, height = (690 - _LEFT) / len(medians), 100 / ((high - low) or 1.0)
    dots = "".join(
        f'<circle cx="{_LEFT + step * (i + 0.5):.1f}" cy="{115 - (ms - low) * height:.1f}" r="2.5"/>'
        for i, ms in enumerate(medians)
    )
    starts = [sum(map(len, probes[:i])) for i in range(1, len(probes))]
    lines = "".join(f'<line x1="{_LEFT + step * s:.1f}" x2="{_LEFT + step * s:.1f}" y1="5" y2="125"/>' for s in starts)
    ends = (f"{format_number(low, 6)} ms", f"{format_number(high, 6)} ms")
    counts = f"{format_count(len(medians), 'block')} of {format_count(len(probes), 'probe')}"
    caption = f"Medians of {counts}, {ends[0]} to {ends[1]}"
    return (
        f'<figure><svg viewBox="0 0 690 130" role="img" aria-label="{caption}">{lines}{dots}'
        f'<text x="0" y="19">{ends[1]}</text><text x="0" y="119">{ends[0]}</text></svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _layer_table(profile: LayerProfile) -> str:
    total = profile.total_ms
    rows = (
        (
            layer.name,
            "-" if layer.ms is None else format_number(layer.ms),
            "-" if layer.ms is None or not total else format_share(layer.ms / total),
            layer.kind,
            layer.precision,
            layer.formats,
            layer.tactic,
            ", ".join(layer.nodes),
        )
        for layer in profile.layers
    )
    headings = ("layer", "ms", "share", "kind", "precision", "formats", "tactic", "ONNX nodes")
    return _folded(
        f"{len(profile.layers)} layers, {format_number(total)} ms", _table("", headings, rows, numeric=(1, 2))
    )


def _environment_facts(environment: Environment) -> dict[str, str]:
    values = {f.name: getattr(environment, f.name) for f in dataclasses.fields(environment)}
    return {name: str(value) for name, value in values.items() if value not in (None, "", ())}


def _table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Sequence[int] = ()) -> str:
    named = f"<caption>{_html(caption)}</caption>" if caption else ""
    ths = "".join(f'<th scope="col"{_numeric(c in numeric)}>{_html(h)}</th>' for c, h in enumerate(headings))
    head = f"<thead><tr>{ths}</tr></thead>" if any(headings) else ""
    body = "\n".join(
        f'<tr><th scope="row">{_html(first)}</th>'
        + "".join(f"<td{_numeric(c in numeric)}>{_html(cell)}</td>" for c, cell in enumerate(rest, 1))
        + "</tr>"
        for first, *rest in rows
    )
    return f'<div class="wide"><table>{named}{head}<tbody>\n{body}\n</tbody></table></div>'


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{_html(summary)}</summary>{body}</details>"


def _numeric(numeric: bool) -> str:
    return ' class="n"' if numeric else ""


def _css_class(result: Result, header: Header) -> str:
    if result.status in header.failing:
        return "bad"
    return "good" if result.status in ("ok", "improved") else "other"
