"""Write a run as JSON with all of its samples. `result_json` reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_trt.core.records import Result
from pytest_trt.report import result_json, result_line
from pytest_trt.report.header import Header


def render(results: Sequence[Result], header: Header) -> Iterator[str]:
    """Yield the parts of the JSON. Numbers keep all their digits."""
    return result_json.document(map(result_line.render, results), header.run)
