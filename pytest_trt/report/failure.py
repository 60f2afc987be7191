"""The text with which a test fails."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from pytest_trt.records import ALWAYS_FAIL, STATUSES, Result, Status, Verdict
from pytest_trt.report import environment_line
from pytest_trt.report.numbers import counted


def text(result: Result, failing: frozenset[Status] = ALWAYS_FAIL) -> str:
    """Why `result` fails: a paragraph for each verdict whose status is in `failing`, worst first.

    The first line stands alone in pytest's short summary, so it is the worst verdict's sentence. The environment and
    the command that accepts a regression follow. A result without such a verdict gives the empty text.
    """
    verdicts = sorted((v for v in result.verdicts if v.status in failing), key=lambda v: STATUSES.index(v.status))
    if not verdicts:
        return ""
    lines = [line for verdict in verdicts for line in _paragraph(verdict)]
    if len(verdicts) > 1:
        lines[0] += f" (and {counted(len(verdicts) - 1, 'more verdict')} below)"
    if result.measurement is not None:
        lines.append(f"  measured on {environment_line(result.measurement.environment)}")
        lines += [f"  note: {note}" for note in result.measurement.notes]
    if any(v.status == "regressed" for v in verdicts):
        lines.append(f"  accept it with: pytest-trt baseline accept {_quoted(result.node_id)}")
    return "\n".join(lines)


def _paragraph(verdict: Verdict) -> Iterator[str]:
    first, *rest = verdict.text.splitlines() or [f"{verdict.figure} {verdict.status}"]
    yield first
    for line in (*rest, *verdict.details):
        yield f"  {line}"


def _quoted(node_id: str) -> str:
    """`node_id` as one word for a shell: in double quotes, unless it holds what those would not keep."""
    return shlex.quote(node_id) if set(node_id) & set('"$`\\!') else f'"{node_id}"'
