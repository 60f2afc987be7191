"""What a run that only built engines ends with: a line for each test."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_trt.core.records import Result
from pytest_trt.report.numbers import format_count, format_duration
from pytest_trt.report.table import display_names, status_words
from pytest_trt.report.terminal import shorten

_ENGINE = 42
"""Columns that what is said of an engine takes."""


def render(results: Sequence[Result], *, width: int = 100) -> str:
    """Each test with its engine or what went wrong, and how many engines were built or found."""
    shown = display_names(results)
    column = min(max(map(len, shown)), width - _ENGINE)
    shown = [shorten(name, column) for name in shown]
    lines = [" trt: engines are built, no test is run ".center(width, "=")]
    for name, result in zip(shown, results, strict=True):
        said = result.verdicts[0].text.splitlines()[0] if result.verdicts else ""
        mark = "" if result.status == "ok" else f"{status_words(result.status)}: "
        lines.append(f"{name:<{column}}  {mark}{said}"[:width])
    built = [result.built_s for result in results if result.built_s is not None]
    found = sum(result.status == "ok" and result.built_s is None for result in results)
    lines.append(
        f"{format_count(len(built), 'engine')} built in {format_duration(sum(built))}, {found} from the cache."
    )
    return "\n".join(lines) + "\n"
