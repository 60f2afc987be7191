"""The JSON of a run, written and read back."""

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
    ("content", "said"),
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
def test_what_is_no_run_is_refused_with_file_and_field(content: str, said: str) -> None:
    with pytest.raises(RecordError, match=said):
        result_json.read(content, "run.json")
