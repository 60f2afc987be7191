"""Test that the elements of a long JSON array are read one at a time, whatever the layout and wherever a read ends."""

from __future__ import annotations

import io
import json
import tracemalloc
from typing import Any

import pytest

from pytest_trt.core import json_stream
from pytest_trt.core.json_stream import ArrayReader
from pytest_trt.core.json_text import JsonLimits
from pytest_trt.errors import RecordError

LIMITS = JsonLimits(text_bytes=1_000_000, memory_bytes=10_000_000)
DOCUMENT: dict[str, Any] = {
    "schema": 1,
    "results": [{"a": 'x"[]{},\\', "b": [1.5, -2, True, None, "\u00e9\ud83d"]}, 's"', 12, None, [], {}, "\\"],
    "z": {"q": [1]},
}


def reader(content: bytes, **options: Any) -> ArrayReader:
    return ArrayReader(io.BytesIO(content), "results", LIMITS, 1000, **options)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1 << 16])
@pytest.mark.parametrize("form", [{}, {"indent": 1}, {"ensure_ascii": False}, {"separators": (",", ":")}], ids=str)
def test_elements_are_those_of_the_json_module(
    form: dict[str, Any], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", size)
    read = reader(json.dumps(DOCUMENT, **form).encode("utf-8", "surrogatepass"))
    assert list(read) == DOCUMENT["results"]
    assert read.fields == {"schema": 1, "z": {"q": [1]}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it ends too early"),
        ("{", "it ends too early"),
        ('{"results":[1,2', "it ends too early"),
        ('{"results":[{"a":"', "it ends too early"),
        ('{"results":[{"a":"' + '\\"' * 200_000, "it ends too early"),
        ('{"results":[1,,2]}', r"unexpected ',' at byte 14"),
        ('{"results":[1,]}', r"unexpected '\]' at byte 14"),
        ('{"results":[1 2]}', "unexpected '2' at byte 14"),
        ('{"results":[1]} x', "unexpected 'x' at byte 16"),
        ('{"results":[]}{}', "unexpected '{' at byte 14"),
        ('{"results":[1],"results":[2]}', "has the field 'results' twice"),
        ('{"results":[[}]}', r"is not JSON .* in results\[0\]"),
        ('{"results":[1, {"a":\n}\n]}', r"is not JSON .* in results\[1\]"),
        ('{"results":["' + "x" * 1_000_001 + '"]}', "more than 1000000 bytes|has 1000003 bytes"),
        ('{"results":[' + "[" * 900_000 + "]" * 900_000 + "]}", "more than 1000000 bytes"),
        ('{"results":[[' + "[]," * 200_000 + "1]]}", "bytes of memory when parsed"),
        ('{"results":[' + "1," * 1000 + "1]}", "has more than 1000 results"),
        ("[]", "must be an object"),
        ("nul", "is not JSON"),
    ],
)
def test_anything_else_is_an_error(content: str, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        list(reader(content.encode()))


@pytest.mark.parametrize("end", range(13, 34))
def test_killed_writer_loses_only_the_element_that_it_wrote(end: int) -> None:
    content = b'{"results":[\n{"a":1},\n{"a":2},\n{"a":3}'
    read = list(reader(content[:end], may_end_early=True))
    assert read == [{"a": 1}, {"a": 2}][: len(read)]
    assert len(read) == content[:end].count(b"}")


def test_memory_does_not_grow_with_the_number_of_elements() -> None:
    element = json.dumps({"a": [float(number) for number in range(1000)]})
    file = io.BytesIO(('{"results":[' + ",\n".join([element] * 900) + "]}").encode())
    tracemalloc.start()
    try:
        count = sum(1 for _ in ArrayReader(file, "results", LIMITS, 1000))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 900
    assert most < 10 * max(len(element), 1 << 16)
