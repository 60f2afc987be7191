"""Test the JSON of a run, written and read."""

from __future__ import annotations

import json

import pytest
from samples.reports import RUN, unmeasured

from pytest_trt.core.records import SCHEMA
from pytest_trt.errors import RecordError
from pytest_trt.report import result_json


def test_json_keeps_every_record() -> None:
    results = (*RUN, unmeasured("test_lost"))
    assert result_json.read(result_json.render(results)) == results
    assert result_json.read(result_json.render(())) == ()


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
