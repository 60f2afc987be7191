"""The JSON Schemas of a run and of a baseline."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
from samples.pages import DOCS
from samples.records import measurement
from samples.reports import HEAD, HEADER, text

from pytest_trt.core.records import Result, Verdict
from pytest_trt.judge.baselines import file_format
from pytest_trt.judge.baselines.baseline import baseline_of


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("json_schema", DOCS / "json_schema.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def validate(document: Any, name: str) -> None:
    schema = json.loads((DOCS / "reference" / name).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(document)


def shortened(record: dict[str, Any]) -> dict[str, Any]:
    """Keep two elements of each list but the results: a run has many samples, which are all alike."""
    return {n: v[:2] if isinstance(v, list) and n != "results" else v for n, v in record.items()}


@pytest.mark.parametrize("name", generator().SCHEMAS)
def test_the_committed_schema_is_the_generated_one(name: str) -> None:
    committed = (DOCS / "reference" / name).read_text()
    assert committed == generator().text(name), "run: python docs/json_schema.py"


def test_a_real_run_and_its_baselines_are_valid(documented_project: Path) -> None:
    run = json.loads((documented_project / "run.json").read_text(), object_hook=shortened)
    validate(run, "run.schema.json")
    assert any(result["measurement"]["samples"] for result in run["results"] if result["measurement"])
    baselines = list((documented_project / ".trt-baselines").rglob("*.json"))
    assert len(baselines) > 20
    for path in baselines:
        validate(json.loads(path.read_text()), "baseline.schema.json")


def test_a_run_on_a_gpu_and_its_baseline_are_valid() -> None:
    measured = measurement()
    verdict = Verdict("regressed", "baseline", "ms", "slower", ratio=measured.figures["ms"], tolerance=0.05)
    validate(
        json.loads(text("json", [Result("t.py::t", (verdict,), measured)], dataclasses.replace(HEADER, run=HEAD))),
        "run.schema.json",
    )
    validate(json.loads(file_format.render(baseline_of(measured))), "baseline.schema.json")


@pytest.mark.parametrize(
    ("field", "value"),
    [("figures", {"speed": {"value": 1, "low": 1, "high": 1}}), ("time", None), ("unknown", 1), ("history", [{}])],
)
def test_an_invalid_baseline_is_refused(field: str, value: object) -> None:
    document = json.loads(file_format.render(baseline_of(measurement())))
    with pytest.raises(jsonschema.ValidationError):
        validate({**document, field: value}, "baseline.schema.json")
