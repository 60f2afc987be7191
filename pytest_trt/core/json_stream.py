"""Read a JSON object with a long array in it, one element at a time, as untrusted input.

A parser of a whole document takes several times as much memory as its text, and a parser of events, such as ijson, has
no limit on the memory of an element and reads lone surrogates differently. So the text is cut at the elements, and each
is parsed by `json_text.parse`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from pytest_trt.core import json_text
from pytest_trt.core.json_text import JsonLimits
from pytest_trt.errors import RecordError

_CHUNK = 1 << 16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SPACE = re.compile(rb"[ \t\r\n]*")
_SCALAR = re.compile(rb"[^,\]}\s]*")
_TOKEN = re.compile(rb'[\[{\]}"]')
_DEPTH = {b"[": 1, b"{": 1, b"]": -1, b"}": -1, b'"': 0}

_BACKSLASH = ord("\\")


class ArrayReader:
    """Yields the elements of the array in the field `name` of a JSON object, and keeps the other fields.

    Args:
        file: The JSON text in UTF-8. It is read once.
        name: The field.
        limits: How large an element, or the value of another field, may be.
        max_elements: The most elements that are read.
        may_end_early: Whether the text may end inside the array, such as that of a program that was killed while it
            wrote. An element that is not complete is then left out.
        shorten: Returns an element that takes a line without the parts that are not needed, before it is parsed. If the
            shorter text is not JSON, the whole element is parsed.

    Attributes:
        fields: The values of the other fields. They are complete once all elements were read. The field `name` is
            among them if it is not an array.
        found: Whether the array was found.
    """

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        limits: JsonLimits,
        max_elements: int,
        *,
        may_end_early: bool = False,
        shorten: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self._text, self._name = _Text(file, limits, shorten), name
        self._max_elements, self._may_end_early = max_elements, may_end_early
        self.fields: dict[str, Any] = {}
        self.found = False

    def __iter__(self) -> Iterator[Any]:
        """Yield the elements.

        Raises:
            RecordError: The text is not a JSON object, or is too large. The message is a clause that the name of the
                file completes.
        """
        text = self._text
        if not text.take(b"{"):
            text.value()
            raise RecordError("must be an object")
        while not text.take(b"}"):
            if self.fields or self.found:
                text.expect(b",")
            if text.peek() != b'"':
                raise text.unexpected()
            key = text.value()
            text.expect(b":")
            if key in self.fields or (self.found and key == self._name):
                raise RecordError(f"has the field {key!r} twice")
            if key == self._name and text.take(b"["):
                self.found = True
                try:
                    yield from self._elements()
                except _EndOfText:
                    if self._may_end_early:
                        return
                    raise
            else:
                self.fields[key] = text.value()
        if text.peek():
            raise text.unexpected()

    def _elements(self) -> Iterator[Any]:
        count = 0
        while not self._text.take(b"]"):
            if count:
                self._text.expect(b",")
            if self._may_end_early and not self._text.peek():
                raise _EndOfText
            if count >= self._max_elements:
                raise RecordError(f"has more than {self._max_elements} {self._name}")
            try:
                yield self._text.value()
            except RecordError as error:
                if isinstance(error, _EndOfText):
                    raise
                raise RecordError(f"{error} in {self._name}[{count}]") from error
            count += 1


class _EndOfText(RecordError):
    """The text ends before the JSON does."""

    def __init__(self) -> None:
        super().__init__("is not JSON (it ends too early)")


class _Text:
    """The part of a text that was read, and the position in it. Bytes before the position are dropped."""

    def __init__(self, file: BinaryIO, limits: JsonLimits, shorten: Callable[[bytes], bytes]) -> None:
        self._file, self._limits, self._shorten = file, limits, shorten
        self._data = file.read(_CHUNK).removeprefix(_BYTE_ORDER_MARK)
        self._at, self._dropped = 0, 0

    def _read(self) -> bool:
        """Read more, as much as is held so that reading a long value takes linear time. Return False at the end."""
        held = self._data[self._at :]
        more = self._file.read(max(_CHUNK, len(held)))
        self._dropped += self._at
        self._data, self._at = held + more, 0
        return bool(more)

    def peek(self) -> bytes:
        """Return the next byte that is not white space; empty at the end."""
        while True:
            self._at = _end_of(_SPACE, self._data, self._at)
            if self._at < len(self._data):
                return self._data[self._at : self._at + 1]
            if not self._read():
                return b""

    def take(self, expected: bytes) -> bool:
        """Return whether the next byte is `expected`, and move behind it if it is."""
        found = self.peek() == expected
        self._at += found
        return found

    def expect(self, expected: bytes) -> None:
        """Move behind the next byte, which must be `expected`."""
        if not self.take(expected):
            raise self.unexpected()

    def unexpected(self) -> RecordError:
        """Return the error for a byte that JSON does not allow here."""
        found = self.peek()
        if not found:
            return _EndOfText()
        return RecordError(f"is not JSON (unexpected {found.decode('latin-1')!r} at byte {self._dropped + self._at})")

    def value(self) -> Any:
        """Return the value at the position, and move behind it."""
        first = self.peek()
        if first == b"{" and (found := self._value_of_line()) is not None:
            return found
        if first in (b"{", b"[", b'"'):
            length = self._length()
        else:
            while (end := _end_of(_SCALAR, self._data, self._at)) == len(self._data):
                if not self._read():
                    break
            length = end - self._at
        if not length:
            raise self.unexpected()
        raw = self._data[self._at : self._at + length]
        self._at += length
        return json_text.parse(raw, self._limits)

    def _value_of_line(self) -> Any:
        """Return the object that takes the rest of the line, and move behind it; None if its end is not known so.

        The plugin writes each element in a line of its own. To search for its end would take longer than to parse it.
        """
        end = self._data.find(b"\n", self._at)
        if end < 0 and self._read():
            end = self._data.find(b"\n", self._at)
        raw = self._data[self._at : end].rstrip(b",\r") if end >= 0 else b""
        if not raw.endswith(b"}"):
            return None
        try:
            found = json_text.parse(self._shorten(raw), self._limits)
        except RecordError:  # It goes on in the next line, or is invalid, which the caller finds out.
            return None
        self._at += len(raw)
        return found

    def _length(self) -> int:
        """Return the length of the object, array or string at the position, and read until all of it is held.

        Brackets are counted, and not matched: the parser finds those that do not fit.
        """
        length = depth = 0
        while True:
            token = _TOKEN.search(self._data, self._at + length)
            end = 0 if token is None else token.end() if token[0] != b'"' else self._string_end(token.end())
            if token is not None and end:
                length = end - self._at
                depth += _DEPTH[token[0]]
                if depth <= 0:
                    return length
                continue
            length = (len(self._data) if token is None else token.start()) - self._at
            if len(self._data) - self._at > self._limits.text_bytes:
                raise RecordError(f"has a value of more than {self._limits.text_bytes} bytes, the most that are read")
            if not self._read():
                raise _EndOfText

    def _string_end(self, start: int) -> int:
        """Return the position behind a string whose content starts at `start`; 0 if its end is missing."""
        end = self._data.find(b'"', start)
        while end >= 0:
            if self._data[end - 1] != _BACKSLASH:
                return end + 1
            before = end
            while before > start and self._data[before - 1] == _BACKSLASH:
                before -= 1
            if (end - before) % 2 == 0:
                return end + 1
            end = self._data.find(b'"', end + 1)
        return 0


def _end_of(pattern: re.Pattern[bytes], data: bytes, start: int) -> int:
    """Return where the match of a pattern that may match nothing ends."""
    found = pattern.match(data, start)
    return found.end() if found else start
