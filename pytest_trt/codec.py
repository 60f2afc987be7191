"""Frozen dataclasses to JSON and back, with nothing taken on trust.

One mechanism serves markers (is this argument of the declared type?), probes (jobs and replies), xdist workers
(results) and baseline files (hostile input): the dataclass's own annotations are the schema.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from pytest_trt.errors import RecordError

T = TypeVar("T")
Checker = Callable[[Any], Any]

MAX_TEXT = 100_000
MAX_ITEMS = 1_000_000


def encode(value: Any) -> Any:
    """A JSON-able copy of `value`: dataclasses become dicts, tuples lists. Raises RecordError on anything else."""
    kind: Any = type(value)
    if value is None or kind in _PLAIN:
        return value
    if names := _names(kind):
        fields = ((name, getattr(value, name)) for name in names)
        return {name: field if type(field) in _PLAIN else encode(field) for name, field in fields}
    if isinstance(value, collections.abc.Mapping):
        return {str(k): v if type(v) in _PLAIN else encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        if all(type(v) is float for v in value):
            return list(value)  # long lists of samples: the common case, without a call per element
        return [encode(v) for v in value]
    if isinstance(value, (str, int, float)):
        return value
    raise RecordError(f"cannot be written as JSON: {value!r} ({type(value).__name__})")


_PLAIN = frozenset((str, bool, int, float))


@functools.cache
def _names(kind: Any) -> tuple[str, ...]:
    """The fields of a dataclass; none of anything else."""
    return tuple(f.name for f in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


def decode(cls: type[T], data: Any, where: str = "") -> T:
    """`data` (as json.loads gives it) as an instance of `cls`, every field checked.

    `where` names the place in messages. Raises RecordError, naming the field, for unknown or missing fields, wrong
    types, NaN and infinities, and texts or lists beyond any honest size.
    """
    return typing.cast(T, check(cls, data, where or cls.__name__))


def hints(record: Any) -> dict[str, Any]:
    """The fields of a dataclass, or of an instance of one, and their types, evaluated."""
    return _hints(record if isinstance(record, type) else type(record))


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    evaluated = typing.get_type_hints(cls)
    return {f.name: evaluated[f.name] for f in dataclasses.fields(cls)}


@functools.cache
def _fields(cls: Any) -> tuple[dict[str, Checker], frozenset[str]]:
    """What checks each field, and the fields without a default."""
    required = frozenset(
        f.name
        for f in dataclasses.fields(cls)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )
    return {name: _checker(kind) for name, kind in _hints(cls).items()}, required


def check(kind: Any, value: Any, where: str) -> Any:
    """`value` converted to the annotated type `kind`, or RecordError naming `where`."""
    try:
        return _checker(kind)(value)
    except _Misfit as misfit:
        raise RecordError(f"{where}{''.join(reversed(misfit.path))}{misfit.said}") from misfit.__cause__


class _Misfit(Exception):
    """A value that does not fit: what is said of it, and its path, innermost first. The path grows while the exception
    passes outwards, so that a value that fits costs no text."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said, self.path = said, list[str]()

    def at(self, place: str) -> _Misfit:
        self.path.append(place)
        return self


@functools.cache
def _checker(kind: Any) -> Checker:
    """What checks a value of the annotated type `kind`, made once for each."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _SCALARS:
        return _SCALARS[kind]
    if dataclasses.is_dataclass(kind):
        return functools.partial(_check_dataclass, typing.cast(type, kind))
    if origin in (typing.Union, types.UnionType):
        if len(arguments) == 2 and arguments[1] is type(None):
            return functools.partial(_check_optional, _checker(arguments[0]))
        return functools.partial(_check_union, arguments)
    if origin is typing.Literal:
        return functools.partial(_check_literal, arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return functools.partial(_check_list, arguments[0])
    if origin is tuple:
        return functools.partial(_check_tuple, arguments)
    if origin in (dict, collections.abc.Mapping):
        return functools.partial(_check_mapping, *arguments)
    if origin is collections.abc.Callable or kind is collections.abc.Callable:
        return _check_callable
    return functools.partial(_check_instance, kind)


def _check_dataclass(kind: type, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, dict):
        raise _Misfit(f" must be an object, not {_shown(value)}")
    checkers, required = _fields(kind)
    if value.keys() != checkers.keys():
        if unknown := [name for name in value if name not in checkers]:
            raise _Misfit(f" has an unknown field {_shown(unknown[0])}")
        if not required <= value.keys():
            raise _Misfit(f" lacks the field {min(required - value.keys())!r}")
    checked, name = {}, ""
    try:
        for name, item in value.items():
            checked[name] = checkers[name](item)
    except _Misfit as misfit:
        raise misfit.at(f".{name}") from misfit.__cause__
    try:
        return kind(**checked)
    except (TypeError, ValueError) as error:
        raise _Misfit(f": {error}") from error


def _check_optional(checker: Checker, value: Any) -> Any:
    return None if value is None else checker(value)


def _check_union(arguments: tuple[Any, ...], value: Any) -> Any:
    if value is None and type(None) in arguments:
        return None
    failures: list[_Misfit] = []
    for option in arguments:
        if option is not type(None):
            try:
                return _checker(option)(value)
            except _Misfit as misfit:
                failures.append(misfit)
    if len(arguments) > 2:
        names = ", ".join("None" if a is type(None) else getattr(a, "__name__", str(a)) for a in arguments)
        raise _Misfit(f" must be one of {names}, not {_shown(value)}")
    raise failures[0]


def _check_literal(arguments: tuple[Any, ...], value: Any) -> Any:
    if value not in arguments or isinstance(value, bool) != any(isinstance(a, bool) for a in arguments):
        raise _Misfit(f" is {value!r}: it must be one of {', '.join(map(repr, arguments))}")
    return value


def _check_list(kind: Any, value: Any) -> Any:
    _check_is_list(value)
    if _all_plain(kind, value):
        return tuple(value)
    checker, checked = _checker(kind), []
    try:
        for item in value:
            checked.append(checker(item))  # noqa: PERF401 - its length is the place of what does not fit
    except _Misfit as misfit:
        raise misfit.at(f"[{len(checked)}]") from misfit.__cause__
    return tuple(checked)


def _all_plain(kind: Any, values: collections.abc.Collection[Any]) -> bool:
    """Whether these are floats, or texts, that need no converting: the common case, without a call for each."""
    if kind not in (float, str) or set(map(type, values)) != {kind}:
        return False
    return all(map(math.isfinite, values)) if kind is float else max(map(len, values)) <= MAX_TEXT


def _check_tuple(arguments: tuple[Any, ...], value: Any) -> Any:
    _check_is_list(value)
    if len(value) != len(arguments):
        raise _Misfit(f" must have {len(arguments)} elements, not {len(value)}")
    checked: list[Any] = []
    try:
        for argument, item in zip(arguments, value, strict=True):
            checked.append(_checker(argument)(item))
    except _Misfit as misfit:
        raise misfit.at(f"[{len(checked)}]") from misfit.__cause__
    return tuple(checked)


def _check_is_list(value: Any) -> None:
    if not isinstance(value, (list, tuple)) or len(value) > MAX_ITEMS:
        raise _Misfit(f" must be a list, not {_shown(value)}")


def _check_mapping(key_kind: Any, item_kind: Any, value: Any) -> Any:
    if not (type(value) is dict or isinstance(value, collections.abc.Mapping)) or len(value) > MAX_ITEMS:
        raise _Misfit(f" must be a mapping, not {_shown(value)}")
    if key_kind is str and _all_plain(str, value) and _all_plain(item_kind, value.values()):
        return dict(value)
    check_key, check_item, checked, place = _checker(key_kind), _checker(item_kind), {}, ""
    try:
        for key, item in value.items():
            place = " key"
            checked_key = check_key(key)
            place = f".{key}"
            checked[checked_key] = check_item(item)
    except _Misfit as misfit:
        raise misfit.at(place) from misfit.__cause__
    return checked


def _check_callable(value: Any) -> Any:
    if not callable(value):
        raise _Misfit(f" must be a function, not {_shown(value)}")
    return value


def _check_float(value: Any) -> float:
    if type(value) is not float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _Misfit(f" must be of type float, not {_shown(value)}")
        try:
            value = float(value)
        except OverflowError:
            raise _Misfit(f" is {_shown(value)}: it must be a finite number") from None
    if not math.isfinite(value):
        raise _Misfit(f" is {value!r}: it must be a finite number")
    return float(value)


def _check_int(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _Misfit(f" must be of type int, not {_shown(value)}")
    if abs(value) >= 2**63:
        raise _Misfit(f" is {_shown(value)}: beyond 64 bits")
    return value


def _check_text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Misfit(f" must be of type str, not {_shown(value)}")
    if len(value) > MAX_TEXT:
        raise _Misfit(f" is a text of {len(value)} characters: at most {MAX_TEXT} are read")
    return value


_SCALARS: dict[Any, Checker] = {Any: lambda value: value, float: _check_float, int: _check_int, str: _check_text}


def _check_instance(kind: Any, value: Any) -> Any:
    if not (isinstance(kind, type) and isinstance(value, kind)):
        raise _Misfit(f" must be of type {getattr(kind, '__name__', kind)}, not {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    """`value` short enough for a message. An int too long for str() would raise."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (dict, list, tuple)) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value)} elements"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
