"""Convert the notations for a range of sizes or shapes to (min, opt, max) triples, one per optimisation profile.

A size may be 0: the first step of a decoder has no past keys. TensorRT and ONNX Runtime both run empty tensors.
"""

from __future__ import annotations

from typing import Any

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
    if _is_int(value):
        value = (value, value, value)
    ranges = (value,) if isinstance(value, (tuple, list)) and value and all(map(_is_int, value)) else value
    accepted = "(min, opt, max), a single size, or a list of such triples"
    if not isinstance(ranges, (tuple, list)) or not ranges:
        raise DeclarationError(f"trt_engine: dims[{name!r}] is {value!r}: give {accepted}")
    for triple in ranges:
        if not isinstance(triple, (tuple, list)) or len(triple) != 3 or not all(map(_is_int, triple)):
            raise DeclarationError(f"trt_engine: dims[{name!r}] is {value!r}: give {accepted}")
        if not 0 <= triple[0] <= triple[1] <= triple[2]:
            raise DeclarationError(f"trt_engine: dims[{name!r}] is {tuple(triple)}: it must be 0 <= min <= opt <= max")
    return tuple((r[0], r[1], r[2]) for r in ranges)


def shape_ranges(name: str, value: Any) -> tuple[ShapeRange, ...]:
    """Return the range of an input's shape as (min, opt, max) triples, one per optimisation profile.

    Args:
        name: The name of the input, for error messages.
        value: A shape, a triple of shapes, or a list of such triples.

    Raises:
        DeclarationError: The value has another form, the shapes differ in rank, or they are not in ascending order
            from 0.
    """

    def is_shape(item: Any) -> bool:
        return isinstance(item, (tuple, list)) and all(map(_is_int, item))

    if is_shape(value):
        value = (value, value, value)
    ranges = (value,) if isinstance(value, (tuple, list)) and value and all(map(is_shape, value)) else value
    accepted = "(min, opt, max) shapes, a single shape, or a list of such triples"
    if not isinstance(ranges, (tuple, list)) or not ranges:
        raise DeclarationError(f"trt_engine: shapes[{name!r}] is {value!r}: give {accepted}")
    for triple in ranges:
        if not isinstance(triple, (tuple, list)) or len(triple) != 3 or not all(map(is_shape, triple)):
            raise DeclarationError(f"trt_engine: shapes[{name!r}] is {value!r}: give {accepted}")
        low, opt, high = triple
        if not len(low) == len(opt) == len(high):
            raise DeclarationError(
                f"trt_engine: shapes[{name!r}] is {value!r}: min, opt and max must have the same rank"
            )
        if not all(0 <= a <= b <= c for a, b, c in zip(low, opt, high, strict=True)):
            message = f"trt_engine: shapes[{name!r}] is {value!r}: it must be 0 <= min <= opt <= max in every dimension"
            raise DeclarationError(message)
    if len({len(triple[0]) for triple in ranges}) > 1:
        raise DeclarationError(f"trt_engine: shapes[{name!r}] is {value!r}: every profile must have the same rank")
    return tuple((tuple(r[0]), tuple(r[1]), tuple(r[2])) for r in ranges)


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
