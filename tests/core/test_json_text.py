"""Test the limits on untrusted JSON: of its text, of the memory that its values take, and of what gzip unpacks to."""

from __future__ import annotations

import gzip
import json
import tracemalloc

import pytest

from pytest_trt.core.json_text import _MOST_PER_BYTE, JsonLimits, estimate_memory, parse, unpack
from pytest_trt.errors import RecordError

LIMITS = JsonLimits(text_bytes=1_000_000, memory_bytes=1_000_000)


@pytest.mark.parametrize(
    "text",
    [
        b"[" + b"[]," * 20_000 + b"1]",
        b"[" + b"{}," * 20_000 + b"1]",
        b"[" + b'{"a":0},' * 20_000 + b"1]",
        b"[" + b'{"a":{"b":{}}},' * 20_000 + b"1]",
        b"[" + b"0.1," * 20_000 + b"1]",
        b"[" + b"1000000," * 20_000 + b"1]",
        b"[" + b'"abc",' * 20_000 + b"1]",
        b'["' + b"a" * 100_000 + b'\\ud83d\\ude00"]',
        json.dumps({f"key {number}": number for number in range(20_000)}).encode(),
        ('["' + "\U0001f600" * 50_000 + '"]').encode(),
    ],
)
def test_estimate_is_never_below_the_memory_that_is_used(text: bytes) -> None:
    tracemalloc.start()
    try:
        value = json.loads(text)
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert value
    assert used <= estimate_memory(text) + 50_000
    assert estimate_memory(text) <= len(text) * _MOST_PER_BYTE


@pytest.mark.parametrize("byte", [b"[", b"{", b",", b'"', b"a", b"\xff"])
def test_no_byte_takes_more_than_the_most(byte: bytes) -> None:
    assert estimate_memory(byte * 1000) <= 1000 * _MOST_PER_BYTE


def test_text_that_unfolds_is_refused_before_it_is_parsed() -> None:
    text = b"[" + b"{}," * 100_000 + b"{}]"
    assert len(text) < LIMITS.text_bytes
    with pytest.raises(RecordError, match=r"takes up to [0-9]+ bytes of memory when parsed, but at most 1000000"):
        parse(text, LIMITS)
    assert len(parse(text, JsonLimits(1_000_000, 1_000_000, memory_per_byte=200))) == 100_001


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b" " * 1_000_001, "has 1000001 bytes, but at most 1000000 are read"),
        (b"[" * 3_000, "is not JSON"),
        (b"", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"9" * 5_000, "is not JSON"),
    ],
)
def test_other_text_is_an_error(text: bytes, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        parse(text, LIMITS)


def test_gzip_is_unpacked_up_to_a_limit() -> None:
    packed = gzip.compress(b"a" * 1000, mtime=0)
    assert unpack(packed, 1000) == b"a" * 1000
    with pytest.raises(RecordError, match="unpacks to more than 999 bytes"):
        unpack(packed, 999)


@pytest.mark.parametrize("packed", [b"", b"text", gzip.compress(b"a", mtime=0)[:-1], gzip.compress(b"a", mtime=0) * 2])
def test_other_files_are_not_gzip(packed: bytes) -> None:
    with pytest.raises(RecordError, match="is not gzip"):
        unpack(packed, 1000)
