"""The table that a run ends with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Measurement, Result, Status
from pytest_trt.report import failure, trtexec_json
from pytest_trt.report.header import Header, environment_line
from pytest_trt.report.numbers import THIN_SPACE, format_count, format_duration, format_figure
from pytest_trt.report.table import Row, Table, build_table, totals, warnings

MAX_WIDTH = 100
_GAP = "  "
_GIVES_WAY = (("test", 32), ("device", 20), ("test", 24), ("device", 14), ("change", 18), ("test", 12), ("change", 8))
"""Which column is narrowed to what, in turn, until the line fits."""
_STYLES = {"ok": "green", "improved": "bold green", "new": "cyan", "missing": "cyan"}
_PLAIN = str.maketrans({THIN_SPACE: " ", "…": "~", "─": "-", "┤": "|", "└": "+", "●": "o"})

Styled = tuple[str, tuple[tuple[int, int, str], ...]]
"""A line, and the (start, end, style) of what is coloured in it."""


def render(
    results: Sequence[Result],
    header: Header,
    *,
    width: int = MAX_WIDTH,
    colour: bool,
    verbosity: int = 0,
    encoding: str = "utf-8",
) -> str:
    """The whole report: title, table, totals and warnings; at most `width`, and never more than 100, columns wide.

    Below 0, `verbosity` leaves only the failing tests and the totals; above 0, each test is followed by what else is
    known of it. `colour` adds ANSI codes. Where `encoding` cannot hold a character, a plain one stands for it.
    """
    import io

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
    """`text` as it is where `encoding` holds it; else with plain characters of the same width."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


def shorten(name: str, width: int) -> str:
    """`name` in at most `width` columns: its middle goes, what stands in brackets stays as long as it fits."""
    from rich.cells import cell_len

    if cell_len(name) <= width:
        return name
    bracket = name.find("[")
    tail = name[bracket:] if bracket > 0 and cell_len(name[bracket:]) <= width - 4 else name[-((width - 1) // 2) :]
    head = name[: -len(tail)]
    while head and cell_len(head) + cell_len(tail) > width - 1:
        head = head[:-1]
    return f"{head}…{tail}"


def _lines(results: Sequence[Result], header: Header, width: int, verbosity: int) -> Iterator[Styled]:
    title = f" {shorten(header.title, width - 4)} "
    yield title.center(width, "="), ((0, width, "bold"),)
    shown = [r for r in results if verbosity >= 0 or r.status in header.failing]
    if shown:
        drawn = build_table(shown, header)
        widths = _widths(drawn, width)
        heads = _cells(drawn.headings, drawn, widths)
        yield heads, ((0, len(heads), "bold"),)
        for row in drawn.rows:
            yield _row(row, drawn, widths, header)
            if verbosity > 0:
                for line in _details(row.result):
                    yield from ((part, ()) for part in _wrapped(line, width, "    "))
    for line in totals(results), *(f"warning: {w}" for w in (warnings(results, header) if verbosity >= 0 else ())):
        style = ((0, len("warning:"), "yellow"),) if line.startswith("warning:") else ()
        first, *rest = _wrapped(line, width, "")
        yield first, style
        yield from ((part, ()) for part in rest)


def _widths(drawn: Table, width: int) -> list[int]:
    """Each column as wide as its widest text. Where that is too much for the line, texts give way; numbers and
    verdicts never do."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(drawn.headings, *(r.cells for r in drawn.rows), strict=True)]
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - width
    columns = {**{head: column for column, head in enumerate(drawn.headings)}, "change": len(widths) - 2}
    for head, narrowest in _GIVES_WAY:
        if head in columns:
            cut = max(0, min(excess, widths[columns[head]] - narrowest))
            widths[columns[head]] -= cut
            excess -= cut
    return widths


def _cells(cells: Sequence[str], drawn: Table, widths: Sequence[int]) -> str:
    from rich.cells import cell_len

    texts = []
    for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        if column == len(cells) - 2 and cell_len(cell) > width:
            cell, _, _ = cell.partition(" [")  # a change without its interval is still true; with half of it, no longer
        short = shorten(cell, width)
        padding = " " * (width - cell_len(short))
        texts.append(padding + short if column in drawn.numeric else short + padding)
    return _GAP.join(texts).rstrip()


def _row(row: Row, drawn: Table, widths: Sequence[int], header: Header) -> Styled:
    line = _cells(row.cells, drawn, widths)
    return line, ((len(line) - len(row.cells[-1]), len(line), _style(row.result.status, header)),)


def _style(status: Status, header: Header) -> str:
    return "bold red" if status in header.failing else _STYLES.get(status, "yellow")


def _details(result: Result) -> Iterator[str]:
    for verdict in result.verdicts:
        yield failure.sentence(verdict, result.measurement)
        yield from (f"  {line}" for line in verdict.details)
    if result.measurement is not None:
        yield from _measured(result.measurement)
    if result.parts_s:
        parts = ", ".join(f"{name} {format_duration(s)}" for name, s in result.parts_s.items())
        yield f"took {format_duration(result.seconds)}: {parts}"


def _measured(measurement: Measurement) -> Iterator[str]:
    shown = {"ms", "p99_ms", "throughput"}
    for unit in ("ms", "MB", "s"):
        names = [n for n in measurement.figures if n in FIGURES and FIGURES[n].unit == unit and n not in shown]
        texts = (f"{FIGURES[name].title} {format_figure(name, measurement.figures[name].value)}" for name in names)
        if names:
            yield f"{unit}: {', '.join(texts)}"
    blocks = sum(len(s.blocks) for s in measurement.samples)
    probes = len({(s.build, s.probe) for s in measurement.samples})
    samples = measurement.figures["ms"].samples if "ms" in measurement.figures else 0
    counts = ((probes, "probe"), (blocks, "block"), (samples, "sample"))
    ran = ", ".join(format_count(count, noun) for count, noun in counts)
    warm_up = f"warm-up {format_duration(measurement.warm_up_s)}"
    yield "; ".join((ran, warm_up, *(f"{name} {proof}" for name, proof in measurement.proof.items())))
    yield from (f"advice: {line}" for line in trtexec_json.advice(measurement))
    yield environment_line(measurement.environment)


def _wrapped(line: str, width: int, indent: str) -> list[str]:
    import textwrap

    if len(indent) + len(line) <= width:
        return [indent + line]
    after = indent + "  "
    return textwrap.wrap(line, width, initial_indent=indent, subsequent_indent=after, break_on_hyphens=False)
