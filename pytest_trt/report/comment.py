"""Write the comment on a pull or merge request: totals, failures with their causes, and what to do."""

from __future__ import annotations

import re
import shlex
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence

from pytest_trt.core.foreign_text import escape
from pytest_trt.core.records import STATUSES, Result, Verdict
from pytest_trt.errors import DeclarationError
from pytest_trt.report import failure
from pytest_trt.report.header import Header
from pytest_trt.report.markdown import code_span, escape_markdown, fenced, folded_failure
from pytest_trt.report.table import display_names, totals, warnings

MAX_COMMENT = 60_000
"""The most characters of a comment, below GitHub's limit of 65,536."""

_MAX_LISTED = 20
"""How many improved tests are listed, and how many commands."""

_MAX_LINE = 800
"""The most characters of a line in a list."""

_NAME = re.compile(r"[A-Za-z0-9](-?[A-Za-z0-9 ._]){0,59}")
"""The names of comments. Two hyphens would end a comment of HTML."""


def marker(name: str) -> str:
    """Return the hidden first line of the comment with that name, by which it is found again.

    Raises:
        DeclarationError: The name has other characters, or would end the hidden line.
    """
    if not _NAME.fullmatch(name):
        raise DeclarationError(
            f"--name is {name!r}: write at most 60 letters, digits, spaces, dots, underscores and single hyphens, with "
            "a letter or digit first"
        )
    return f"<!-- pytest-trt comment: {name} -->"


def render(results: Sequence[Result], header: Header, *, name: str, report_url: str = "") -> str:
    """Return the comment in Markdown, in at most MAX_COMMENT characters.

    Args:
        results: The results of the run.
        header: The facts about the run; `run_file` is the file from which its results are accepted.
        name: The name of the comment.
        report_url: The page that a link leads to; empty for none.

    Raises:
        DeclarationError: The name or the URL is invalid.
    """
    first = [marker(name), f"### {escape_markdown(_title(header, name))}", escape_markdown(totals(results))]
    if report_url:
        first.append(f"[Report]({_checked_url(report_url)})")
    failed = sorted(
        (r for r in results if r.status in header.failing), key=lambda result: STATUSES.index(result.status)
    )
    last = [*_improved(results), *_commands(failed, header)]
    last += (
        ["\n".join(f"- warning: {escape_markdown(line)}" for line in lines)]
        if (lines := warnings(results, header))
        else []
    )
    space = MAX_COMMENT - sum(len(part) + 2 for part in (*first, *last))
    return "\n\n".join((*first, *_failures(failed, header, space), *last)) + "\n"


def _title(header: Header, name: str) -> str:
    parts = [part for part in (header.device, header.backend) if part]
    if header.run is not None and header.run.commit:
        parts.append(f"commit {header.run.commit[:10]}")
    return f"{name}: {', '.join(parts)}"[:_MAX_LINE]


def _checked_url(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DeclarationError(f"--report-url is {url!r}: give the address of a page, such as https://example.com/trt")
    return urllib.parse.quote(url, safe="/:?#=&%+,;@~!$*'")


def _failures(failed: Sequence[Result], header: Header, space: int) -> Iterator[str]:
    """Yield the failing tests, each folded, as far as there is space."""
    for number, result in enumerate(failed):
        part = folded_failure(result, header, accept=False)
        space -= len(part) + 2
        if space < 0:
            yield f"{len(failed) - number} more failures are in the report."
            return
        yield part


def _improved(results: Sequence[Result]) -> Iterator[str]:
    improved = [
        (name, result, verdict)
        for name, result in zip(display_names(results), results, strict=True)
        for verdict in result.verdicts
        if verdict.status == "improved"
    ]
    if improved:
        yield "Improved:\n\n" + "\n".join(_listed([_improvement(*found) for found in improved]))


def _improvement(name: str, result: Result, verdict: Verdict) -> str:
    return f"- {code_span(name)}: {escape_markdown(failure.sentence(verdict, result.measurement))}"


def _commands(failed: Iterable[Result], header: Header) -> Iterator[str]:
    """Yield the commands that accept the regressions."""
    regressed = [r.node_id for r in failed if any(v.status == "regressed" for v in r.verdicts)]
    if not regressed:
        return
    source = f" --from={shlex.quote(header.run_file)}" if header.run_file else ""
    lines = [f"pytest-trt baseline accept {failure.quote_node_id(test)}{source} --reason=WHY" for test in regressed]
    text = fenced("\n".join(map(escape, _listed(lines, "# "))), "sh")
    yield f"To accept what is slower or larger, with the run's file from the artifacts of the job:\n\n{text}"


def _listed(lines: Sequence[str], prefix: str = "- ") -> list[str]:
    """Return the first lines, without those that are too long: a part of one could be read as Markdown."""
    lines = [line for line in lines if len(line) <= _MAX_LINE] or [f"{prefix}too long to be shown"]
    more = [f"{prefix}and {len(lines) - _MAX_LISTED} more"] if len(lines) > _MAX_LISTED else []
    return [*lines[:_MAX_LISTED], *more]
