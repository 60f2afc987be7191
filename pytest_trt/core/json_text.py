"""Parse the JSON of untrusted files within a limit on memory. Parsed values can take 30 times as much as their text."""

from __future__ import annotations

import dataclasses
import json
import zlib
from typing import Any

from pytest_trt.errors import RecordError

_PER_VALUE = 40
"""The bytes that a number in a list takes in CPython: 32 for the number and 8 for the reference to it."""

_PER_STRING = 56
"""The bytes that a string takes in CPython besides its characters."""

_PER_CONTAINER = 240
"""The most bytes that an object of one key takes in CPython. A list takes less."""

_WIDEST_CHARACTER = 4
"""The bytes of each character of a string that contains a single character outside the Basic Multilingual Plane."""

_MOST_PER_BYTE = _PER_CONTAINER + _PER_VALUE + _WIDEST_CHARACTER
"""The most memory that a byte of text can take: if it opens a list."""

_STRICT = json.JSONDecoder()
_LENIENT = json.JSONDecoder(strict=False, parse_constant=str)


@dataclasses.dataclass(frozen=True)
class JsonLimits:
    """How large untrusted JSON may be.

    Attributes:
        text_bytes: The most bytes of the text.
        memory_bytes: The most memory that the parsed values may take, by an estimate that is never too low.
        memory_per_byte: The memory that each byte of the text may take in addition.
    """

    text_bytes: int
    memory_bytes: int
    memory_per_byte: int = 0


def parse(raw: bytes, limits: JsonLimits, *, lenient: bool = False) -> Any:
    """Return the value of a JSON text in UTF-8.

    Args:
        raw: The text.
        limits: How large it may be.
        lenient: Whether control characters may stand in strings, and NaN and Infinity become text.

    Raises:
        RecordError: The text is not JSON, or is too large. The message is a clause that the name of the file completes.
    """
    if len(raw) > limits.text_bytes:
        raise RecordError(f"has {len(raw)} bytes, but at most {limits.text_bytes} are read")
    allowed = limits.memory_bytes + limits.memory_per_byte * len(raw)
    if len(raw) * _MOST_PER_BYTE > allowed and (needed := estimate_memory(raw)) > allowed:
        raise RecordError(f"takes up to {needed} bytes of memory when parsed, but at most {allowed} are allowed")
    try:
        text = raw.decode(json.detect_encoding(raw), "surrogatepass")
        return (_LENIENT if lenient else _STRICT).decode(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"is not JSON ({error or type(error).__name__})") from error


def estimate_memory(raw: bytes) -> int:
    """Return how many bytes of memory the values of a JSON text take at most, without parsing it."""
    containers = raw.count(b"[") + raw.count(b"{")
    values = raw.count(b",") + containers
    strings = raw.count(b'"') // 2
    wide = not raw.isascii() or b"\\u" in raw
    characters = len(raw) * (_WIDEST_CHARACTER if wide else 1)
    return _PER_VALUE * values + _PER_STRING * strings + _PER_CONTAINER * containers + characters


def unpack(raw: bytes, most: int) -> bytes:
    """Return the content of a gzip file.

    Raises:
        RecordError: The file is not gzip, was cut short, or contains more than `most` bytes. The message is a clause.
    """
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)  # 16 is gzip's header
    try:
        unpacked = unpacker.decompress(raw, most + 1)
    except zlib.error as error:
        raise RecordError(f"is not gzip ({error})") from error
    if len(unpacked) > most:
        raise RecordError(f"unpacks to more than {most} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise RecordError("is not gzip (its end is missing, or more follows it)")
    return unpacked
