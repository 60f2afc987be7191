"""Test the JSON of a run, written and read."""

from __future__ import annotations

import dataclasses
import json

import pytest
from samples.records import measurement
from samples.reports import RUN, unmeasured

from pytest_trt.core.records import SCHEMA, Result
from pytest_trt.errors import RecordError
from pytest_trt.report import result_json


def test_json_keeps_every_record() -> None:
    results = (*RUN, unmeasured("test_lost"))
    assert result_json.read(result_json.render(results)) == results
    assert result_json.read(result_json.render(())) == ()


def test_percentile_without_enough_samples_is_null_with_the_reason() -> None:
    reason = "too few samples (40): it needs about 1.2 s more"
    sample = measurement(unsupported={"p99_ms": reason})
    sample = dataclasses.replace(sample, figures={n: f for n, f in sample.figures.items() if n != "p99_ms"})
    written = result_json.render([Result("t", (), sample)])
    [data] = json.loads(written)["results"]
    assert data["measurement"]["figures"]["p99_ms"] is None
    assert data["measurement"]["unsupported"] == {"p99_ms": reason}
    [read] = result_json.read(written)
    assert read.measurement == sample
    with pytest.raises(AttributeError, match="p99_ms has too few samples"):
        _ = sample.p99_ms
    with pytest.raises(KeyError, match="needs about"):
        _ = sample["p99_ms"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "run.json is not JSON"),
        ("[" * 100_000, "run.json is not JSON"),
        ("[]", "run.json must be an object"),
        (json.dumps({"schema": SCHEMA + 1, "results": []}), "install a newer one"),
        ('{"schema": 1}', "run.json lacks the field 'results'"),
        ('{"results": [{"node_id": "a", "verdicts": [], "seconds": NaN}]}', r"results\[0\].seconds"),
        ('{"results": [{"node_id": "a", "verdicts": [{"status": "fine"}]}]}', r"verdicts\[0\]"),
    ],
)
def test_invalid_run_names_file_and_field(content: str, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        result_json.read(content, "run.json")
