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
from typing import Any, TypeVar

from pytest_trt.errors import RecordError

T = TypeVar("T")

MAX_TEXT = 100_000
MAX_ITEMS = 1_000_000


def encode(value: Any) -> Any:
    """A JSON-able copy of `value`: dataclasses become dicts, tuples lists. Raises RecordError on anything else."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, collections.abc.Mapping):
        return {str(k): encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        if all(type(v) is float for v in value):
            return list(value)  # long lists of samples: the common case, without a call per element
        return [encode(v) for v in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise RecordError(f"cannot be written as JSON: {value!r} ({type(value).__name__})")


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
def _required(cls: Any) -> frozenset[str]:
    return frozenset(
        f.name
        for f in dataclasses.fields(cls)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )


def check(kind: Any, value: Any, where: str) -> Any:
    """`value` converted to the annotated type `kind`, or RecordError naming `where`."""
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _check_dataclass(typing.cast(type, kind), value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _check_union(arguments, value, where)
    if origin is typing.Literal:
        if value not in arguments or isinstance(value, bool) != any(isinstance(a, bool) for a in arguments):
            raise RecordError(f"{where} is {value!r}: it must be one of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        return _check_tuple(arguments, value, where)
    if origin in (dict, collections.abc.Mapping):
        if not isinstance(value, collections.abc.Mapping) or len(value) > MAX_ITEMS:
            raise RecordError(f"{where} must be a mapping, not {_shown(value)}")
        key, item = arguments
        return {check(key, k, f"{where} key"): check(item, v, f"{where}.{k}") for k, v in value.items()}
    if origin is collections.abc.Callable or kind is collections.abc.Callable:
        if not callable(value):
            raise RecordError(f"{where} must be a function, not {_shown(value)}")
        return value
    return _check_scalar(kind, value, where)


def _check_dataclass(kind: type, value: Any, where: str) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, dict):
        raise RecordError(f"{where} must be an object, not {_shown(value)}")
    kinds = hints(kind)
    for name in value:
        if name not in kinds:
            raise RecordError(f"{where} has an unknown field {_shown(name)}")
    for name in sorted(_required(kind) - value.keys()):
        raise RecordError(f"{where} lacks the field {name!r}")
    try:
        return kind(**{k: check(kinds[k], v, f"{where}.{k}") for k, v in value.items()})
    except (TypeError, ValueError) as error:
        raise RecordError(f"{where}: {error}") from error


def _check_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    failure: RecordError | None = None
    for option in arguments:
        if option is type(None):
            continue
        try:
            return check(option, value, where)
        except RecordError as error:
            failure = failure or error
    if len(arguments) > 2 and failure is not None:
        names = ", ".join("None" if a is type(None) else getattr(a, "__name__", str(a)) for a in arguments)
        raise RecordError(f"{where} must be one of {names}, not {_shown(value)}")
    assert failure is not None
    raise failure


def _check_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, (list, tuple)) or len(value) > MAX_ITEMS:
        raise RecordError(f"{where} must be a list, not {_shown(value)}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        if arguments[0] is float and all(type(v) is float for v in value) and all(map(math.isfinite, value)):
            return tuple(value)  # long lists of samples: the common case, without a call per element
        return tuple(check(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if len(value) != len(arguments):
        raise RecordError(f"{where} must have {len(arguments)} elements, not {len(value)}")
    return tuple(check(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(arguments, value, strict=True)))


def _check_scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise RecordError(f"{where} is {_shown(value)}: it must be a finite number")
        return number
    if kind is int and isinstance(value, bool):
        raise RecordError(f"{where} must be of type int, not {value!r}")
    if isinstance(kind, type) and isinstance(value, kind):
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise RecordError(f"{where} is a text of {len(value)} characters: at most {MAX_TEXT} are read")
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
            raise RecordError(f"{where} is {_shown(value)}: beyond 64 bits")
        return value
    raise RecordError(f"{where} must be of type {getattr(kind, '__name__', kind)}, not {_shown(value)}")


def _shown(value: Any) -> str:
    """`value` short enough for a message. An int too long for str() would raise."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (dict, list, tuple)) and len(value) > 8:
        return f"a {type(value).__name__} of {len(value)} elements"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
