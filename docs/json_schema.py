"""Generate the JSON Schemas of a run and of a baseline from the records that pytest-trt writes and reads.

    python docs/json_schema.py

This writes docs/reference/run.schema.json and docs/reference/baseline.schema.json. A test fails if the committed files
differ from the records.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import inspect
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Measurement
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.report.result_json import Run

FOLDER = Path(__file__).parent / "reference"
ADDRESS = "https://raw.githubusercontent.com/pytest-trt/pytest-trt/main/docs/reference"
SCHEMAS = {
    "run.schema.json": (Run, "A run of pytest-trt, as --trt-report=json:PATH writes it"),
    "baseline.schema.json": (Baseline, "A baseline of pytest-trt, as --trt-baseline-save writes it"),
}
SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema(name: str) -> dict[str, Any]:
    """Return the schema that belongs in the file `name`."""
    record, title = SCHEMAS[name]
    definitions: dict[str, Any] = {}
    described = _record(record, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{ADDRESS}/{name}",
        "title": title,
        **described,
        "$defs": dict(sorted(definitions.items())),
    }


def text(name: str) -> str:
    """Return the content of the file `name`."""
    return json.dumps(schema(name), indent=1) + "\n"


def _record(record: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """Describe a dataclass. A field without a default is required; an unknown field is invalid."""
    hints, texts = typing.get_type_hints(record), _descriptions(record)
    fields = dataclasses.fields(record)
    return {
        "type": "object",
        "properties": {
            field.name: {
                **texts.get(field.name, {}),
                **_field(field.name, hints[field.name], definitions, nullable=record is Measurement),
            }
            for field in fields
        },
        "required": [field.name for field in fields if _has_no_default(field)],
        "additionalProperties": False,
    }


def _descriptions(record: type) -> dict[str, dict[str, str]]:
    """Return the description of each field, from the `Attributes:` section of the record's docstring."""
    section = (inspect.getdoc(record) or "").partition("\nAttributes:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n     +.*)*)", section, re.MULTILINE)
    return {name: {"description": " ".join(text.split())} for name, text in entries}


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _field(name: str, kind: Any, definitions: dict[str, Any], *, nullable: bool = False) -> dict[str, Any]:
    described = _type(kind, definitions)
    if name == "figures":
        if nullable:  # a percentile without enough samples
            described["additionalProperties"] = {"anyOf": [described["additionalProperties"], {"type": "null"}]}
        described["propertyNames"] = {"enum": list(FIGURES)}
    return described


def _type(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Describe an annotated type, and add every dataclass in it to the definitions."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return {}
    if kind in SCALARS:
        return {"type": SCALARS[kind]}
    if dataclasses.is_dataclass(kind):
        assert isinstance(kind, type)
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}  # reserved first: a record may contain records of its own kind
            definitions[kind.__name__] = _record(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [_type(argument, definitions) for argument in arguments]}
    if origin is tuple and arguments[1:] == (Ellipsis,):
        return {"type": "array", "items": _type(arguments[0], definitions)}
    if origin is collections.abc.Mapping:
        return {"type": "object", "additionalProperties": _type(arguments[1], definitions)}
    raise TypeError(f"no JSON Schema for {kind}: add a case to docs/json_schema.py")


if __name__ == "__main__":
    for file in SCHEMAS:
        (FOLDER / file).write_text(text(file))
        print(f"wrote {(FOLDER / file).relative_to(Path.cwd())}")
