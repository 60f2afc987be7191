"""Dimension names that are arithmetic expressions, such as `2*N` and `past_length + 1`, as exporters write them.

The size of such a dimension follows from the sizes of the dimensions that the expression names.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import math
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Set
from fractions import Fraction

Interval = tuple[Fraction, Fraction]
"""The least and the greatest value of an expression."""

_MAX_LENGTH = 200
"""The longest name that is parsed. It bounds the time and the depth of parsing an untrusted model."""

_MAX_EXPONENT = 8

_MAX_VALUE = 2**63

_ZERO: Interval = (Fraction(0), Fraction(0))


class UnknownSizeError(Exception):
    """The size of an expression does not follow from the sizes of other dimensions.

    Args:
        reason: Why it does not.
        unknown: The names in the expression that have no size.
    """

    def __init__(self, reason: str, unknown: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.unknown = unknown


@dataclasses.dataclass(frozen=True)
class DimExpression:
    """The name of a dimension that is an arithmetic expression.

    Attributes:
        name: The name, as the model has it.
        tree: The parsed expression.
        variables: The names of the dimensions that it contains, in the order of their first appearance.
    """

    name: str
    tree: ast.expr
    variables: tuple[str, ...]

    def size(self, sizes: Mapping[str, int]) -> int:
        """Return the size of the dimension for the sizes of its variables.

        Raises:
            UnknownSizeError: A variable has no size, an operator is not supported, or the result is not a size.
        """
        value, _ = self._interval({name: (Fraction(size),) * 2 for name, size in sizes.items()})
        given = ", ".join(f"{name}={sizes[name]}" for name in self.variables)
        if value.denominator != 1 or value < 0:
            raise UnknownSizeError(f"{self.name} is {float(value):g} for {given}, which is not a size")
        return int(value)

    def limits(self, ranges: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
        """Return the least and the greatest size of the dimension for the ranges of its variables.

        If a variable appears more than once, the limits may be wider than necessary.

        Raises:
            UnknownSizeError: As `size`.
        """
        low, high = self._interval({n: (Fraction(low), Fraction(high)) for n, (low, high) in ranges.items()})
        return max(0, math.ceil(low)), max(0, math.floor(high))

    def _interval(self, values: Mapping[str, Interval]) -> Interval:
        unknown = tuple(name for name in self.variables if name not in values)
        if unknown:
            raise UnknownSizeError(f"the size of {' and of '.join(map(repr, unknown))} is not known", unknown)
        return _evaluate(self.tree, values)


def parse_dim_name(name: str | None, known: Set[str]) -> DimExpression | None:
    """Return the expression that a dimension's name is. Return None if it is a plain name.

    A name that consists of words with `-` and `/` between them, such as `batch-size`, is a plain name, unless one of
    the words is the name of a dimension.

    Args:
        name: The name of the dimension, or None for a dimension without a name.
        known: The names of the model's dimensions, and those that the user declares.
    """
    if name is None or len(name) > _MAX_LENGTH or name.isidentifier():
        return None
    text = name.strip()
    factor = re.fullmatch(r"(\d+)\s*([A-Za-z_]\w*)", text)
    if factor and factor[2] in known:
        text = f"{factor[1]}*{factor[2]}"
    try:
        with warnings.catch_warnings():  # Python warns about parts of some names, such as an escape in a string.
            warnings.simplefilter("ignore")
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    variables = tuple(dict.fromkeys(_variables(tree)))
    if not isinstance(tree, (ast.BinOp, ast.UnaryOp, ast.Call, ast.Name)) or not variables:
        return None
    if _joins_words(tree) and known.isdisjoint(variables):
        return None
    return DimExpression(name, tree, variables)


def _variables(tree: ast.expr) -> Iterator[str]:
    functions = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return (node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node not in functions)


def _joins_words(tree: ast.expr) -> bool:
    """Return whether an expression consists of names with `-` or `/` between them."""
    if isinstance(tree, ast.BinOp):
        return isinstance(tree.op, (ast.Sub, ast.Div)) and _joins_words(tree.left) and _joins_words(tree.right)
    return isinstance(tree, ast.Name)


def _evaluate(tree: ast.expr, values: Mapping[str, Interval]) -> Interval:
    """Return the interval of an expression, by interval arithmetic."""
    result = None
    if isinstance(tree, ast.Name):
        result = values.get(tree.id)
    elif isinstance(tree, ast.Constant) and isinstance(tree.value, (int, float)) and abs(tree.value) < _MAX_VALUE:
        result = (Fraction(str(tree.value * 1)),) * 2
    elif isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        result = _subtract(_ZERO, _evaluate(tree.operand, values))
    elif isinstance(tree, ast.BinOp) and type(tree.op) in _OPERATORS:
        result = _OPERATORS[type(tree.op)](_evaluate(tree.left, values), _evaluate(tree.right, values))
    elif isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id in _FUNCTIONS:
        arguments = [_evaluate(argument, values) for argument in tree.args]
        function, least, most = _FUNCTIONS[tree.func.id]
        if least <= len(arguments) <= most and not tree.keywords:
            result = function(*arguments)
    if result is None:
        raise UnknownSizeError(f"{ast.unparse(tree)} cannot be evaluated")
    if any(max(abs(value.numerator), value.denominator) > _MAX_VALUE for value in result):
        raise UnknownSizeError(f"{ast.unparse(tree)} is too large")
    return result


def _corners(function: Callable[[Fraction, Fraction], Fraction], a: Interval, b: Interval) -> Interval:
    """Return the interval of a function that is monotonic in each argument."""
    values = [function(x, y) for x in a for y in b]
    return min(values), max(values)


def _add(a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def _subtract(a: Interval, b: Interval) -> Interval:
    return a[0] - b[1], a[1] - b[0]


def _multiply(a: Interval, b: Interval) -> Interval:
    return _corners(operator.mul, a, b)


def _divide(a: Interval, b: Interval) -> Interval:
    if b[0] <= 0 <= b[1]:
        raise UnknownSizeError("a divisor may be zero")
    return _corners(operator.truediv, a, b)


def _floor(a: Interval) -> Interval:
    return Fraction(math.floor(a[0])), Fraction(math.floor(a[1]))


def _ceil(a: Interval) -> Interval:
    return Fraction(math.ceil(a[0])), Fraction(math.ceil(a[1]))


def _floor_divide(a: Interval, b: Interval) -> Interval:
    return _floor(_divide(a, b))


def _power(a: Interval, b: Interval) -> Interval:
    if b[0] != b[1] or b[0] not in range(_MAX_EXPONENT + 1):
        raise UnknownSizeError(f"an exponent is not a number from 0 to {_MAX_EXPONENT}")
    return functools.reduce(_multiply, [a] * int(b[0]), (Fraction(1), Fraction(1)))


def _max(*arguments: Interval) -> Interval:
    return max(low for low, _ in arguments), max(high for _, high in arguments)


def _min(*arguments: Interval) -> Interval:
    return min(low for low, _ in arguments), min(high for _, high in arguments)


_OPERATORS: Mapping[type[ast.operator], Callable[[Interval, Interval], Interval]] = {
    ast.Add: _add, ast.Sub: _subtract, ast.Mult: _multiply, ast.Div: _divide, ast.FloorDiv: _floor_divide,
    ast.Pow: _power,
}  # fmt: skip

_FUNCTIONS: Mapping[str, tuple[Callable[..., Interval], int, int]] = {
    "floor": (_floor, 1, 1), "ceil": (_ceil, 1, 1), "ceiling": (_ceil, 1, 1), "FloorDiv": (_floor_divide, 2, 2),
    **dict.fromkeys(("max", "Max"), (_max, 1, 100)), **dict.fromkeys(("min", "Min"), (_min, 1, 100)),
}  # fmt: skip
"""The functions that torch.export and SymPy write, each with the least and the greatest number of its arguments."""
