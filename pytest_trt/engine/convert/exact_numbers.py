"""Find the nodes that compute with whole numbers, positions and shapes in floating point, and therefore need float32.

A half precision would change their results: 2049 becomes 2048 in float16, and 257 becomes 256 in bfloat16.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Set
from typing import Any

from pytest_trt.engine.convert.number_bounds import CONSTANT, INPUTS, INTEGERS
from pytest_trt.engine.convert.number_flow import NumberFlow, node_key
from pytest_trt.engine.onnx import traverse

_ANGLES = frozenset(("Cos", "Sin", "Tan"))
"""Operators that read angles, of which rounding would lose whole turns."""

_SIZES = {"OneHot": (0, 1), "Range": (0, 1, 2), "Resize": (1, 2), "Upsample": (1,)}
"""The inputs of operators that define a shape, scales or indices."""

_COMPARING = frozenset(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"))

_ORDERING = frozenset(("ArgMax", "ArgMin", "Ceil", "Floor", "Mod", "Round", "TopK"))
"""Operators whose results jump between numbers that lie close together."""

_SELECTING = frozenset(("Hardmax", "NonZero", "Unique"))
"""Such operators, for numbers that are computed from integers and constants."""

_MIXED = frozenset(("Resize",))
"""Operators of _SIZES that also read the network's tensors. They may run in half precision: converters leave their
scales float32."""

_SUMMING = frozenset(("CumSum", "ReduceL1", "ReduceMean", "ReduceProd", "ReduceSum", "ReduceSumSquare", "Sum"))

_BETWEEN = frozenset((
    "Abs", "Add", "Cast", "Clip", "Flatten", "Identity", "Max", "Mul", "Neg", "Pow", "Relu", "Reshape", "Slice",
    "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
))  # fmt: skip
"""Operators between a sum or a mean and its count."""

_MAX_STEPS = 12
"""The largest number of operators between a sum or a mean and its count."""


@dataclasses.dataclass(frozen=True)
class ExactNumbers:
    """Where a model computes with numbers that need float32.

    Attributes:
        nodes: The nodes, by `node_key`.
        borders: The tensors with such numbers that enter or leave a graph inside a node.
    """

    nodes: frozenset[str]
    borders: frozenset[str]


def find_exact_numbers(model: Any, precision: str, exact: Set[str] = frozenset()) -> ExactNumbers:
    """Return the nodes that must compute in float32 because of whole numbers.

    These are:

    - The nodes that read or compute whole numbers that the half precision may not hold, or numbers of such a size that
      are computed from them, until an operator makes these ordinary: a comparison, a division by another such number, a
      function with small results, a layer.
    - The nodes that need an exact number, such as an angle, a size or an index, and all nodes that compute that number
      from integers, constants and the float inputs of the model.
    - Sums and means that are multiplied with or divided by such a number: it is the count of what they add up.

    Args:
        model: The normalised model (rewrite.load_normalised), whose nodes are sorted.
        precision: The half precision.
        exact: The keys of further nodes that need exact numbers.
    """
    flow = NumberFlow(model, precision)
    found, borders = set(flow.nodes), {name for name in flow.links if flow.is_beyond(name)}
    for node in traverse.nodes(model):
        names = _exact_inputs(node, flow)
        if node_key(node) in exact:
            names = _behind_no_layer(node.input, flow)
        if names and node.op_type not in _MIXED:
            found.add(node_key(node))
        _add_makers(names, flow, found, borders)
    for name in flow.counted:
        _add_sums(name, flow, found, _MAX_STEPS)
    return ExactNumbers(frozenset(found), frozenset(borders))


def _exact_inputs(node: Any, flow: NumberFlow) -> list[str]:
    """Return the inputs of a node that it needs exactly, and that come from integers, constants or the model's inputs.

    Only angles are followed through a layer to a float input: other layers are those of the network. What is computed
    from a float input and compared with a small constant, such as 0, is not followed either.
    """
    operator, result = node.op_type, node.output[0] if node.output else ""
    if operator in _SIZES:
        read = [node.input[index] for index in _SIZES[operator] if index < len(node.input)]
    elif operator in _ANGLES or (operator == "Cast" and flow.tensors.is_integer(result)):
        read = node.input[:1]
    elif operator in _COMPARING or operator in _ORDERING:
        read = node.input
    elif operator in _SELECTING:
        return [name for name in node.input if _comes_from(name, flow, INTEGERS)]
    else:
        return []
    if operator in _COMPARING and any(flow.is_small_constant(name) for name in read):
        read = [name for name in read if name not in flow.makers or flow.numbers_of(name).source < INPUTS]
    is_angle = operator in _ANGLES
    return [name for name in read if _comes_from(name, flow, INPUTS)] if is_angle else _behind_no_layer(read, flow)


def _behind_no_layer(names: Iterable[str], flow: NumberFlow) -> list[str]:
    """Return the tensors that come from integers and constants, or from a float input and through no layer."""
    found = [name for name in names if _comes_from(name, flow, INPUTS)]
    return [name for name in found if flow.numbers_of(name).source < INPUTS or not flow.numbers_of(name).layers]


def _comes_from(name: str, flow: NumberFlow, source: int) -> bool:
    """Return whether a float tensor is computed from the source or those before it, and is no weight."""
    if not name or not flow.tensors.is_float(name):
        return False
    numbers = flow.numbers_of(name)
    return numbers.source <= source and (numbers.source > CONSTANT or name in flow.makers)


def _add_makers(names: Iterable[str], flow: NumberFlow, found: set[str], borders: set[str]) -> None:
    """Add the nodes that compute tensors from integers, constants and the float inputs of the model."""
    waiting, seen = list(names), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or not _comes_from(name, flow, INPUTS):
            continue
        seen.add(name)
        if name in flow.links:
            borders.add(name)
            waiting += flow.links[name]
        if (maker := flow.makers.get(name)) is not None and name not in flow.links:
            found.add(node_key(maker))
            waiting += maker.input


def _add_sums(name: str, flow: NumberFlow, found: set[str], steps: int) -> bool:
    """Add the sum that a tensor is computed from, and the nodes between them. Return whether there is a sum."""
    maker = flow.makers.get(name)
    if maker is None or not steps or maker.op_type not in _BETWEEN | _SUMMING:
        return False
    is_sum = maker.op_type in _SUMMING
    for source in () if is_sum else maker.input:
        is_sum = _add_sums(source, flow, found, steps - 1) or is_sum
    if is_sum:
        found.add(node_key(maker))
    return is_sum
