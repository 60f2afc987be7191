"""The text with which a test fails."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Iterator

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import ALWAYS_FAIL, STATUSES, Measurement, Result, Status, Verdict
from pytest_trt.report.header import environment_line
from pytest_trt.report.numbers import format_change, format_count, format_share, format_with_unit

_DECIDED = frozenset(("over_budget", "regressed", "improved", "ok"))
"""Verdicts whose numbers say everything; the text of any other also says why it is not decided."""


def text(result: Result, failing: frozenset[Status] = ALWAYS_FAIL, *, stored: bool = True) -> str:
    """Why `result` fails: a paragraph for each verdict whose status is in `failing`, worst first.

    The first line stands alone in pytest's short summary, so it is the worst verdict's sentence. The environment
    follows and, where a `stored` baseline was compared with, the command that accepts a regression. A result without
    such a verdict gives the empty text.
    """
    verdicts = sorted((v for v in result.verdicts if v.status in failing), key=lambda v: STATUSES.index(v.status))
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
    return "\n".join(lines)


def sentence(verdict: Verdict, measurement: Measurement | None) -> str:
    """The verdict in one line: the figure, what it is held against, by how much it differs, and the tolerance."""
    estimate = measurement.figures.get(verdict.figure) if measurement else None
    about = FIGURES.get(verdict.figure)
    if estimate is None or about is None or verdict.status not in _DECIDED:
        return " ".join(verdict.text.split()) or f"{verdict.figure} {verdict.status}"
    head = f"{about.title} {verdict.status.replace('_', ' ')}: {format_with_unit(verdict.figure, estimate.value)}"
    if verdict.basis == "baseline" and verdict.ratio is not None and verdict.ratio.value > 0:
        old = format_with_unit(verdict.figure, estimate.value / verdict.ratio.value)
        tolerance = f", tolerance {format_share(verdict.tolerance)}" if verdict.tolerance is not None else ""
        return f"{head} against {old}, {format_change(verdict.ratio)}{tolerance}"
    if verdict.basis == "budget" and verdict.limit:
        above = dataclasses.replace(
            estimate, **{end: getattr(estimate, end) / verdict.limit for end in ("value", "low", "high")}
        )
        return f"{head}, budget {format_with_unit(verdict.figure, verdict.limit)}, {format_change(above)}"
    return " ".join(verdict.text.split())


def _paragraph(verdict: Verdict, measurement: Measurement | None) -> Iterator[str]:
    yield sentence(verdict, measurement)
    for line in verdict.details:
        yield f"  {line}"


def quote_node_id(node_id: str) -> str:
    """`node_id` as one word for a shell: in double quotes, unless it holds what those would not keep."""
    return shlex.quote(node_id) if set(node_id) & set('"$`\\!') else f'"{node_id}"'
