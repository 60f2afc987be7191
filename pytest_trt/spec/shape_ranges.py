"""Convert the notations for a range of sizes or shapes to (min, opt, max) triples, one per optimisation profile.

A size may be 0: the first step of a decoder has no past keys. TensorRT and ONNX Runtime both run empty tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeGuard

from pytest_trt.errors import DeclarationError

Shape = tuple[int, ...]
ShapeRange = tuple[Shape, Shape, Shape]
DimRange = tuple[int, int, int]


def dim_ranges(name: str, value: Any) -> tuple[DimRange, ...]:
    """Return the range of a dimension as (min, opt, max) triples, one per optimisation profile.

    Args:
        name: The name of the dimension, for error messages.
        value: A size, a triple of sizes, or a list of such triples.

    Raises:
        DeclarationError: The value has another form, or the sizes are not in ascending order from 0.
    """
    accepted = "(min, opt, max), a single size, or a list of such triples"
    found: list[DimRange] = []
    for low, opt, high in _triples(f"trt_engine: dims[{name!r}]", value, _is_int, accepted):
        if not 0 <= low <= opt <= high:
            raise DeclarationError(
                f"trt_engine: dims[{name!r}] is {(low, opt, high)}: it must be 0 <= min <= opt <= max"
            )
        found.append((low, opt, high))
    return tuple(found)


def shape_ranges(name: str, value: Any) -> tuple[ShapeRange, ...]:
    """Return the range of an input's shape as (min, opt, max) triples, one per optimisation profile.

    Args:
        name: The name of the input, for error messages.
        value: A shape, a triple of shapes, or a list of such triples.

    Raises:
        DeclarationError: The value has another form, the shapes differ in rank, or they are not in ascending order
            from 0.
    """
    accepted = "(min, opt, max) shapes, a single shape, or a list of such triples"
    found: list[ShapeRange] = []
    for low, opt, high in _triples(f"trt_engine: shapes[{name!r}]", value, _is_shape, accepted):
        if not len(low) == len(opt) == len(high):
            raise DeclarationError(
                f"trt_engine: shapes[{name!r}] is {value!r}: min, opt and max must have the same rank"
            )
        if not all(0 <= a <= b <= c for a, b, c in zip(low, opt, high, strict=True)):
            message = f"trt_engine: shapes[{name!r}] is {value!r}: it must be 0 <= min <= opt <= max in every dimension"
            raise DeclarationError(message)
        found.append((tuple(low), tuple(opt), tuple(high)))
    if len({len(low) for low, _, _ in found}) > 1:
        raise DeclarationError(f"trt_engine: shapes[{name!r}] is {value!r}: every profile must have the same rank")
    return tuple(found)


def _triples(where: str, value: Any, is_item: Callable[[Any], bool], accepted: str) -> Iterator[Sequence[Any]]:
    """Yield an item, a triple of items or a list of triples as triples, each checked before it is yielded."""
    if is_item(value):
        value = (value, value, value)
    triples = (value,) if _is_sequence(value) and value and all(map(is_item, value)) else value
    if not _is_sequence(triples) or not triples:
        raise DeclarationError(f"{where} is {value!r}: give {accepted}")
    for triple in triples:
        if not _is_sequence(triple) or len(triple) != 3 or not all(map(is_item, triple)):
            raise DeclarationError(f"{where} is {value!r}: give {accepted}")
        yield triple


def _is_sequence(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, (tuple, list))


def _is_shape(value: Any) -> bool:
    return _is_sequence(value) and all(map(_is_int, value))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
