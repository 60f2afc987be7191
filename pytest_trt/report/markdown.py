"""Summarize a run in GitHub's Markdown, for `$GITHUB_STEP_SUMMARY` or a comment on a pull request."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence

from pytest_trt.core.foreign_text import escape
from pytest_trt.core.records import STATUSES, Result
from pytest_trt.report import failure
from pytest_trt.report.header import Header
from pytest_trt.report.stored_results import summaries
from pytest_trt.report.table import build_table, next_step, totals, warnings

MAX_ROWS = 1000
MAX_FAILURES = 50
MAX_FAILURE = 5000
"""The limits on tests, failures, and characters in a failure, which keep a summary below 1 MiB.

GitHub discards a step's summary that exceeds 1 MiB ("Workflow commands for GitHub Actions").
"""


_REFERENCE = re.compile(r"@(?=\w)|[#!%](?=\d)|(?<=\w):(?=//)|\bwww(?=\.)|\bGH(?=-\d)")
"""What GitHub or GitLab turns into a mention, an issue, a merge request, a milestone or a link. An empty comment after
it prevents that."""


def render(results: Sequence[Result], header: Header) -> str:
    """Return the totals, the table, the folded failure messages and the warnings, in less than 1 MiB.

    The tests are sorted by verdict, the worst first.
    """
    results = summaries(results)
    worst_first = sorted(results, key=lambda r: STATUSES.index(r.status))
    parts = [f"### {escape_markdown(header.title)}", escape_markdown(totals(results))]
    if header.selftest:
        parts.insert(1, escape_markdown(header.selftest))
    if results:
        parts.append("\n".join(_table(worst_first, header)))
    failed = [r for r in worst_first if r.status in header.failing]
    parts += [folded_failure(r, header, accept=not header.commit) for r in failed[:MAX_FAILURES]]
    if len(failed) > MAX_FAILURES:
        parts.append(f"{len(failed) - MAX_FAILURES} more failures are in the log.")
    if lines := warnings(results, header):
        parts.append("\n".join(f"- warning: {escape_markdown(line)}" for line in lines))
    parts += [escape_markdown(line)] if (line := next_step(results, header)) else []
    return "\n\n".join(parts) + "\n"


def _table(results: Sequence[Result], header: Header) -> Iterator[str]:
    table = build_table(results[:MAX_ROWS], header)
    yield _line(map(escape_markdown, table.headings))
    yield _line("---:" if column in table.numeric else "---" for column in range(len(table.headings)))
    for row in table.rows:
        name, *cells, verdict = row.cells
        verdict = f"**{verdict}**" if row.result.status in header.failing else verdict
        yield _line((code_span(name), *map(escape_markdown, cells), verdict))
    if len(results) > MAX_ROWS:
        yield f"\n{len(results) - MAX_ROWS} more tests are in the log."


def folded_failure(result: Result, header: Header, *, accept: bool) -> str:
    """Return the message of a failing test, folded under its name and its worst verdict.

    With `accept`, the command that accepts a regression is its last line.
    """
    text = failure.text(result, header.failing, stored=accept)
    text = text if len(text) <= MAX_FAILURE else text[:MAX_FAILURE] + "\n..."
    name = html.escape(escape(result.node_id), quote=False)
    worst = html.escape(failure.headline(result, header.failing), quote=False)
    return f"<details><summary><code>{name}</code> {worst}</summary>\n\n{fenced(text, 'text')}\n\n</details>"


def fenced(text: str, language: str) -> str:
    """Return `text` as a block of code, whose fence has more backticks than the text."""
    fence = "`" * max(3, 1 + _longest_backticks(text))
    return f"{fence}{language}\n{text}\n{fence}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escape_markdown(text: str) -> str:
    """Escape `text`, so that nothing in it is read as Markdown, HTML, a link or a mention of a person or an issue."""
    text = re.sub(r"([\\`*_<>|~&$]|](?=\())", r"\\\1", escape(text))
    return _REFERENCE.sub(lambda found: f"{found[0]}<!-- -->", text)


def code_span(text: str) -> str:
    """Return `text` as a code span in a table's cell.

    The fence has more backticks than `text`. A bar is escaped, since it would end the cell even in code.
    """
    text = escape(text)
    fence = "`" * (1 + _longest_backticks(text))
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def _longest_backticks(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
