"""Summarize a run of --trt-build-only, which builds engines and runs no test."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_trt.core.foreign_text import escape
from pytest_trt.core.records import Result
from pytest_trt.report.numbers import format_count, format_duration
from pytest_trt.report.table import display_names, result_words

_ENGINE_WIDTH = 42
"""The number of columns that are reserved for the description of an engine."""


def render(results: Sequence[Result], *, width: int = 100) -> str:
    """Return one line for each test with its engine or its error, and a line with the number of built engines.

    Args:
        results: One result for each test; the text of its first verdict describes the engine.
        width: The width of the terminal in columns.
    """
    names = display_names(results)
    column = max(_ENGINE_WIDTH, min(max(map(len, names)), width - _ENGINE_WIDTH))
    lines = [" trt: engines built, no tests run ".center(width, "=")]
    for name, result in zip(names, results, strict=True):
        *folded, last = (name[start : start + column] for start in range(0, len(name), column))
        lines += folded
        description = result.verdicts[0].text.splitlines()[0] if result.verdicts else ""
        status = "" if result.status == "ok" else f"{result_words(result)}: "
        lines.append(escape(f"{last:<{column}}  {status}{description}")[:width])
    built = [result.built_s for result in results if result.built_s is not None]
    cached = sum(result.status == "ok" and result.built_s is None for result in results)
    engines = format_count(len(built), "engine")
    lines.append(f"{engines} built in {format_duration(sum(built))}, {cached} from the cache.")
    return "\n".join(lines) + "\n"
