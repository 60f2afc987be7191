"""Convert frozen dataclasses to JSON and back, and check every field.

The annotations of a dataclass are its schema. The same checks serve marker arguments, the jobs and replies of probes,
the results of xdist workers, and baseline files, whose content is not trusted.
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

from pytest_trt.core.scalars import (
    MAX_STRING,
    InvalidValue,
    check_callable,
    check_depth,
    check_float,
    check_instance,
    check_int,
    check_literal,
    check_str,
    short_repr,
)
from pytest_trt.errors import RecordError

T = TypeVar("T")
Checker = Callable[[Any], Any]

MAX_ITEMS = 1_000_000
"""The largest number of elements of a list or mapping that is accepted."""

_JSON_SCALARS = frozenset((str, bool, int, float))
_FLOAT_ONLY = {float}
_SCALAR_CHECKERS: dict[Any, Checker] = {Any: check_depth, float: check_float, int: check_int, str: check_str}
_FAST_CONDITIONS = {
    bool: "type(value) is bool",
    int: f"type(value) is int and {-(2**63)} < value < {2**63}",
    float: "type(value) is float and isfinite(value)",
    str: f"type(value) is str and len(value) <= {MAX_STRING}",
}
"""Source code of a condition on `value`: if it is true, the value has the type and needs no conversion."""


def encode(value: Any) -> Any:
    """Return a copy of `value` that JSON can represent: a dataclass becomes a dict, a tuple becomes a list.

    Raises:
        RecordError: The value contains an object that JSON cannot represent.
    """
    kind: Any = type(value)
    if value is None or kind in _JSON_SCALARS:
        return value
    if names := _field_names(kind):
        fields = ((name, getattr(value, name)) for name in names)
        return {name: field if type(field) in _JSON_SCALARS else encode(field) for name, field in fields}
    if isinstance(value, collections.abc.Mapping):
        return {str(k): v if type(v) in _JSON_SCALARS else encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        if set(map(type, value)) <= _FLOAT_ONLY:
            return list(value)  # Fast path for long lists of samples: no call per element.
        return [encode(v) for v in value]
    if isinstance(value, (str, int, float)):
        return value
    raise RecordError(f"cannot be written as JSON: {value!r} ({type(value).__name__})")


@functools.cache
def _field_names(kind: Any) -> tuple[str, ...]:
    """Return the names of the fields of a dataclass. For any other type, return an empty tuple."""
    return tuple(f.name for f in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else ()


def decode(cls: type[T], data: Any, where: str = "") -> T:
    """Return an instance of the dataclass `cls` made from `data`, with every field checked.

    Args:
        cls: The dataclass.
        data: The object that `json.loads` returned.
        where: The start of error messages, such as a file name. The default is the name of the class.

    Raises:
        RecordError: A field is unknown, missing, of a wrong type, NaN, infinite or too large. The message names the
            field.
    """
    return typing.cast(T, check(cls, data, where or cls.__name__))


def from_json(cls: type[T], text: str) -> T:
    """Return an instance of the dataclass `cls` made from JSON text.

    Raises:
        RecordError: The text is not JSON, or does not have the form of the record.
    """
    try:
        return decode(cls, json.loads(text))
    except (ValueError, RecursionError) as error:
        raise RecordError(f"not JSON: {error}") from error


def field_types(record: Any) -> dict[str, Any]:
    """Return the evaluated type of every field, by name, of a dataclass or an instance of one."""
    return _field_types(record if isinstance(record, type) else type(record))


@functools.cache
def _field_types(cls: Any) -> dict[str, Any]:
    evaluated = typing.get_type_hints(cls)
    return {f.name: evaluated[f.name] for f in dataclasses.fields(cls)}


def check(kind: Any, value: Any, where: str) -> Any:
    """Return `value` converted to the annotated type `kind`.

    Raises:
        RecordError: The value does not have the type. The message starts with `where`.
    """
    try:
        return _checker(kind)(value)
    except InvalidValue as invalid:
        raise RecordError(f"{where}{''.join(reversed(invalid.path))}{invalid.message}") from invalid.__cause__


@functools.cache
def _checker(kind: Any) -> Checker:
    """Return the function that checks and converts a value of the annotated type `kind`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _SCALAR_CHECKERS:
        return _SCALAR_CHECKERS[kind]
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
    """Generate a function that checks and makes a record of this dataclass, as `dataclasses` generates `__init__`.

    A field that fits is checked inline, without a call. The record is filled through its `__dict__`, as pickle does
    it: the `__init__` of a frozen dataclass takes longer than all the checks. Speed matters, because a project has
    many baselines and each of them holds thirty records.
    """
    types_by_name, fields = _field_types(kind), dataclasses.fields(kind)
    required = {f.name for f in fields if _default_factory(f) is None}
    names = {"kind": kind, "known": types_by_name.keys(), "required": required, "convert": _convert_other,
             "InvalidValue": InvalidValue, "isfinite": math.isfinite}  # fmt: skip
    lines = [
        "def check(data):",
        " if not isinstance(data, dict) or not required <= data.keys() <= known:",
        "  return convert(kind, data, required, known)",
        " record = kind.__new__(kind)",
        " fields = record.__dict__",
    ]
    for number, field in enumerate(fields):
        names[f"check{number}"] = _check_field(types_by_name[field.name], f".{field.name}")
        names[f"default{number}"] = _default_factory(field)
        indent = " "
        if _default_factory(field) is not None:
            lines += [f" if {field.name!r} not in data:", f"  fields[{field.name!r}] = default{number}()", " else:"]
            indent = "  "
        condition = _fast_condition(types_by_name[field.name])
        lines += [
            f"{indent}value = data[{field.name!r}]",
            f"{indent}fields[{field.name!r}] = value if {condition} else check{number}(value)",
        ]
    if hasattr(kind, "__post_init__"):
        lines += [" try: record.__post_init__()", " except (TypeError, ValueError) as error:"]
        lines += ["  raise InvalidValue(f': {error}') from error"]
    exec("\n".join([*lines, " return record"]), names)  # The code contains field names only, no data.
    return typing.cast(Checker, names["check"])


def _default_factory(field: dataclasses.Field[Any]) -> Callable[[], Any] | None:
    """Return the function that makes the default of a field. Return None if the field is required."""
    if field.default is not dataclasses.MISSING:
        return lambda: field.default
    return None if field.default_factory is dataclasses.MISSING else field.default_factory


def _fast_condition(kind: Any) -> str:
    """Return source code that is true if `value` has the type `kind` and needs no conversion.

    The code is `False` for a type that takes a call to check.
    """
    arguments = typing.get_args(kind)
    if len(arguments) == 2 and arguments[1] is type(None):
        return f"value is None or {_fast_condition(arguments[0])}"
    return _FAST_CONDITIONS.get(kind, "False")


def _check_field(kind: Any, path: str) -> Checker:
    """Return the function that checks a field of the type `kind`, and that adds `path` to the errors it raises."""
    checker: Checker | None = None

    def check(value: Any) -> Any:
        nonlocal checker
        checker = checker or _checker(kind)  # Made on first use, because a record may contain records of its own type.
        try:
            return checker(value)
        except InvalidValue as invalid:
            raise invalid.inside(path) from invalid.__cause__

    return check


def _convert_other(kind: type, value: Any, required: Set[str], known: Set[str]) -> Any:
    """Return `value` if it is already a record of the type `kind`. Raise InvalidValue otherwise."""
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
    if _all_valid_scalars(kind, value):
        return tuple(value)
    checker, checked = _checker(kind), []
    try:
        for item in value:
            checked.append(checker(item))  # noqa: PERF401 - the length is the index of the invalid item
    except InvalidValue as invalid:
        raise invalid.inside(f"[{len(checked)}]") from invalid.__cause__
    return tuple(checked)


def _all_valid_scalars(kind: Any, values: collections.abc.Collection[Any]) -> bool:
    """Return whether all values are valid floats, or valid strings, without a call per value."""
    if kind is str:
        try:
            return len("".join(values)) <= MAX_STRING
        except TypeError:
            return False
    return kind is float and set(map(type, values)) == _FLOAT_ONLY and math.isfinite(sum(values))


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
            keys = value if _all_valid_scalars(key_kind, value) else list(map(check_key, value))
        except InvalidValue as invalid:
            raise invalid.inside(" key") from invalid.__cause__
        if keys is value and _all_valid_scalars(item_kind, value.values()):
            return dict(value)
        checked, original = {}, None
        try:
            for original, key in zip(value, keys, strict=True):
                checked[key] = check_item(value[original])
        except InvalidValue as invalid:
            raise invalid.inside(f".{original}") from invalid.__cause__
        return checked

    return check_mapping
