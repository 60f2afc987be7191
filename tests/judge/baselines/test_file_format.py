"""Test a baseline as text: every file is a valid record or a clear error."""

from __future__ import annotations

import dataclasses
import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples.mutations import fuzzed
from samples.records import measurement

from pytest_trt.errors import BaselineError
from pytest_trt.judge.baselines.baseline import Run, baseline_of
from pytest_trt.judge.baselines.file_format import SeenRuns, parse, parse_data, render, unseen_runs

ORIGINAL = render(
    dataclasses.replace(baseline_of(measurement()), history=(Run("2026-07-01T12:00:00", None, {"ms": 1.0}),) * 2)
)


TOKENS = st.sampled_from(
    [b"NaN", b"-1", b"1e999", b"null", b"true", b'"../x"', b"[]", b"{}", b"[" * 50, b'"\\u001b"', b"9" * 400, b'"',
     b",", b"\x00", b"\xff", b"schema", b"99"]
)  # fmt: skip


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """Generate a real file with one to four cuts, repeats, replaced bytes or tokens."""
    text = ORIGINAL
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 1, 2, 8, 60, 4000])))
        replaced = draw(st.one_of(TOKENS, st.binary(max_size=4), st.just(text[start:end] * 2), st.just(b"")))
        text = text[:start] + replaced + text[end:]
    return text


@fuzzed
@given(mutations())
def test_mutated_file_is_an_error_or_valid(raw: bytes) -> None:
    assert read(raw) == "valid" or "file.json" in read(raw)


def read(raw: bytes) -> str:
    """Return the error of reading; `valid` if the record can be written and read again."""
    try:
        baseline = parse(raw, "file.json")
    except BaselineError as error:
        return str(error)
    return "valid" if parse(render(baseline), "again").node_id == baseline.node_id else "changed"


SCALARS = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8)


VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.sampled_from(sorted(json.loads(ORIGINAL))))
def test_any_value_in_any_field_is_an_error_or_valid(value: Any, field: str) -> None:
    outcome = read(json.dumps({**json.loads(ORIGINAL), field: value}).encode())
    assert outcome == "valid" or "file.json" in outcome


@pytest.mark.parametrize("repeated", [b"[],", b'{"":0},'])
def test_data_that_unfold_to_gigabytes_are_an_error(repeated: bytes) -> None:
    """60 kB of gzip: 60 MB of JSON, and up to 2 GB of empty lists and objects."""
    packed = gzip.compress(b"[" + repeated * (60_000_000 // len(repeated)) + b"0]", 6)
    assert len(packed) < 200_000
    with pytest.raises(BaselineError, match=r"baseline data.gz takes up to \d+ bytes of memory when parsed"):
        parse_data(packed, "data.gz")


def test_value_that_is_nested_deeply_is_an_error() -> None:
    deep = '{"a":' * 900 + "0" + "}" * 900
    assert "file.json" in read(b'{"\\u0041": ' + deep.encode() + b"}")
    assert "file.json" in read(f'{{"schema": 1, "unknown": {deep}}}'.encode())


def lines_of(*values: float) -> bytes:
    """Return the text of a baseline whose history has runs with these latencies."""
    baseline = baseline_of(measurement())
    runs = tuple(Run("2026-07-01T12:00:00+00:00", "a1b2", {"ms": value}) for value in values)
    return render(dataclasses.replace(baseline, history=runs))


@pytest.mark.parametrize(
    ("versions", "found"),
    [
        ([(1.0,), (1.0, 2.0), (1.0, 2.0, 3.0)], [[1.0], [2.0], [3.0]]),  # one run more
        ([(1.0, 2.0), (2.0, 3.0), (3.0, 4.0)], [[1.0, 2.0], [3.0], [4.0]]),  # and the oldest dropped
        ([(1.0,), (2.0,), (1.0,)], [[1.0], [2.0], []]),  # one after another
        ([(1.0, 2.0), (1.0, 5.0, 2.0, 6.0)], [[1.0, 2.0], [5.0, 6.0]]),  # merged
        ([(1.0, 2.0), (5.0, 2.0, 2.0)], [[1.0, 2.0], [5.0]]),  # the last one was known
    ],
)
def test_each_run_of_the_versions_of_a_file_is_found_once(
    versions: list[tuple[float, ...]], found: list[list[float]]
) -> None:
    seen = SeenRuns()
    assert [[run.figures["ms"] for run in unseen_runs(lines_of(*version), "b", seen)] for version in versions] == found


def test_a_run_in_an_old_version_has_no_characters_that_cannot_be_shown() -> None:
    raw = lines_of(1.0).replace(b'"a1b2"', b'"a1b2", "reason": "\\u001b[2J"')
    with pytest.raises(BaselineError, match="cannot be shown"):
        unseen_runs(raw, "b", SeenRuns())
