"""What may be written for a range of sizes or shapes, made into (min, opt, max) triples, one for each profile."""

from __future__ import annotations

from typing import Any

from pytest_trt.errors import DeclarationError

Shape = tuple[int, ...]
ShapeRange = tuple[Shape, Shape, Shape]
DimRange = tuple[int, int, int]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def dim_ranges(name: str, value: Any) -> tuple[DimRange, ...]:
    """A size, a triple or a list of triples as triples. Raises DeclarationError naming the dimension."""
    if _is_int(value):
        value = (value, value, value)
    ranges = (value,) if isinstance(value, (tuple, list)) and value and all(map(_is_int, value)) else value
    wanted = "(min, opt, max), a single size, or a list of such triples"
    if not isinstance(ranges, (tuple, list)) or not ranges:
        raise DeclarationError(f"trt_engine: dims[{name!r}] is {value!r}: give {wanted}")
    for triple in ranges:
        if not isinstance(triple, (tuple, list)) or len(triple) != 3 or not all(map(_is_int, triple)):
            raise DeclarationError(f"trt_engine: dims[{name!r}] is {value!r}: give {wanted}")
        if not 1 <= triple[0] <= triple[1] <= triple[2]:
            raise DeclarationError(f"trt_engine: dims[{name!r}] is {tuple(triple)}: it must be 1 <= min <= opt <= max")
    return tuple((r[0], r[1], r[2]) for r in ranges)


def shape_ranges(name: str, value: Any) -> tuple[ShapeRange, ...]:
    """A shape, a triple of shapes or a list of triples as triples. Raises DeclarationError naming the input."""

    def is_shape(item: Any) -> bool:
        return isinstance(item, (tuple, list)) and all(map(_is_int, item))

    if is_shape(value):
        value = (value, value, value)
    ranges = (value,) if isinstance(value, (tuple, list)) and value and all(map(is_shape, value)) else value
    wanted = "(min, opt, max) shapes, a single shape, or a list of such triples"
    if not isinstance(ranges, (tuple, list)) or not ranges:
        raise DeclarationError(f"trt_engine: shapes[{name!r}] is {value!r}: give {wanted}")
    for triple in ranges:
        if not isinstance(triple, (tuple, list)) or len(triple) != 3 or not all(map(is_shape, triple)):
            raise DeclarationError(f"trt_engine: shapes[{name!r}] is {value!r}: give {wanted}")
        low, opt, high = triple
        if not len(low) == len(opt) == len(high):
            raise DeclarationError(f"trt_engine: shapes[{name!r}] is {value!r}: min, opt and max differ in rank")
        if not all(0 <= a <= b <= c for a, b, c in zip(low, opt, high, strict=True)):
            message = f"trt_engine: shapes[{name!r}] is {value!r}: it must be min <= opt <= max everywhere"
            raise DeclarationError(message)
    return tuple((tuple(r[0]), tuple(r[1]), tuple(r[2])) for r in ranges)
