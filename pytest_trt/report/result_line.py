"""Write a result as one line of JSON, and read it back."""

from __future__ import annotations

import json
from typing import Any

from pytest_trt.core import codec
from pytest_trt.core.records import Result


def render(result: Result) -> str:
    """Return the result in one line. Numbers keep all their digits.

    A figure without enough samples is null; `unsupported` has the reason.
    """
    data = codec.encode(result)
    if result.measurement is not None:
        data["measurement"]["figures"].update(dict.fromkeys(result.measurement.unsupported))
    return json.dumps(data, separators=(",", ":"))


def parse(line: str) -> Result:
    """Return the result in a line that `render` returned."""
    return decode(json.loads(line), "result")


def decode(data: Any, where: str) -> Result:
    """Return the result of parsed JSON, without the figures that are null.

    Raises:
        RecordError: The JSON is not a result. The message starts with `where` and names the field.
    """
    measurement = data.get("measurement") if isinstance(data, dict) else None
    figures = measurement.get("figures") if isinstance(measurement, dict) else None
    if isinstance(figures, dict):
        for name in [name for name, figure in figures.items() if figure is None]:
            del figures[name]
    return codec.decode(Result, data, where)
