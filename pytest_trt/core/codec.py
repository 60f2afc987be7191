"""Frozen dataclasses to JSON and back, with nothing taken on trust.

One mechanism serves markers (is this argument of the declared type?), probes (jobs and replies), xdist workers
(results) and baseline files (hostile input): the dataclass's own annotations are the schema.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Callable, Set
from typing import Any, TypeVar

from pytest_trt.core import codec
from pytest_trt.core.scalars import (
    MAX_TEXT,
    InvalidValue,
    check_callable,
    check_float,
    check_instance,
    check_int,
    check_literal,
    check_text,
    short_repr,
)
from pytest_trt.errors import RecordError

T = TypeVar("T")
Checker = Callable[[Any], Any]

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


def field_types(record: Any) -> dict[str, Any]:
    """The fields of a dataclass, or of an instance of one, and their types, evaluated."""
    return _field_types(record if isinstance(record, type) else type(record))


@functools.cache
def _field_types(cls: Any) -> dict[str, Any]:
    evaluated = typing.get_type_hints(cls)
    return {f.name: evaluated[f.name] for f in dataclasses.fields(cls)}


def check(kind: Any, value: Any, where: str) -> Any:
    """`value` converted to the annotated type `kind`, or RecordError naming `where`."""
    try:
        return _checker(kind)(value)
    except InvalidValue as invalid:
        raise RecordError(f"{where}{''.join(reversed(invalid.path))}{invalid.message}") from invalid.__cause__


@functools.cache
def _checker(kind: Any) -> Checker:
    """What checks a value of the annotated type `kind`, made once for each."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _SCALARS:
        return _SCALARS[kind]
    if dataclasses.is_dataclass(kind):
        return _check_dataclass(typing.cast(type, kind))
    if origin in (typing.Union, types.UnionType):
        if len(arguments) == 2 and arguments[1] is type(None):
            return _check_optional(_checker(arguments[0]))
        return functools.partial(_check_union, arguments)
    if origin is typing.Literal:
        return functools.partial(check_literal, arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return functools.partial(_check_list, arguments[0])
    if origin is tuple:
        return functools.partial(_check_tuple, arguments)
    if origin in (dict, collections.abc.Mapping):
        return _check_mapping(*arguments)
    if origin is collections.abc.Callable or kind is collections.abc.Callable:
        return check_callable
    return functools.partial(check_instance, kind)


def _check_dataclass(kind: type) -> Checker:
    """A function written for this very dataclass, as dataclasses writes __init__: what fits is seen without a call, and
    a record is filled as pickle fills it, since a frozen one's own __init__ takes longer than all the checks. Baselines
    are many, and each holds thirty records."""
    hints, fields = _field_types(kind), dataclasses.fields(kind)
    required = {f.name for f in fields if _default(f) is None}
    names = {"kind": kind, "known": hints.keys(), "required": required, "refuse": _refuse, "InvalidValue": InvalidValue,
             "isfinite": math.isfinite}  # fmt: skip
    lines = [
        "def check(given):",
        " if not isinstance(given, dict) or not required <= given.keys() <= known:",
        "  return refuse(kind, given, required, known)",
        " made = kind.__new__(kind)",
        " into = made.__dict__",
    ]
    for number, field in enumerate(fields):
        names[f"check{number}"] = _at(hints[field.name], f".{field.name}")
        names[f"default{number}"] = _default(field)
        indent = " "
        if _default(field) is not None:
            lines += [f" if {field.name!r} not in given:", f"  into[{field.name!r}] = default{number}()", " else:"]
            indent = "  "
        lines += [
            f"{indent}it = given[{field.name!r}]",
            f"{indent}into[{field.name!r}] = it if {_fits(hints[field.name])} else check{number}(it)",
        ]
    if hasattr(kind, "__post_init__"):
        lines += [" try: made.__post_init__()", " except (TypeError, ValueError) as error:"]
        lines += ["  raise InvalidValue(f': {error}') from error"]
    exec("\n".join([*lines, " return made"]), names)  # of nothing but the names of fields
    return typing.cast(Checker, names["check"])


def _default(field: dataclasses.Field[Any]) -> Callable[[], Any] | None:
    """What makes the value of a field that is not there; None where it must be."""
    if field.default is not dataclasses.MISSING:
        return lambda: field.default
    return None if field.default_factory is dataclasses.MISSING else field.default_factory


def _fits(kind: Any) -> str:
    """The condition on which `it` is of the type `kind` and needs no converting; `False` where that takes a call."""
    arguments = typing.get_args(kind)
    if len(arguments) == 2 and arguments[1] is type(None):
        return f"it is None or {_fits(arguments[0])}"
    return _FITS.get(kind, "False")


_FITS = {
    bool: "type(it) is bool",
    int: f"type(it) is int and {-(2**63)} < it < {2**63}",
    float: "type(it) is float and isfinite(it)",
    str: f"type(it) is str and len(it) <= {MAX_TEXT}",
}


def _at(kind: Any, place: str) -> Checker:
    """What checks a value of the type `kind` that stands at `place` in a record."""

    checker: Checker | None = None

    def check(value: Any) -> Any:
        nonlocal checker
        checker = checker or _checker(kind)  # not asked for earlier: a record may hold others of its kind
        try:
            return checker(value)
        except InvalidValue as invalid:
            raise invalid.inside(place) from invalid.__cause__

    return check


def _refuse(kind: type, value: Any, required: Set[str], known: Set[str]) -> Any:
    """What to say of a value that is no dict with these fields; unless it is such a record already."""
    if isinstance(value, kind):
        return value
    if not isinstance(value, dict):
        raise InvalidValue(f" must be an object, not {short_repr(value)}")
    if unknown := [name for name in value if name not in known]:
        raise InvalidValue(f" has an unknown field {short_repr(unknown[0])}")
    raise InvalidValue(f" lacks the field {min(required - value.keys())!r}")


def _check_optional(checker: Checker) -> Checker:
    return lambda value: None if value is None else checker(value)


def _check_union(arguments: tuple[Any, ...], value: Any) -> Any:
    if value is None and type(None) in arguments:
        return None
    failures: list[InvalidValue] = []
    for option in arguments:
        if option is not type(None):
            try:
                return _checker(option)(value)
            except InvalidValue as invalid:
                failures.append(invalid)
    if len(arguments) > 2:
        names = ", ".join("None" if a is type(None) else getattr(a, "__name__", str(a)) for a in arguments)
        raise InvalidValue(f" must be one of {names}, not {short_repr(value)}")
    raise failures[0]


def _check_list(kind: Any, value: Any) -> Any:
    _check_is_list(value)
    if _all_plain(kind, value):
        return tuple(value)
    checker, checked = _checker(kind), []
    try:
        for item in value:
            checked.append(checker(item))  # noqa: PERF401 - its length is the place of what does not fit
    except InvalidValue as invalid:
        raise invalid.inside(f"[{len(checked)}]") from invalid.__cause__
    return tuple(checked)


def _all_plain(kind: Any, values: collections.abc.Collection[Any]) -> bool:
    """Whether these are floats, or texts, that need no converting: the common case, without a call for each."""
    if kind is str:
        try:
            return len("".join(values)) <= MAX_TEXT
        except TypeError:
            return False
    return kind is float and set(map(type, values)) == _FLOATS and math.isfinite(sum(values))


_FLOATS = {float}


def _check_tuple(arguments: tuple[Any, ...], value: Any) -> Any:
    _check_is_list(value)
    if len(value) != len(arguments):
        raise InvalidValue(f" must have {len(arguments)} elements, not {len(value)}")
    checked: list[Any] = []
    try:
        for argument, item in zip(arguments, value, strict=True):
            checked.append(_checker(argument)(item))
    except InvalidValue as invalid:
        raise invalid.inside(f"[{len(checked)}]") from invalid.__cause__
    return tuple(checked)


def _check_is_list(value: Any) -> None:
    if not isinstance(value, (list, tuple)) or len(value) > MAX_ITEMS:
        raise InvalidValue(f" must be a list, not {short_repr(value)}")


def _check_mapping(key_kind: Any, item_kind: Any) -> Checker:
    check_key, check_item = _checker(key_kind), _checker(item_kind)

    def check_mapping(value: Any) -> Any:
        if not (type(value) is dict or isinstance(value, collections.abc.Mapping)) or len(value) > MAX_ITEMS:
            raise InvalidValue(f" must be a mapping, not {short_repr(value)}")
        try:
            keys = value if _all_plain(key_kind, value) else list(map(check_key, value))
        except InvalidValue as invalid:
            raise invalid.inside(" key") from invalid.__cause__
        if keys is value and _all_plain(item_kind, value.values()):
            return dict(value)
        checked, at = {}, None
        try:
            for at, key in zip(value, keys, strict=True):
                checked[key] = check_item(value[at])
        except InvalidValue as invalid:
            raise invalid.inside(f".{at}") from invalid.__cause__
        return checked

    return check_mapping


_SCALARS: dict[Any, Checker] = {Any: lambda value: value, float: check_float, int: check_int, str: check_text}


def from_json(cls: type[Any], text: str) -> Any:
    """A record from JSON text; RecordError where it is not one."""
    try:
        return codec.decode(cls, json.loads(text))
    except (ValueError, RecursionError) as error:
        raise RecordError(f"not JSON: {error}") from error
