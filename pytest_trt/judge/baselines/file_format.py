"""Write baselines as text that is easy to review, and read it back as untrusted input."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pytest_trt.core import codec, json_text
from pytest_trt.core.json_text import JsonLimits
from pytest_trt.core.records import SCHEMA
from pytest_trt.core.scalars import short_repr
from pytest_trt.errors import BaselineError, RecordError
from pytest_trt.judge.baselines.baseline import Baseline, BaselineData
from pytest_trt.judge.baselines.paths import device_slug
from pytest_trt.judge.baselines.run import Run

T = TypeVar("T", Baseline, BaselineData, Run)

MOST_BYTES = 8192
"""The most bytes of a baseline that is written."""

MOST_READ = 64 * 1024
"""The most bytes of a baseline that is read. No file that was written here is larger."""

MOST_DATA = 64 * 1024 * 1024
"""The most bytes of the data beside a baseline, packed or unpacked, that are read."""

DATA_LIMITS = JsonLimits(text_bytes=MOST_DATA, memory_bytes=256 * 1024 * 1024)
"""How large the unpacked data beside a baseline may be. 64 MB of samples take about 250 MB of memory."""

REMEDY = "restore it from version control, or delete it and save it again"
"""What to do about a file that cannot be read."""

_CONFLICT = re.compile(rb"^(<{7} |={7}$|>{7} )", re.MULTILINE)
_OPENING, _CLOSING = b'\n "history": [\n', b"\n ],\n"
_SEPARATOR = ",\n  "


def render(baseline: Baseline) -> bytes:
    """Return the baseline as JSON with sorted keys, and one line for each figure and run.

    The oldest runs are dropped while the text is too long.

    Raises:
        BaselineError: The text is too long without them, or the node id has characters that cannot be shown.
    """
    if not baseline.node_id.isprintable():
        raise BaselineError(
            f"baseline of {baseline.node_id!r}: its id has characters that cannot be shown: give the test another id"
        )
    while True:
        text = "{\n" + ",\n".join(_lines(baseline)) + "\n}\n"
        if len(text) <= MOST_BYTES:
            return text.encode("ascii")
        if len(baseline.history) <= 1:
            long_reason = any(len(run.reason) > MOST_BYTES // 4 for run in baseline.history)
            remedy = "shorten the reason" if long_reason else "give the test's parameters shorter ids"
            raise BaselineError(
                f"baseline of {baseline.node_id[:200]}: it has {len(text)} bytes, but at most {MOST_BYTES} are stored: "
                f"{remedy}"
            )
        baseline = dataclasses.replace(baseline, history=baseline.history[1:])


def append_run(raw: bytes, old: Baseline, updated: Baseline) -> bytes:
    """Return the text of a baseline that has only one run more than the stored one.

    Only the lines of the first and the last run change. To render all other lines again would take as long as to read
    them. If the stored text has another form, because it was edited, or if a later run was dropped, everything is
    rendered.

    Args:
        raw: The stored text.
        old: The stored baseline.
        updated: The baseline to write, with one run more and maybe the oldest ones less.
    """
    head, opening, below = raw.partition(_OPENING)
    lines, closing, tail = below.partition(_CLOSING)
    runs = lines.split(b",\n")
    as_rendered = opening and closing and len(runs) == len(old.history) and raw.count(_OPENING) == 1
    kept = updated.history[:-1]
    drops_oldest = old.history[len(old.history) - len(kept) :] == kept
    if not (as_rendered and drops_oldest and all(run.startswith(b"  {") and run.endswith(b"}") for run in runs)):
        return render(updated)
    runs.append(f"  {_flat(updated.history[-1])}".encode("ascii"))
    text = b"".join((head, opening, b",\n".join(runs[-len(updated.history) :]), closing, tail))
    return text if len(text) <= MOST_BYTES else render(updated)


def parse(raw: bytes, where: str) -> Baseline:
    """Return the baseline that `render` wrote.

    Args:
        raw: The text.
        where: The file, for messages.

    Raises:
        BaselineError: The text is not valid; the error names the file and the field.
    """
    if len(raw) > MOST_READ:
        raise BaselineError(f"baseline {where} has {len(raw)} bytes, but at most {MOST_READ} are read: {REMEDY}")
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        if _CONFLICT.search(raw):
            raise BaselineError(
                f"baseline {where} holds a merge conflict: take either side whole (git checkout --ours or --theirs), "
                "or delete it and save it again"
            ) from error
        raise BaselineError(f"baseline {where} is not JSON ({error or type(error).__name__}): {REMEDY}") from error
    return _decode(Baseline, data, where, check_text=_may_hold_controls(raw))


@dataclasses.dataclass
class SeenRuns:
    """The lines of runs in the versions of a file that were read, and those of the last version as one text."""

    lines: set[bytes] = dataclasses.field(default_factory=set)
    last: bytes = b""


def unseen_runs(raw: bytes, where: str, seen: SeenRuns) -> Sequence[Run]:
    """Return the runs in the history of a stored baseline whose lines are not in `seen`, and add these lines to it.

    Most versions of a file have one new line at the end, and only that is looked at. A file of another form, because it
    was edited, is parsed as a whole.

    Raises:
        BaselineError: The text is not valid.
    """
    text, closing, _ = raw.partition(_OPENING)[2].partition(_CLOSING)
    if not closing or len(raw) > MOST_READ:
        return parse(raw, where).history
    others, _, line = text.rpartition(b",\n")
    only_last = seen.last == others or seen.last.endswith(b",\n" + others)
    new = [line for line in ([line] if only_last else text.split(b",\n")) if line not in seen.lines]
    try:
        runs = [_decode(Run, json.loads(line), where, check_text=_may_hold_controls(line)) for line in new]
    except (ValueError, RecursionError, BaselineError):
        return parse(raw, where).history
    seen.lines.update(new)
    seen.last = text
    return runs


def render_data(data: BaselineData) -> bytes:
    """Return the data beside a baseline, gzipped; the same data give the same bytes."""
    return gzip.compress(json.dumps(codec.encode(data), separators=(",", ":")).encode("ascii"), 6, mtime=0)


def parse_data(raw: bytes, where: str) -> BaselineData:
    """Return the data that `render_data` wrote.

    Args:
        raw: The gzipped text.
        where: The file, for messages.

    Raises:
        BaselineError: The text is not valid, or exceeds `DATA_LIMITS`.
    """
    try:
        data = json_text.parse(json_text.unpack(raw, MOST_DATA), DATA_LIMITS)
    except RecordError as error:
        raise BaselineError(f"baseline {where} {error}: {REMEDY}") from error
    return _decode(BaselineData, data, where)


def _lines(baseline: Baseline) -> Iterator[str]:
    """Yield the lines of a baseline: one for a plain field, several for a record, mapping or list."""
    for name, key, empty in _fields(Baseline):
        value = getattr(baseline, name)
        if value and not isinstance(value, (str, int)):
            entries = list(map(_flat, value)) if isinstance(value, tuple) else _entries(value)
            opening, closing = "[]" if isinstance(value, tuple) else "{}"
            yield f" {key}{opening}\n  {_SEPARATOR.join(entries)}\n {closing}"
        elif value or not empty:
            yield f" {key}{_flat(value)}"


def _flat(value: Any) -> str:
    """Return a value as JSON on one line.

    Floats have seven digits, far more than are significant, at half the bytes. Characters that cannot be shown, which
    `parse` would refuse, become spaces. Records are written directly: the json module needs dicts, and makes an encoder
    for each line, which takes longer than the line.
    """
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
    """Return the entries of a record or a mapping, sorted by key."""
    if isinstance(value, Mapping):
        return [f"{_text(key)}: {_flat(value[key])}" for key in sorted(value)]
    kind: Any = type(value)
    return [f"{key}{_flat(item)}" for name, key, empty in _fields(kind) if (item := getattr(value, name)) or not empty]


@functools.cache
def _fields(kind: Any) -> list[tuple[str, str, bool]]:
    """Return the fields of a record, sorted by name.

    Returns:
        The name, the name as a JSON key, and whether the default is empty: such a field is left out if it is empty.
    """
    fields = sorted(dataclasses.fields(kind), key=lambda field: field.name)
    return [(f.name, f"{_text(f.name)}: ", f.default_factory is dict or not f.default) for f in fields]


@functools.lru_cache(4096)  # most are names of figures and fields
def _text(value: str) -> str:
    return json.dumps(value if value.isprintable() else "".join(c if c.isprintable() else " " for c in value))


def _decode(kind: type[T], data: Any, where: str, *, check_text: bool = False) -> T:
    """Return the record of parsed JSON. `check_text` is whether texts may have characters that cannot be shown."""
    schema = data.get("schema") if isinstance(data, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise BaselineError(
            f"baseline {where} has schema {short_repr(schema)}, and this pytest-trt reads up to {SCHEMA}: upgrade "
            "pytest-trt"
        )
    try:
        if check_text:
            _check_printable(data, kind.__name__)
        return codec.decode(kind, data, kind.__name__)
    except RecordError as error:
        raise BaselineError(f"baseline {where}: {error}: {REMEDY}") from error
    except RecursionError as error:
        raise BaselineError(f"baseline {where} is nested too deeply: {REMEDY}") from error


def _may_hold_controls(raw: bytes) -> bool:
    """Return whether valid JSON may have texts with characters that cannot be shown. Most files have no such byte."""
    return b"\\" in raw or b"\x7f" in raw or not raw.isascii()


def _check_printable(value: Any, where: str) -> None:
    """Raise RecordError for text that a terminal would not show, or would interpret."""
    if isinstance(value, str) and not value.isprintable():
        raise RecordError(f"{where} is {value[:60]!r}: it has characters that cannot be shown")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_printable(key, f"{where} key")
            _check_printable(item, f"{where}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_printable(item, f"{where}[{index}]")


def check_owner(baseline: Baseline, path: str, device: str, node_id: str) -> Baseline:
    """Return the baseline. Raise BaselineError if it is another test's or device's, such as a file that was copied."""
    if baseline.node_id != node_id:
        raise BaselineError(f"baseline {path}: node_id is {baseline.node_id[:200]!r}, another test's: {REMEDY}")
    if device_slug(baseline.environment) != device:
        name = baseline.environment.device[:200]
        raise BaselineError(f"baseline {path}: environment.device is {name!r}, another device's: {REMEDY}")
    return baseline
