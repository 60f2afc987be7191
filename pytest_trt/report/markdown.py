"""A summary in GitHub's Markdown, for `$GITHUB_STEP_SUMMARY` or a comment."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence

from pytest_trt.core.records import STATUSES, Result
from pytest_trt.report import failure
from pytest_trt.report.header import Header
from pytest_trt.report.table import build_table, totals, warnings

MAX_ROWS = 1000
MAX_FAILURES = 50
MAX_FAILURE = 5000
"""A step's summary holds 1 MiB, and is lost as a whole beyond that (GitHub's "Workflow commands" page)."""


def render(results: Sequence[Result], header: Header) -> str:
    """Totals, the table (worst first), the failures' texts, folded, and the warnings; well below 1 MiB in all."""
    worst_first = sorted(results, key=lambda r: STATUSES.index(r.status))
    parts = [f"### {_plain(header.title)}", _plain(totals(results))]
    if results:
        parts.append("\n".join(_table(worst_first, header)))
    failed = [r for r in worst_first if r.status in header.failing]
    parts += [_failure(r, header) for r in failed[:MAX_FAILURES]]
    if len(failed) > MAX_FAILURES:
        parts.append(f"{len(failed) - MAX_FAILURES} more failures are in the log.")
    if warned := warnings(results, header):
        parts.append("\n".join(f"- warning: {_plain(w)}" for w in warned))
    return "\n\n".join(parts) + "\n"


def _table(results: Sequence[Result], header: Header) -> Iterator[str]:
    drawn = build_table(results[:MAX_ROWS], header)
    yield _line(map(_plain, drawn.headings))
    yield _line("---:" if column in drawn.numeric else "---" for column in range(len(drawn.headings)))
    for row in drawn.rows:
        name, *cells, verdict = row.cells
        verdict = f"**{verdict}**" if row.result.status in header.failing else verdict
        yield _line((_code(name), *map(_plain, cells), verdict))
    if len(results) > MAX_ROWS:
        yield f"\n{len(results) - MAX_ROWS} more tests are in the log."


def _failure(result: Result, header: Header) -> str:
    text = failure.text(result, header.failing, stored=not header.commit)
    text = text if len(text) <= MAX_FAILURE else text[:MAX_FAILURE] + "\n..."
    fence = "`" * max(3, 1 + _longest_backticks(text))
    name = html.escape(result.node_id, quote=False)
    return f"<details><summary>{name}</summary>\n\n{fence}text\n{text}\n{fence}\n\n</details>"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """`text` as it stands: nothing in it is taken for Markdown or HTML."""
    return re.sub(r"([\\`*_<>|~&]|](?=\())", r"\\\1", " ".join(text.splitlines()))


def _code(text: str) -> str:
    """A code span, fenced by more backticks than `text` holds; a bar would end the table's cell, even in code."""
    fence = "`" * (1 + _longest_backticks(text))
    space = " " if "`" in text else ""
    return f"{fence}{space}{' '.join(text.splitlines())}{space}{fence}".replace("|", "\\|")


def _longest_backticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
