"""Bounds of the numbers in a tensor, and the bounds of what an operator computes from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

UNKNOWN = 2.0**20
"""The assumed size of an integer of unknown size, such as an input or a dynamic dimension."""

_LARGEST = 1e30
"""Bounds are clipped here, so that sums and products of them stay finite."""

CONSTANT, INTEGERS, INPUTS, NETWORK = range(4)
"""Where numbers come from. Each source includes those before it: constants, integers, float inputs of the model, or
other results of its network."""

Bounds = tuple[float, float]

ORDINARY: Bounds = (-1.0, 1.0)
"""The assumed bounds of activations: their magnitude is of the order of 1."""


@dataclasses.dataclass(frozen=True)
class Numbers:
    """What is known of the numbers in a tensor.

    Attributes:
        low: A lower bound.
        high: An upper bound.
        whole: Whether they are whole numbers that come from integers or constants.
        beyond: Whether rounding to the half precision would change whole numbers, or what is computed from them.
        source: CONSTANT, INTEGERS, INPUTS or NETWORK.
        layers: The number of layers between the source and the tensor.
        is_mask: Whether they may be a mask: an integer input with several dimensions that was only moved or cast.
    """

    low: float
    high: float
    whole: bool = False
    beyond: bool = False
    source: int = NETWORK
    layers: int = 0
    is_mask: bool = False

    @property
    def bounds(self) -> Bounds:
        """Both bounds."""
        return self.low, self.high

    @property
    def size(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))


def join(numbers: Sequence[Numbers]) -> Numbers:
    """Return what is known of a tensor that has the numbers of one of several others."""
    low, high = span([each.bounds for each in numbers])
    return Numbers(
        low,
        high,
        all(each.whole for each in numbers),
        any(each.beyond for each in numbers),
        max(each.source for each in numbers),
        max(each.layers for each in numbers),
        all(each.is_mask for each in numbers),
    )


def span(read: Sequence[Bounds]) -> Bounds:
    """Return bounds that include all others."""
    return min(low for low, _ in read), max(high for _, high in read)


def multiply(one: Bounds, other: Bounds) -> Bounds:
    """Return the bounds of a product."""
    corners = [_clip(a * b) for a in one for b in other]
    return min(corners), max(corners)


def add_up(bounds: Bounds, count: float) -> Bounds:
    """Return the bounds of the sum of at most `count` numbers."""
    return multiply((min(bounds[0], 0.0), max(bounds[1], 0.0)), (1.0, count))


def multiply_up(bounds: Bounds, count: float) -> Bounds:
    """Return the bounds of the product of at most `count` numbers."""
    size = max(map(abs, bounds))
    size = size if size <= 1 else _LARGEST if count * math.log10(size) > math.log10(_LARGEST) else size**count
    return (0.0 if bounds[0] >= 0 else -size), size


def _clip(number: float) -> float:
    return max(-_LARGEST, min(_LARGEST, number))


def _add(read: Sequence[Bounds]) -> Bounds:
    return _clip(sum(low for low, _ in read)), _clip(sum(high for _, high in read))


def _subtract(read: Sequence[Bounds]) -> Bounds:
    return _add([read[0], _negate(read[1:])])


def _multiply(read: Sequence[Bounds]) -> Bounds:
    return multiply(*read)


def _negate(read: Sequence[Bounds]) -> Bounds:
    return -read[0][1], -read[0][0]


def _absolute(read: Sequence[Bounds]) -> Bounds:
    low, high = read[0]
    return (0.0 if low < 0 < high else min(abs(low), abs(high))), max(abs(low), abs(high))


def _remainder(read: Sequence[Bounds]) -> Bounds:
    size = max(map(abs, read[1]))
    return (-size if min(read[0][0], read[1][0]) < 0 else 0.0), size


def _clamp(read: Sequence[Bounds]) -> Bounds:
    (low, high), *limits = read
    floor = limits[0][0] if limits else low
    ceiling = limits[1][1] if len(limits) > 1 else high
    return max(low, min(floor, high)), min(max(high, floor), ceiling)


def _power(read: Sequence[Bounds]) -> Bounds:
    """Return the bounds of a power. With an exponent below 1 or of unknown size, large numbers do not stay large."""
    (low, _), (exponent, largest) = read
    if not 1 <= exponent == largest:
        return ORDINARY
    size = multiply_up(read[0], exponent)[1]
    return (0.0 if exponent % 2 == 0 or low >= 0 else -size), size


def _round(read: Sequence[Bounds]) -> Bounds:
    return float(math.floor(read[0][0])), float(math.ceil(read[0][1]))


def _largest(read: Sequence[Bounds]) -> Bounds:
    return max(low for low, _ in read), max(high for _, high in read)


def _least(read: Sequence[Bounds]) -> Bounds:
    return min(low for low, _ in read), min(high for _, high in read)


def _positive(read: Sequence[Bounds]) -> Bounds:
    return max(read[0][0], 0.0), max(read[0][1], 0.0)


def _with_zero(read: Sequence[Bounds]) -> Bounds:
    return min(read[0][0], 0.0), max(read[0][1], 0.0)


def _range(read: Sequence[Bounds]) -> Bounds:
    return span(read[:2])


_WHOLE: dict[str, Callable[[Sequence[Bounds]], Bounds]] = {
    "Abs": _absolute, "Add": _add, "Ceil": _round, "Clip": _clamp, "Floor": _round, "Max": _largest, "Min": _least,
    "Mod": _remainder, "Mul": _multiply, "Neg": _negate, "Pow": _power, "Range": _range, "Relu": _positive,
    "Round": _round, "Sub": _subtract, "Sum": _add,
}  # fmt: skip

KEEPING_WHOLE = frozenset(_WHOLE)
"""The operators of POINTWISE whose results are whole numbers if their inputs are."""

POINTWISE: dict[str, Callable[[Sequence[Bounds]], Bounds]] = {
    **_WHOLE,
    **dict.fromkeys(("Celu", "Elu", "Gelu", "HardSwish", "LeakyRelu", "Mish", "Selu", "Softplus", "Swish",
                     "ThresholdedRelu"), _with_zero),
    "Mean": span, "PRelu": _multiply,
}  # fmt: skip
"""The bounds of the results of operators that compute numbers one by one, by the bounds of their inputs. The numbers of
other such operators do not stay large."""
