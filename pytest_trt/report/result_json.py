"""Write a whole run as JSON with all its samples, and read it for `pytest-trt compare` and `baseline accept --from`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from pytest_trt.core import codec, json_text
from pytest_trt.core.json_text import JsonLimits
from pytest_trt.core.records import SCHEMA, Result
from pytest_trt.core.scalars import short_repr
from pytest_trt.errors import RecordError
from pytest_trt.report.header import Header

RUN_LIMITS = JsonLimits(text_bytes=2 << 30, memory_bytes=256 << 20, memory_per_byte=8)
"""How large a run's file may be. All samples of 2,000 tests take 350 MB, and three times as much memory."""


@dataclasses.dataclass(frozen=True)
class Run:
    """The content of the file."""

    results: tuple[Result, ...]
    schema: int = SCHEMA


def render(results: Sequence[Result], header: Header | None = None) -> str:
    """Return the results as JSON, one in each line. Numbers keep all their digits. `header` is not used.

    A figure without enough samples is null; `unsupported` has the reason.
    """
    lines = ",\n".join(json.dumps(_encode(result), separators=(",", ":")) for result in results)
    return f'{{"schema":{SCHEMA},"results":[\n{lines}\n]}}\n'


def _encode(result: Result) -> Any:
    data = codec.encode(result)
    if result.measurement is not None:
        data["measurement"]["figures"].update(dict.fromkeys(result.measurement.unsupported))
    return data


def _drop_null_figures(data: Any) -> None:
    """Remove the figures that are null from the results in a file, whatever else it contains."""
    results = data.get("results") if isinstance(data, dict) else None
    for result in results if isinstance(results, list) else ():
        measurement = result.get("measurement") if isinstance(result, dict) else None
        figures = measurement.get("figures") if isinstance(measurement, dict) else None
        if isinstance(figures, dict):
            for name in [name for name, figure in figures.items() if figure is None]:
                del figures[name]


def read(text: str, where: str = "run") -> tuple[Result, ...]:
    """Return the results in a text that `render` wrote.

    Args:
        text: The JSON.
        where: The name of the file, for errors.

    Raises:
        RecordError: The text is not such JSON, or has a newer schema. The message names `where` and the field.
    """
    try:
        data = json_text.parse(text.encode("utf-8", "surrogatepass"), RUN_LIMITS)
    except RecordError as error:
        raise RecordError(f"{where} {error}: name a file that --trt-report=json:PATH wrote") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise RecordError(
            f"{where} has schema {short_repr(schema)}, and this pytest-trt reads schemas up to {SCHEMA}: "
            "install a newer one"
        )
    _drop_null_figures(data)
    return codec.decode(Run, data, where).results
