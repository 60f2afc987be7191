"""Baselines as text that reviews well, and back, with nothing taken on trust."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pytest_trt.core import codec
from pytest_trt.core.records import SCHEMA
from pytest_trt.errors import BaselineError, RecordError
from pytest_trt.judge.baselines.baseline import Baseline, BaselineData

T = TypeVar("T", Baseline, BaselineData)

MOST_BYTES = 8192
"""A baseline's size when it is written."""

MOST_READ = 64 * 1024
MOST_DATA = 64 * 1024 * 1024
"""What is read at all: beyond that, nothing honest lies in the file."""

_CONFLICT = re.compile(rb"^(<{7} |={7}$|>{7} )", re.MULTILINE)

REMEDY = "restore it from version control, or delete it and save anew"


def render(baseline: Baseline) -> bytes:
    """The baseline with sorted keys, a figure and a run a line. Forgets the oldest runs where it would be too long.

    Raises BaselineError where that is not enough, and for a node id that cannot be shown.
    """
    if not baseline.node_id.isprintable():
        raise BaselineError(f"baseline of {baseline.node_id!r}: give the test an id of characters that can be shown")
    while True:
        text = "{\n" + ",\n".join(_lines(baseline)) + "\n}\n"
        if len(text) <= MOST_BYTES:
            return text.encode("ascii")
        if len(baseline.history) <= 1:
            long_reason = any(len(run.reason) > MOST_BYTES // 4 for run in baseline.history)
            remedy = "say the reason in fewer words" if long_reason else "give the test's parameters shorter ids"
            raise BaselineError(
                f"baseline of {baseline.node_id[:200]}: it would have {len(text)} bytes, and at most {MOST_BYTES} are "
                f"stored: {remedy}"
            )
        baseline = dataclasses.replace(baseline, history=baseline.history[1:])


def remembering(raw: bytes, old: Baseline, made: Baseline) -> bytes:
    """The text of `made`, which is `old` as `raw` has it and a run more. That is a line more, and maybe the oldest one
    less: no other is written anew, which would take as long as reading them. Where `raw` has been edited into another
    form, all is rendered."""
    head, opening, below = raw.partition(_OPENING)
    lines, closing, tail = below.partition(_CLOSING)
    runs = lines.split(b",\n")
    as_rendered = opening and closing and len(runs) == len(old.history) and raw.count(_OPENING) == 1
    if not (as_rendered and all(run.startswith(b"  {") and run.endswith(b"}") for run in runs)):
        return render(made)
    runs.append(f"  {_flat(made.history[-1])}".encode("ascii"))
    text = b"".join((head, opening, b",\n".join(runs[-len(made.history) :]), closing, tail))
    return text if len(text) <= MOST_BYTES else render(made)


_OPENING, _CLOSING = b'\n "history": [\n', b"\n ],\n"


def _lines(baseline: Baseline) -> Iterator[str]:
    """Each top-level field on a line, or, where it is a record, mapping or list, each of its entries on one."""
    for name, key, empty in _fields(Baseline):
        value = getattr(baseline, name)
        if value and not isinstance(value, (str, int)):
            entries = list(map(_flat, value)) if isinstance(value, tuple) else _entries(value)
            opening, closing = "[]" if isinstance(value, tuple) else "{}"
            yield f" {key}{opening}\n  {_BETWEEN.join(entries)}\n {closing}"
        elif value or not empty:
            yield f" {key}{_flat(value)}"


_BETWEEN = ",\n  "


def _flat(value: Any) -> str:
    """JSON on one line. Floats have seven digits, far more than any of them is known to, at half the bytes; texts are
    without what a terminal would not show, which is not read again. (Written straight from records: the json module
    wants dicts, and makes an encoder for each line, which takes longer than the lines.)"""
    kind = type(value)
    if kind is float:
        digits = f"{value:.7g}"
        return digits if "." in digits and "e" not in digits else repr(float(digits))
    if kind is str:
        return _text(value)
    if kind is int:
        return str(value)
    if kind is tuple:
        return f"[{', '.join(map(_flat, value))}]"
    if kind is bool:
        return "true" if value else "false"
    return "null" if value is None else f"{{{', '.join(_entries(value))}}}"


def _entries(value: Any) -> list[str]:
    """What stands between the braces of a record or a mapping, sorted by key."""
    if isinstance(value, Mapping):
        return [f"{_text(key)}: {_flat(value[key])}" for key in sorted(value)]
    kind: Any = type(value)
    return [f"{key}{_flat(item)}" for name, key, empty in _fields(kind) if (item := getattr(value, name)) or not empty]


@functools.cache
def _fields(kind: Any) -> list[tuple[str, str, bool]]:
    """The fields of a record, sorted: the name, how it is written, and whether it is empty by default. What is empty,
    and is so by default, is left out."""
    fields = sorted(dataclasses.fields(kind), key=lambda field: field.name)
    return [(f.name, f"{_text(f.name)}: ", f.default_factory is dict or not f.default) for f in fields]


@functools.lru_cache(4096)  # most are names of figures and fields
def _text(value: str) -> str:
    return json.dumps(value if value.isprintable() else "".join(c if c.isprintable() else " " for c in value))


def parse(raw: bytes, where: str) -> Baseline:
    """The baseline that `render` wrote. Raises BaselineError, naming `where` and the field, for anything else."""
    if len(raw) > MOST_READ:
        raise BaselineError(f"baseline {where} has {len(raw)} bytes, and at most {MOST_READ} are read: {REMEDY}")
    return _decoded(Baseline, raw, where)


def render_data(data: BaselineData) -> bytes:
    """Samples and layers, gzipped; the same data give the same bytes."""
    return gzip.compress(json.dumps(codec.encode(data), separators=(",", ":")).encode("ascii"), 6, mtime=0)


def parse_data(raw: bytes, where: str) -> BaselineData:
    """What `render_data` wrote. Raises BaselineError for anything else, and for what unpacks to more than 64 MiB."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
            unpacked = file.read(MOST_DATA + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BaselineError(f"baseline {where} is not gzip: {error}: {REMEDY}") from error
    if len(unpacked) > MOST_DATA:
        raise BaselineError(f"baseline {where} unpacks to more than {MOST_DATA} bytes: {REMEDY}")
    return _decoded(BaselineData, unpacked, where)


def _decoded(kind: type[T], raw: bytes, where: str) -> T:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        if kind is Baseline and _CONFLICT.search(raw):
            raise BaselineError(
                f"baseline {where} holds a merge conflict: take either side whole (git checkout --ours or --theirs), "
                "or delete it and save anew"
            ) from error
        raise BaselineError(f"baseline {where} is not JSON ({error or type(error).__name__}): {REMEDY}") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise BaselineError(
            f"baseline {where} has schema {schema}, and this pytest-trt reads up to {SCHEMA}: upgrade pytest-trt"
        )
    try:
        if kind is Baseline and (b"\\" in raw or b"\x7f" in raw or not raw.isascii()):
            _check_printable(data, kind.__name__)
        return codec.decode(kind, data, kind.__name__)
    except RecordError as error:
        raise BaselineError(f"baseline {where}: {error}: {REMEDY}") from error


def _check_printable(value: Any, where: str) -> None:
    """Raise RecordError for text that would do something to a terminal."""
    if isinstance(value, str) and not value.isprintable():
        raise RecordError(f"{where} is {value[:60]!r}: it has characters that cannot be shown")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_printable(key, f"{where} key")
            _check_printable(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_printable(item, f"{where}[{index}]")
