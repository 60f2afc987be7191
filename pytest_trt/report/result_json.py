"""A whole run as JSON, samples and all, and back: what `pytest-trt compare` and `baseline accept --from` read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from pytest_trt.core import codec
from pytest_trt.core.records import SCHEMA, Result
from pytest_trt.errors import RecordError
from pytest_trt.report.header import Header


@dataclasses.dataclass(frozen=True)
class Run:
    """The form of the file."""

    results: tuple[Result, ...]
    schema: int = SCHEMA


def render(results: Sequence[Result], header: Header | None = None) -> str:
    """The results as JSON, one a line; numbers keep all their digits."""
    lines = ",\n".join(json.dumps(codec.encode(result), separators=(",", ":")) for result in results)
    return f'{{"schema":{SCHEMA},"results":[\n{lines}\n]}}\n'


def read(text: str, where: str = "run") -> tuple[Result, ...]:
    """The results that `render` wrote. Raises RecordError, naming `where` and the field, for anything else, a newer
    schema included."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where} is not JSON: {error}") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise RecordError(f"{where} has schema {schema}, this pytest-trt reads up to {SCHEMA}: install a newer one")
    return codec.decode(Run, data, where).results
