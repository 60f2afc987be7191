"""Test the JSON of a run, written and read."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import pytest
from samples.records import TEST, blocks, measurement
from samples.reports import HEAD, HEADER, NEW, OVER, RUN, read_json, text, unmeasured

from pytest_trt.core.records import SCHEMA, LayerProfile, Result, Samples
from pytest_trt.errors import RecordError
from pytest_trt.report import result_json
from pytest_trt.report.result_json import RunReader


def test_json_keeps_every_record() -> None:
    results = (*RUN, unmeasured("test_lost"))
    assert read_json(text("json-all", results)) == results
    assert read_json(text("json", ())) == ()


def test_head_is_kept_and_may_be_missing() -> None:
    run = RunReader(io.BytesIO(text("json", RUN, dataclasses.replace(HEADER, run=HEAD)).encode()), "run.json")
    assert len(list(run)) == len(RUN)
    assert run.head == HEAD
    old = RunReader(io.BytesIO(text("json", RUN).encode()), "run.json")
    assert len(list(old)) == len(RUN)
    assert old.head is None


@pytest.mark.parametrize("form", [{"indent": 2}, {"sort_keys": True}, {"separators": (",", ":")}], ids=str)
def test_run_is_read_in_any_layout_of_its_json(form: dict[str, Any]) -> None:
    """As jq and other tools write it."""
    document = json.loads(text("json-all", RUN, dataclasses.replace(HEADER, run=HEAD)))
    assert read_json(json.dumps(document, **form)) == RUN


@pytest.mark.parametrize(("probes", "count", "size"), [(2, 40, 20), (1, 174, 10), (2, 200, 1), (1, 1, 5000), (8, 3, 9)])
def test_result_takes_at_most_ten_kilobytes(probes: int, count: int, size: int) -> None:
    """Every probe keeps a block, and a long run keeps whole blocks and medians of others."""
    samples = tuple(Samples(blocks(0.272, count=count, size=size, seed=number), number) for number in range(probes))
    whole = Result(TEST, (OVER, NEW), measurement(samples=samples))
    (kept,) = read_json(text("json", (whole,)))
    assert len(text("json", (whole,))) < 10_000 or (count, size) == (1, 5000)
    assert kept.measurement is not None
    assert [one.probe for one in kept.measurement.samples] == list(range(probes))
    assert all(one.blocks for one in kept.measurement.samples)
    assert dataclasses.replace(kept, measurement=None) == dataclasses.replace(whole, measurement=None)
    assert kept.measurement.figures == measurement().figures
    assert kept.measurement.profile == measurement().profile


def test_layers_of_the_inspector_are_only_in_the_report_that_needs_them() -> None:
    profile = LayerProfile((), inspected={"Layers": ["x" * 100_000]})
    sample = Result(TEST, (), measurement(profile=profile))
    assert len(text("json", (sample,))) < 10_000
    assert read_json(text("json-all", (sample,))) == (sample,)


@pytest.mark.parametrize("cut", [1, 40, 3000])
def test_run_that_was_cut_short_is_an_error(cut: int) -> None:
    with pytest.raises(RecordError, match=r"run.json is not JSON \(it ends too early\)"):
        read_json(text("json", RUN)[: -cut - 1])


def test_too_many_results_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(result_json, "MAX_RESULTS", 2)
    with pytest.raises(RecordError, match=r"run.json has more than 2 results"):
        read_json(text("json", RUN))


def test_percentile_without_enough_samples_is_null_with_the_reason() -> None:
    reason = "too few samples (40): it needs about 1.2 s more"
    sample = measurement(unsupported={"p99_ms": reason})
    sample = dataclasses.replace(sample, figures={n: f for n, f in sample.figures.items() if n != "p99_ms"})
    written = text("json-all", [Result("t", (), sample)])
    [data] = json.loads(written)["results"]
    assert data["measurement"]["figures"]["p99_ms"] is None
    assert data["measurement"]["unsupported"] == {"p99_ms": reason}
    [read] = read_json(written)
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
        ('{"schema": 1}', "run.json lacks the field 'results': name a file"),
        (
            '{"results": [{"node_id": "a", "verdicts": [], "seconds": NaN}]}',
            r"results\[0\].seconds is nan.*: name a file",
        ),
        ('{"results": [{"node_id": "a", "verdicts": [{"status": "fine"}]}]}', r"verdicts\[0\]"),
    ],
)
def test_invalid_run_names_file_and_field(content: str, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        read_json(content)
