"""Check a single value against its declared type, and describe a value that does not fit."""

from __future__ import annotations

import math
from typing import Any

MAX_STRING = 100_000
"""The largest number of characters of a string that is accepted."""


MAX_DEPTH = 64
"""The most lists and mappings inside each other that are accepted where a value may have any type."""

_CONTAINERS = (dict, list, tuple)

_SHOWN = 60
"""The most characters of a value in a message."""


class InvalidValue(Exception):
    """A value that does not have its declared type.

    The path grows while the exception propagates outwards, so that a valid value costs no string operations.

    Attributes:
        message: The end of the error message. It starts with a space and a verb, such as ` must be a list`.
        path: The path to the value inside its record, innermost part first, such as `["[3]", ".blocks"]`.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message, self.path = message, list[str]()

    def inside(self, part: str) -> InvalidValue:
        """Add the next outer part of the path, and return this exception."""
        self.path.append(part)
        return self


def check_literal(choices: tuple[Any, ...], value: Any) -> Any:
    """Return `value` if it is one of `choices`. Raise InvalidValue otherwise."""
    if value not in choices or isinstance(value, bool) != any(isinstance(choice, bool) for choice in choices):
        raise InvalidValue(f" is {short_repr(value)}: it must be one of {', '.join(map(repr, choices))}")
    return value


def check_callable(value: Any) -> Any:
    """Return `value` if it can be called. Raise InvalidValue otherwise."""
    if not callable(value):
        raise InvalidValue(f" must be a function, not {short_repr(value)}")
    return value


def check_float(value: Any) -> float:
    """Return `value` as a float if it is a finite number. Raise InvalidValue otherwise."""
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
    """Return `value` if it is an integer of at most 64 bits. Raise InvalidValue otherwise."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValue(f" must be of type int, not {short_repr(value)}")
    if abs(value) >= 2**63:
        raise InvalidValue(f" is {short_repr(value)}: it must fit in 64 bits")
    return value


def check_str(value: Any) -> str:
    """Return `value` if it is a string of at most MAX_STRING characters. Raise InvalidValue otherwise."""
    if type(value) is not str and not isinstance(value, str):
        raise InvalidValue(f" must be of type str, not {short_repr(value)}")
    if len(value) > MAX_STRING:
        raise InvalidValue(f" is a string of {len(value)} characters: the limit is {MAX_STRING}")
    return value


def check_depth(value: Any) -> Any:
    """Return `value` if its lists and mappings are nested at most MAX_DEPTH deep. Raise InvalidValue otherwise."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, _CONTAINERS))
        level = [item for items in inner for item in items]
        if not level:
            return value
    raise InvalidValue(f" is nested more than {MAX_DEPTH} levels deep")


def check_instance(kind: Any, value: Any) -> Any:
    """Return `value` if it is an instance of the class `kind`. Raise InvalidValue otherwise."""
    if not (isinstance(kind, type) and isinstance(value, kind)):
        raise InvalidValue(f" must be of type {getattr(kind, '__name__', kind)}, not {short_repr(value)}")
    return value


def short_repr(value: Any) -> str:
    """Return a representation of `value` that is short enough for a message: at most 60 characters."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        return f"an integer of {value.bit_length()} bits"  # Python refuses to convert a very large integer to a string.
    if isinstance(value, (dict, list, tuple)) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value)} elements"
    if isinstance(value, str):
        value = value[: _SHOWN + 1]  # The representation of a long text would be as long as the text.
    try:
        text = repr(value)
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
