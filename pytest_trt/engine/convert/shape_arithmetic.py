"""Arithmetic on shapes, positions and other integers that a model does in floating point. In a half precision it
gives another shape or position: 2049 is 2048 in float16, and in bfloat16 257 is 256."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

_INTEGERS = frozenset(("BOOL", *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))))

_ARITHMETIC = frozenset((
    "Abs", "Add", "Cast", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "Cos", "CumSum", "Div", "Exp",
    "Expand", "Flatten", "Floor", "Gather", "Identity", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Pow", "Range",
    "Reciprocal", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "ScatterND", "Sign", "Sin",
    "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where",
))  # fmt: skip
"""What such arithmetic is made of. Layers are not: what they compute from integers, from tokens say, is the network."""

_PARTICULAR = {"Cast": (0,), "Cos": (0,), "OneHot": (1,), "Range": (0, 1, 2), "Resize": (1, 2), "Sin": (0,),
               "Upsample": (1,)}  # fmt: skip
"""Operators that take such a number as what it is, and at which inputs: a Cast to integers, what a shape or scales
come from, an angle, of which whole turns would be lost."""

_COMPARING = frozenset(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"))
"""Operators that compare such numbers, positions with lengths say, where all that they read is such."""

_MIXED = frozenset(("OneHot", "Resize"))
"""Of the first ones, those whose other inputs are the network's: converters leave these scales float32."""


def find_shape_arithmetic(graph: Any, kinds: Mapping[str, str], stored: Set[str], exact: Set[int]) -> set[int]:
    """Where in a graph, which is sorted, nodes stand that compute such numbers in float32, and those that take them:
    everything from integers and constants to an operator that a rounding would lead astray. `exact` are more of that
    kind, and to these the graph's float inputs, too, come as they are. `kinds` and `stored` are the types of all the
    model's tensors and its weights."""
    of_integers = _makers(graph, kinds, stored)
    of_inputs = _makers(graph, kinds, stored | {value.name for value in graph.input})
    found = set[int]()
    for place, node in enumerate(graph.node):
        makers = of_inputs if place in exact else of_integers
        floats = [name for name in node.input if kinds.get(name) == "FLOAT"]
        if node.op_type == "Cast" and kinds.get(node.output[0]) not in _INTEGERS:
            floats = []
        elif node.op_type in _PARTICULAR:
            floats = [node.input[which] for which in _PARTICULAR[node.op_type] if which < len(node.input)]
        elif place not in exact and not (node.op_type in _COMPARING and makers.keys() >= set(floats)):
            floats = []
        waiting = [makers[name] for name in floats if name in makers]
        waiting += [place] if waiting and node.op_type not in _MIXED else []
        while waiting:
            if (maker := waiting.pop()) not in found:
                found.add(maker)
                waiting += [makers[name] for name in graph.node[maker].input if name in makers]
    return found


def _makers(graph: Any, kinds: Mapping[str, str], given: Set[str]) -> dict[str, int]:
    """By name, the float32 tensors that such arithmetic makes from integers and what is `given` alone, and by which
    node."""
    makers = dict[str, int]()
    for place, node in enumerate(graph.node):
        read = set(filter(None, node.input))
        known = all(name in given or name in makers or kinds.get(name) in _INTEGERS for name in read)
        if known and (_is_outer(node, graph) if node.op_type == "MatMul" else node.op_type in _ARITHMETIC):
            table = node.op_type == "Gather" and kinds.get(node.input[0]) == "FLOAT" and node.input[0] in given
            makers.update({name: place for name in node.output if kinds.get(name) == "FLOAT" and not table})
    return makers


def _is_outer(node: Any, graph: Any) -> bool:
    """Whether a MatMul sums nothing up: positions times frequencies, as rotary encodings have it, and no layer."""
    name = node.input[0]
    told = [list(tensor.dims) for tensor in graph.initializer if tensor.name == name]
    told += [[dim.dim_value for dim in value.type.tensor_type.shape.dim]
             for value in (*graph.value_info, *graph.input) if value.name == name]  # fmt: skip
    return any(dims[-1:] == [1] for dims in told)
