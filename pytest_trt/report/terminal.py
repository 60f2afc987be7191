"""Draw the report that ends a run in the terminal: a table of the results, totals and warnings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.foreign_text import escape
from pytest_trt.core.records import Measurement, Result, Status
from pytest_trt.report import failure, trtexec_json
from pytest_trt.report.console import PIPED_WIDTH
from pytest_trt.report.console import render as render_console
from pytest_trt.report.header import Header, environment_line
from pytest_trt.report.numbers import format_count, format_duration, format_figure
from pytest_trt.report.stored_results import summaries
from pytest_trt.report.table import Row, Table, build_table, next_step, totals, warnings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# rich is imported inside functions, so that a run that prints no table does not load it.

_GAP = 2
_MIN_NAME = 24
"""Below this width of the names, the change loses its interval, and then the device its end."""
_MIN_DEVICE = 14
_STYLES = {"ok": "green", "improved": "bold green", "new": "cyan", "missing": "cyan"}


def render(
    results: Sequence[Result],
    header: Header,
    *,
    width: int = PIPED_WIDTH,
    colour: bool,
    verbosity: int = 0,
    encoding: str = "utf-8",
) -> str:
    """Return the whole report: the title, the table, the totals and the warnings.

    Args:
        results: The results of the tests, in the order of the table.
        header: The facts about the run as a whole.
        width: The width of the terminal in columns.
        colour: Whether to add ANSI colour codes.
        verbosity: Below 0, only the failing tests and the totals are shown; above 0, each test is followed by its
            verdicts, its other figures and how it was run.
        encoding: The encoding of the output. A character that it lacks is replaced by a plain one.
    """

    def draw(console: Console) -> None:
        print_report(console, results, header, verbosity=verbosity)

    return render_console(draw, width=width, colour=colour, encoding=encoding)


def shorten(name: str, width: int) -> str:
    """Return `name` in at most `width` columns, without its middle if it is longer."""
    from rich.cells import cell_len

    if cell_len(name) <= width:
        return name
    tail = name[-((width - 1) // 2) :]
    head = name[: -len(tail)]
    while head and cell_len(head) + cell_len(tail) > width - 1:
        head = head[:-1]
    return f"{head}…{tail}"


def print_report(console: Console, results: Sequence[Result], header: Header, *, verbosity: int = 0) -> None:
    """Print the report that `render` returns to a console of rich."""
    from rich.rule import Rule
    from rich.text import Text

    width = console.width
    console.print(Rule(Text(shorten(header.title, width - 4), "bold"), characters="=", style="bold"))
    if header.selftest:
        console.print(Text("\n".join(_wrap(header.selftest, width, ""))), no_wrap=True, overflow="ignore", crop=False)
    known = summaries(results)
    shown = [r for r in known if verbosity >= 0 or r.status in header.failing]
    if shown:
        _print_table(console, build_table(shown, header), header, results if verbosity > 0 else None)
    notes = [f"warning: {line}" for line in warnings(known, header)] if verbosity >= 0 else []
    for line in filter(None, (totals(known), *notes, next_step(known, header))):
        first, *rest = _wrap(line, width, "")
        text = Text("\n".join((first, *rest)))
        text.highlight_regex("^warning:", "yellow")
        console.print(text, no_wrap=True, overflow="ignore", crop=False)


def _print_table(console: Console, table: Table, header: Header, details: Sequence[Result] | None) -> None:
    """Print the table, with a line for each file, and `details`, the same results with samples, below the rows."""
    from rich.table import Table as Grid
    from rich.text import Text

    columns, widths = _layout(table, console.width)

    def print_rows(rows: Sequence[Sequence[Text]]) -> None:
        grid = Grid.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
        for column, width in zip(columns, widths, strict=True):
            grid.add_column(width=width, justify="right" if column in table.numeric else "left", overflow="fold")
        for cells in rows:
            grid.add_row(*cells)
        console.print(grid)

    def cells_of(row: Row) -> list[Text]:
        cells = [Text(_fit(row.cells[c], w, c, table)) for c, w in zip(columns, widths, strict=True)]
        cells[0] = Text(escape(row.name))
        cells[-1].stylize(_style(row.result.status, header))
        return cells

    print_rows([[Text.assemble((table.headings[c], "bold")) for c in columns]])
    groups: dict[str, list[tuple[int, Row]]] = {}
    for numbered in enumerate(table.rows):
        groups.setdefault(numbered[1].group, []).append(numbered)
    for group, rows in groups.items():
        if group:
            console.print(Text(escape(group), "dim"), overflow="fold")
        if details is None:
            print_rows([cells_of(row) for _, row in rows])
            continue
        for number, row in rows:
            print_rows([cells_of(row)])
            lines = (part for line in _details(details[number]) for part in _wrap(line, console.width, "    "))
            console.print(Text("\n".join(lines)), no_wrap=True, overflow="ignore", crop=False)


def _layout(table: Table, width: int) -> tuple[list[int], list[int]]:
    """Return the columns that are shown, and their widths.

    While the names do not fit, the optional columns go. Then the names wrap. A number or a verdict is never cut.
    """
    from rich.cells import cell_len

    rows = [(row.name, *row.cells[1:]) for row in table.rows]
    full = [max(map(cell_len, column)) for column in zip(table.headings, *rows, strict=True)]
    columns = list(range(len(full)))

    def name_width() -> int:
        return width - sum(full[c] + _GAP for c in columns[1:])

    for column in table.optional:
        if name_width() < full[0]:
            columns.remove(column)
    wanted = min(full[0], _MIN_NAME)
    for column, narrowest in ((len(full) - 2, _narrow_change(table)), (1, _MIN_DEVICE)):
        if column > 1 or table.headings[1] == "device":
            full[column] -= max(0, min(wanted - name_width(), full[column] - narrowest))
    full[0] = max(1, min(full[0], name_width()))
    return columns, [full[c] for c in columns]


def _narrow_change(table: Table) -> int:
    """Return the width of the changes without their intervals."""
    from rich.cells import cell_len

    return max(map(cell_len, (row.cells[-2].partition(" [")[0] for row in table.rows)))


def _fit(cell: str, width: int, column: int, table: Table) -> str:
    """Return the cell in its column: a change without its interval is still true, with half of it it would not be."""
    from rich.cells import cell_len

    if column == len(table.headings) - 2 and cell_len(cell) > width:
        cell, _, _ = cell.partition(" [")
    return shorten(cell, width)


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
    for unit in dict.fromkeys(about.unit for about in FIGURES.values()):
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
    line = escape(line).replace(" %", "\xa0%")  # a number stays with its unit
    if len(indent) + len(line) <= width:
        return [indent + line.replace("\xa0", " ")]
    after = indent + "  "
    parts = textwrap.wrap(line, width, initial_indent=indent, subsequent_indent=after, break_on_hyphens=False)
    return [escape(part.replace("\xa0", " ")) for part in parts]  # A part may begin with what was inside the line.
