"""Find arithmetic on shapes, positions and other integers that a model does in floating point.

A half precision would change its results: 2049 becomes 2048 in float16, and 257 becomes 256 in bfloat16.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

_INTEGER_TYPES = frozenset(("BOOL", *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))))

_ARITHMETIC = frozenset((
    "Abs", "Add", "Cast", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "Cos", "CumSum", "Div", "Exp",
    "Expand", "Flatten", "Floor", "Gather", "Identity", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Pow", "Range",
    "Reciprocal", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "ScatterND", "Sign", "Sin",
    "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where",
))  # fmt: skip
"""The operators of such arithmetic. Layers are not among them: what a layer computes from integers, such as tokens, is
the network itself."""

_EXACT_INPUTS = {"Cast": (0,), "Cos": (0,), "OneHot": (1,), "Range": (0, 1, 2), "Resize": (1, 2), "Sin": (0,),
                 "Upsample": (1,)}  # fmt: skip
"""The inputs of operators that need the exact number: a Cast to integers, inputs that define a shape or scales, and
angles, of which rounding would lose whole turns."""

_COMPARING = frozenset(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"))
"""Operators that compare such numbers, for example positions with lengths, if all their inputs are such numbers."""

_MIXED = frozenset(("OneHot", "Resize"))
"""Operators of _EXACT_INPUTS that also read the network's tensors. They may run in half precision: converters leave
their scales float32."""


def find_shape_arithmetic(graph: Any, types: Mapping[str, str], stored: Set[str], exact: Set[int]) -> set[int]:
    """Return the positions of the nodes that must compute in float32 because they compute with shapes or positions.

    These are the nodes that need an exact number, and all nodes that compute that number from integers and constants.

    Args:
        graph: The graph, whose nodes are sorted.
        types: The types of the model's tensors (traverse.tensor_types).
        stored: The names of the model's weights.
        exact: The positions of further nodes that need exact numbers. For these, the graph's float inputs count as
            exact numbers too.
    """
    from_integers = _makers(graph, types, stored)
    from_inputs = _makers(graph, types, stored | {value.name for value in graph.input})
    found = set[int]()
    for position, node in enumerate(graph.node):
        makers = from_inputs if position in exact else from_integers
        floats = [name for name in node.input if types.get(name) == "FLOAT"]
        if node.op_type == "Cast" and types.get(node.output[0]) not in _INTEGER_TYPES:
            floats = []
        elif node.op_type in _EXACT_INPUTS:
            floats = [node.input[index] for index in _EXACT_INPUTS[node.op_type] if index < len(node.input)]
        elif position not in exact and not (node.op_type in _COMPARING and makers.keys() >= set(floats)):
            floats = []
        waiting = [makers[name] for name in floats if name in makers]
        waiting += [position] if waiting and node.op_type not in _MIXED else []
        while waiting:
            if (maker := waiting.pop()) not in found:
                found.add(maker)
                waiting += [makers[name] for name in graph.node[maker].input if name in makers]
    return found


def _makers(graph: Any, types: Mapping[str, str], constant: Set[str]) -> dict[str, int]:
    """Return the float32 tensors that are computed from integers and constants alone.

    Args:
        graph: The graph, whose nodes are sorted.
        types: The types of the model's tensors.
        constant: The names of the tensors that count as constants.

    Returns:
        The position of the node that computes each tensor, by the tensor's name.
    """
    makers = dict[str, int]()
    for position, node in enumerate(graph.node):
        read = set(filter(None, node.input))
        known = all(name in constant or name in makers or types.get(name) in _INTEGER_TYPES for name in read)
        if known and (_is_outer_product(node, graph) if node.op_type == "MatMul" else node.op_type in _ARITHMETIC):
            is_table = node.op_type == "Gather" and types.get(node.input[0]) == "FLOAT" and node.input[0] in constant
            makers.update({name: position for name in node.output if types.get(name) == "FLOAT" and not is_table})
    return makers


def _is_outer_product(node: Any, graph: Any) -> bool:
    """Return whether a MatMul adds nothing up.

    Rotary encodings multiply positions with frequencies in this way; a layer does not.
    """
    name = node.input[0]
    declared = [list(tensor.dims) for tensor in graph.initializer if tensor.name == name]
    declared += [[dim.dim_value for dim in value.type.tensor_type.shape.dim]
                 for value in (*graph.value_info, *graph.input) if value.name == name]  # fmt: skip
    return any(dims[-1:] == [1] for dims in declared)
