"""Draw the report that ends a run in the terminal: a table of the results, totals and warnings."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Sequence

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.foreign_text import escape
from pytest_trt.core.records import Measurement, Result, Status
from pytest_trt.report import failure, trtexec_json
from pytest_trt.report.header import Header, environment_line
from pytest_trt.report.numbers import THIN_SPACE, format_count, format_duration, format_figure
from pytest_trt.report.table import Row, Table, build_table, totals, warnings

# rich is imported inside functions, so that a run that prints no table does not load it.

MAX_WIDTH = 100
"""The greatest width of a report in columns, however wide the terminal is."""

_GAP = "  "
_NARROWING = (("test", 32), ("device", 20), ("test", 24), ("device", 14), ("change", 18), ("test", 12), ("change", 8))
"""The steps that make a table narrower: a column, and the width to which it may shrink."""
_STYLES = {"ok": "green", "improved": "bold green", "new": "cyan", "missing": "cyan"}
_PLAIN = str.maketrans({THIN_SPACE: " ", "…": "~", "─": "-", "┤": "|", "└": "+", "●": "o"})

StyledLine = tuple[str, tuple[tuple[int, int, str], ...]]
"""A line and the spans of it that are coloured: start, end, style."""


def render(
    results: Sequence[Result],
    header: Header,
    *,
    width: int = MAX_WIDTH,
    colour: bool,
    verbosity: int = 0,
    encoding: str = "utf-8",
) -> str:
    """Return the whole report: the title, the table, the totals and the warnings.

    Args:
        results: The results of the tests, in the order of the table.
        header: The facts about the run as a whole.
        width: The width of the terminal in columns; at most MAX_WIDTH of them are used.
        colour: Whether to add ANSI colour codes.
        verbosity: Below 0, only the failing tests and the totals are shown; above 0, each test is followed by its
            verdicts, its other figures and how it was run.
        encoding: The encoding of the output. A character that it lacks is replaced by a plain one.
    """
    from rich.console import Console
    from rich.text import Text

    width = min(width, MAX_WIDTH)
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, force_terminal=colour, color_system="standard" if colour else None,
        no_color=not colour, legacy_windows=False, force_jupyter=False, highlight=False, markup=False, emoji=False,
    )  # fmt: skip
    for line, spans in _lines(results, header, width, verbosity):
        text = Text(line)
        for start, end, style in spans:
            text.stylize(style, start, end)
        console.print(text, no_wrap=True, overflow="ignore", crop=False)
    return encodable(stream.getvalue(), encoding)


def encodable(text: str, encoding: str) -> str:
    """Return `text`, with plain characters of the same width if `encoding` cannot represent it."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


def shorten(name: str, width: int) -> str:
    """Return `name` in at most `width` columns, without its middle if it is longer.

    The parameters in brackets at its end are kept whole as long as they fit.
    """
    from rich.cells import cell_len

    if cell_len(name) <= width:
        return name
    bracket = name.find("[")
    tail = name[bracket:] if bracket > 0 and cell_len(name[bracket:]) <= width - 4 else name[-((width - 1) // 2) :]
    head = name[: -len(tail)]
    while head and cell_len(head) + cell_len(tail) > width - 1:
        head = head[:-1]
    return f"{head}…{tail}"


def _lines(results: Sequence[Result], header: Header, width: int, verbosity: int) -> Iterator[StyledLine]:
    title = f" {shorten(header.title, width - 4)} "
    yield title.center(width, "="), ((0, width, "bold"),)
    shown = [r for r in results if verbosity >= 0 or r.status in header.failing]
    if shown:
        table = build_table(shown, header)
        widths = _column_widths(table, width)
        headings = _join_cells(table.headings, table, widths)
        yield headings, ((0, len(headings), "bold"),)
        for row in table.rows:
            yield _row(row, table, widths, header)
            if verbosity > 0:
                for line in _details(row.result):
                    yield from ((part, ()) for part in _wrap(line, width, "    "))
    for line in totals(results), *(f"warning: {w}" for w in (warnings(results, header) if verbosity >= 0 else ())):
        style = ((0, len("warning:"), "yellow"),) if line.startswith("warning:") else ()
        first, *rest = _wrap(line, width, "")
        yield first, style
        yield from ((part, ()) for part in rest)


def _column_widths(table: Table, width: int) -> list[int]:
    """Return the width of each column: that of its widest text, or less if the line would exceed `width`.

    Only columns with words shrink. A number or a verdict is never cut.
    """
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(table.headings, *(r.cells for r in table.rows), strict=True)]
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    columns = {**{heading: column for column, heading in enumerate(table.headings)}, "change": len(widths) - 2}
    for heading, narrowest in _NARROWING:
        if heading in columns:
            cut = max(0, min(excess, widths[columns[heading]] - narrowest))
            widths[columns[heading]] -= cut
            excess -= cut
    return widths


def _join_cells(cells: Sequence[str], table: Table, widths: Sequence[int]) -> str:
    from rich.cells import cell_len

    texts = []
    for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        if column == len(cells) - 2 and cell_len(cell) > width:
            # The change without its interval is still true; with half of the interval it would not be.
            cell, _, _ = cell.partition(" [")
        short = shorten(cell, width)
        padding = " " * (width - cell_len(short))
        texts.append(padding + short if column in table.numeric else short + padding)
    return _GAP.join(texts).rstrip()


def _row(row: Row, table: Table, widths: Sequence[int], header: Header) -> StyledLine:
    line = _join_cells(row.cells, table, widths)
    return line, ((len(line) - len(row.cells[-1]), len(line), _style(row.result.status, header)),)


def _style(status: Status, header: Header) -> str:
    return "bold red" if status in header.failing else _STYLES.get(status, "yellow")


def _details(result: Result) -> Iterator[str]:
    for verdict in result.verdicts:
        yield failure.sentence(verdict, result.measurement)
        yield from (f"  {line}" for line in verdict.details)
    if result.measurement is not None:
        yield from _measurement_lines(result.measurement)
    if result.parts_s:
        parts = ", ".join(f"{name} {format_duration(s)}" for name, s in result.parts_s.items())
        yield f"took {format_duration(result.seconds)}: {parts}"


def _measurement_lines(measurement: Measurement) -> Iterator[str]:
    in_table = {"ms", "p99_ms", "throughput"}
    for unit in ("ms", "MB", "s"):
        names = [n for n in measurement.figures if n in FIGURES and FIGURES[n].unit == unit and n not in in_table]
        texts = (f"{FIGURES[name].title} {format_figure(name, measurement.figures[name].value)}" for name in names)
        if names:
            yield f"{unit}: {', '.join(texts)}"
    blocks = sum(len(s.blocks) for s in measurement.samples)
    probes = len({(s.build, s.probe) for s in measurement.samples})
    samples = measurement.figures["ms"].samples if "ms" in measurement.figures else 0
    counts = ((probes, "probe"), (blocks, "block"), (samples, "sample"))
    effort = ", ".join(format_count(count, noun) for count, noun in counts)
    warm_up = f"warm-up {format_duration(measurement.warm_up_s)}"
    yield "; ".join((effort, warm_up, *(f"{name} {proof}" for name, proof in measurement.proof.items())))
    yield from (f"advice: {line}" for line in trtexec_json.advice(measurement))
    yield environment_line(measurement.environment)


def _wrap(line: str, width: int, indent: str) -> list[str]:
    line = escape(line)
    if len(indent) + len(line) <= width:
        return [indent + line]
    after = indent + "  "
    parts = textwrap.wrap(line, width, initial_indent=indent, subsequent_indent=after, break_on_hyphens=False)
    return [escape(part) for part in parts]  # A part may begin with what was inside the line.
