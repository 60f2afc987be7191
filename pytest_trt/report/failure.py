"""Write the message with which a test fails."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator

from pytest_trt.core.figures import FIGURES, status_words
from pytest_trt.core.foreign_text import escape
from pytest_trt.core.records import ALWAYS_FAIL, STATUSES, Measurement, Result, Status, Verdict
from pytest_trt.report.header import environment_line
from pytest_trt.report.numbers import format_change, format_count, format_share, format_with_unit

_NUMBERS_SUFFICE = frozenset(("over_budget", "regressed", "improved", "ok"))
"""The verdicts that are fully described by their numbers. Of any other, the text also says why it is undecided."""


def text(result: Result, failing: frozenset[Status] = ALWAYS_FAIL, *, stored: bool = True) -> str:
    """Return why `result` fails: one paragraph for each failing verdict, the worst first.

    The first line is the worst verdict in one sentence, since pytest's short summary shows that line alone. The
    environment follows the paragraphs, then the command that accepts a regression.

    Args:
        result: The result of one test.
        failing: The statuses that fail a test in this run.
        stored: Whether the test was compared with a stored baseline, which `baseline accept` can replace.

    Returns:
        The message; empty if no verdict has a failing status.
    """
    verdicts = _worst_first(result, failing)
    if not verdicts:
        return ""
    lines = [line for verdict in verdicts for line in _paragraph(verdict, result.measurement)]
    if len(verdicts) > 1:
        lines[0] += f" (and {format_count(len(verdicts) - 1, 'more verdict')} below)"
    if result.measurement is not None:
        lines.append(f"  measured on {environment_line(result.measurement.environment)}")
        lines += [f"  note: {note}" for note in result.measurement.notes]
    if stored and any(v.status == "regressed" for v in verdicts):
        lines.append(f"  accept it with: pytest-trt baseline accept {quote_node_id(result.node_id)} --reason=WHY")
    return "\n".join(map(escape, lines))


def headline(result: Result, failing: frozenset[Status]) -> str:
    """Return the worst verdict in a few words, none of which comes from elsewhere: `latency regressed, +11.0 %`."""
    worst = next(iter(_worst_first(result, failing)), None)
    if worst is None:
        return ""
    about = FIGURES.get(worst.figure)
    words = f"{about.title if about else ''} {status_words(worst.status, worst.figure)}".strip()
    return words if worst.ratio is None else f"{words}, {format_change(worst.ratio)}"


def _worst_first(result: Result, failing: frozenset[Status]) -> list[Verdict]:
    return sorted((v for v in result.verdicts if v.status in failing), key=lambda v: STATUSES.index(v.status))


def _paragraph(verdict: Verdict, measurement: Measurement | None) -> Iterator[str]:
    yield sentence(verdict, measurement)
    for line in verdict.details:
        yield f"  {line}"


def sentence(verdict: Verdict, measurement: Measurement | None) -> str:
    """Return the verdict in one line: the figure, its budget or baseline, the change, and the tolerance."""
    estimate = measurement.figures.get(verdict.figure) if measurement else None
    about = FIGURES.get(verdict.figure)
    if estimate is None or about is None or verdict.status not in _NUMBERS_SUFFICE:
        return " ".join(verdict.text.split()) or f"{verdict.figure} {verdict.status}"
    words = status_words(verdict.status, verdict.figure)
    head = f"{about.title} {words}: {format_with_unit(verdict.figure, estimate.value)}"
    if verdict.basis == "baseline" and verdict.ratio is not None and verdict.ratio.value > 0:
        old = format_with_unit(verdict.figure, estimate.value / verdict.ratio.value)
        tolerance = f", tolerance {format_share(verdict.tolerance)}" if verdict.tolerance is not None else ""
        return f"{head} against {old}, {format_change(verdict.ratio)}{tolerance}"
    if verdict.basis == "budget" and verdict.limit:
        ratio_to_limit = dataclasses.replace(
            estimate, **{end: getattr(estimate, end) / verdict.limit for end in ("value", "low", "high")}
        )
        return f"{head}, budget {format_with_unit(verdict.figure, verdict.limit)}, {format_change(ratio_to_limit)}"
    return " ".join(verdict.text.split())


def quote_node_id(node_id: str) -> str:
    """Return `node_id` as one word for a shell: in double quotes unless it has a character that is special in them."""
    return shlex.quote(node_id) if set(node_id) & set('"$`\\!') else f'"{node_id}"'
