"""Single values checked against the type that is declared for them, and what is said of those that do not fit."""

from __future__ import annotations

import math
from typing import Any

MAX_TEXT = 100_000


class InvalidValue(Exception):
    """A value that does not fit: what is said of it, and its path, innermost first. The path grows while the exception
    passes outwards, so that a value that fits costs no text."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message, self.path = message, list[str]()

    def inside(self, place: str) -> InvalidValue:
        self.path.append(place)
        return self


def check_literal(arguments: tuple[Any, ...], value: Any) -> Any:
    if value not in arguments or isinstance(value, bool) != any(isinstance(a, bool) for a in arguments):
        raise InvalidValue(f" is {value!r}: it must be one of {', '.join(map(repr, arguments))}")
    return value


def check_callable(value: Any) -> Any:
    if not callable(value):
        raise InvalidValue(f" must be a function, not {short_repr(value)}")
    return value


def check_float(value: Any) -> float:
    if type(value) is float and -math.inf < value < math.inf:
        return value
    if type(value) is not float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InvalidValue(f" must be of type float, not {short_repr(value)}")
        try:
            value = float(value)
        except OverflowError:
            raise InvalidValue(f" is {short_repr(value)}: it must be a finite number") from None
    if not math.isfinite(value):
        raise InvalidValue(f" is {value!r}: it must be a finite number")
    return float(value)


def check_int(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValue(f" must be of type int, not {short_repr(value)}")
    if abs(value) >= 2**63:
        raise InvalidValue(f" is {short_repr(value)}: beyond 64 bits")
    return value


def check_text(value: Any) -> str:
    if type(value) is not str and not isinstance(value, str):
        raise InvalidValue(f" must be of type str, not {short_repr(value)}")
    if len(value) > MAX_TEXT:
        raise InvalidValue(f" is a text of {len(value)} characters: at most {MAX_TEXT} are read")
    return value


def check_instance(kind: Any, value: Any) -> Any:
    if not (isinstance(kind, type) and isinstance(value, kind)):
        raise InvalidValue(f" must be of type {getattr(kind, '__name__', kind)}, not {short_repr(value)}")
    return value


def short_repr(value: Any) -> str:
    """`value` short enough for a message. An int too long for str() would raise."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (dict, list, tuple)) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value)} elements"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
