"""Render the rows of `pytest-trt backends` as a table, for the terminal or in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_trt.core.foreign_text import escape
from pytest_trt.report.markdown import escape_markdown
from pytest_trt.report.numbers import format_figure
from pytest_trt.trial.lineup import LINEUP_FIGURES, Row

HEADINGS = (
    "backend", "status", "ms", "GPU ms", "p99 ms", "inf/s", "memory MB", "host MB", "engine MB", "build s", "error",
    "cosine", "x ONNX Runtime", "x PyTorch",
)  # fmt: skip
"""`error` is the largest absolute difference from the reference. `x` is how many times as fast as that row it is."""

_OPTIONAL = ("host MB", "engine MB", "build s", "memory MB", "inf/s", "p99 ms", "error")
"""The columns that a narrow table leaves out, in this order."""

_TEXT_COLUMNS = 2
_SPEED_REFERENCES = ("ONNX Runtime fp32", "PyTorch fp32")


def cells(row: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    """Return the cells of `row` under HEADINGS, empty where a value is unknown.

    Args:
        row: The row.
        rows: All rows of the table. The speed of `row` is compared with that of the references among them.
    """
    by_name = {other.name: other for other in rows}
    speeds = (row.faster_than(by_name.get(name)) for name in _SPEED_REFERENCES)
    return (
        row.name,
        row.status,
        *(format_figure(name, row.figures[name]) if name in row.figures else "" for name in LINEUP_FIGURES),
        "" if row.max_abs is None else f"{row.max_abs:.2g}",
        "" if row.cosine is None else f"{row.cosine:.6f}",
        *("" if speed is None else f"{speed:.2f}" for speed in speeds),
    )


def remarks(row: Row) -> tuple[str, ...]:
    """Return the remarks on `row`: why it did not run, what differs, the precisions of its layers, and notes."""
    shares = ", ".join(f"{share:.0%} {name}" for name, share in row.precisions.items())
    is_mixed = row.precisions and row.precisions.get(row.precision, 0) < 1
    return tuple(
        text for text in (row.why, row.departs, f"its layers are {shares}" if is_mixed else "", *row.notes) if text
    )


def plain_text(rows: Sequence[Row], width: int) -> str:
    """Return the table with aligned columns and without empty ones, followed by the remarks.

    Args:
        rows: The rows.
        width: The width of the terminal. A table that is wider lacks some columns, which a line below it names.
    """
    table = [HEADINGS, *(cells(row, rows) for row in rows)]
    kept = [i for i in range(len(HEADINGS)) if i < _TEXT_COLUMNS or any(line[i] for line in table[1:])]
    widths = {i: max(len(line[i]) for line in table) for i in kept}
    left_out = []
    for heading in _OPTIONAL:
        if sum(widths[i] + 2 for i in kept) - 2 > width and (column := HEADINGS.index(heading)) in kept:
            kept.remove(column)
            left_out.append(heading)
    lines = [
        "  ".join(line[i].ljust(widths[i]) if i < _TEXT_COLUMNS else line[i].rjust(widths[i]) for i in kept).rstrip()
        for line in table
    ]
    if left_out:
        lines.append(f"not shown in {width} columns: {', '.join(left_out)} (--format=md shows them)")
    lines += [f"{row.name}: {remark}" for row in rows for remark in remarks(row)]
    return "\n".join(map(escape, lines)) + "\n"


def markdown(rows_by_model: Sequence[tuple[str, Sequence[Row]]]) -> str:
    """Return one Markdown table for several models, followed by the remarks.

    Args:
        rows_by_model: The name and the rows of each model. If every name is empty, the table has no column for it.
    """
    leading = ("model",) if any(name for name, _ in rows_by_model) else ()
    headings = (*leading, *HEADINGS)
    rule = "---|" * (_TEXT_COLUMNS + len(leading)) + "---:|" * (len(HEADINGS) - _TEXT_COLUMNS)
    lines = [f"| {' | '.join(headings)} |", f"|{rule}"]
    notes = []
    for name, rows in rows_by_model:
        for row in rows:
            texts = (*([name] if leading else []), *cells(row, rows))
            lines.append(f"| {' | '.join(map(escape_markdown, texts))} |")
            title = ", ".join(filter(None, (name, row.name)))
            notes += [f"- {escape_markdown(f'{title}: {remark}')}" for remark in remarks(row)]
    return "\n".join([*lines, *(["", *notes] if notes else [])]) + "\n"
