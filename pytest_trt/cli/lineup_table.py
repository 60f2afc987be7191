"""A line-up as a table: for a person at a terminal, or in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_trt.report.numbers import format_figure
from pytest_trt.trial.lineup import LINEUP_FIGURES, Row

HEADINGS = (
    "backend", "status", "ms", "p99 ms", "inf/s", "memory MB", "host MB", "engine MB", "build s", "error", "cosine",
    "x ONNX Runtime", "x PyTorch",
)  # fmt: skip
"""`error` is the largest absolute difference from the reference; `x` how many times as fast as another row."""

_TEXTS = 2
_OTHERS = ("ONNX Runtime fp32", "PyTorch fp32")


def cells(row: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    """What stands under HEADINGS; empty where nothing is known."""
    by_name = {other.name: other for other in rows}
    speeds = (row.faster_than(by_name.get(other)) for other in _OTHERS)
    return (
        row.name,
        row.status,
        *(format_figure(name, row.figures[name]) if name in row.figures else "" for name in LINEUP_FIGURES),
        "" if row.max_abs is None else f"{row.max_abs:.2g}",
        "" if row.cosine is None else f"{row.cosine:.6f}",
        *("" if speed is None else f"{speed:.2f}" for speed in speeds),
    )


def remarks(row: Row) -> tuple[str, ...]:
    """What has to be said of a row in words: why it did not run, what departs, which precisions its layers have."""
    mixed = ", ".join(f"{share:.0%} {name}" for name, share in row.precisions.items())
    shares = f"its layers are {mixed}" if row.precisions and row.precisions.get(row.precision, 0) < 1 else ""
    return tuple(said for said in (row.why, row.departs, shares, *row.notes) if said)


def plain_text(rows: Sequence[Row]) -> str:
    """The table with aligned columns, without those that are empty, and the remarks below it."""
    table = [HEADINGS, *(cells(row, rows) for row in rows)]
    kept = [i for i in range(len(HEADINGS)) if i < _TEXTS or any(line[i] for line in table[1:])]
    widths = {i: max(len(line[i]) for line in table) for i in kept}
    lines = [
        "  ".join(line[i].ljust(widths[i]) if i < _TEXTS else line[i].rjust(widths[i]) for i in kept).rstrip()
        for line in table
    ]
    said = [f"{row.name}: {remark}" for row in rows for remark in remarks(row)]
    return "\n".join([*lines, *said]) + "\n"


def markdown(named: Sequence[tuple[str, Sequence[Row]]]) -> str:
    """One table for several models by name, or for one without a name, and the remarks below it."""
    leading = ("model",) if any(name for name, _ in named) else ()
    heads = (*leading, *HEADINGS)
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * (_TEXTS + len(leading))}{'---:|' * (len(HEADINGS) - _TEXTS)}"]
    said = []
    for name, rows in named:
        for row in rows:
            lines.append(f"| {' | '.join((*([name] if leading else []), *cells(row, rows)))} |")
            said += [f"- {', '.join(filter(None, (name, row.name)))}: {remark}" for remark in remarks(row)]
    return "\n".join([*lines, *(["", *said] if said else [])]) + "\n"
