"""Models that carry whole numbers in floats, which a half precision would round."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL

node = helper.make_node

RATES = (10000.0 ** (-np.arange(8) / 8)).astype(np.float32)
"""The frequencies of a rotary encoding."""

POSITIONS = np.arange(3000, 3006)
IDS = np.array([49406, 320, 49407, 49407, 2049, 2048])
LONG = np.ones((1, 3001), bool)
IMAGE = np.random.default_rng(1).standard_normal((1, 3, 300, 300)).astype(np.float32)
SCORES = np.random.default_rng(3).standard_normal((6, 6)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A model from its inputs to `y`.

    Attributes:
        nodes: Its nodes.
        inputs: By name, the array to run it on, and the declared shape.
        constants: Its weights, by name.
    """

    nodes: Sequence[Any]
    inputs: dict[str, tuple[Any, Sequence[Any]]]
    constants: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def feed(self) -> dict[str, Any]:
        """The inputs of the model, with those of the layer beside it."""
        beside = np.random.default_rng(5).standard_normal((2, 8)).astype(np.float32)
        return {**{name: array for name, (array, _) in self.inputs.items()}, "beside": beside}

    def model(self, opset: int = 17) -> onnx.ModelProto:
        """Return the model with a layer beside it, which becomes half precision in any case."""
        inputs = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape)
            for name, (array, shape) in self.inputs.items()
        ]
        inputs.append(helper.make_tensor_value_info("beside", FLOAT, [2, 8]))
        outputs = [helper.make_tensor_value_info(name, FLOAT, None) for name in ("y", "z")]
        constants = {"layer": np.random.default_rng(6).standard_normal((8, 8)).astype(np.float32) / 3, **self.constants}
        weights = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
        nodes = [*self.nodes, node("MatMul", ["beside", "layer"], ["z"])]
        graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def number(value: float) -> Any:
    return np.float32(value)


IS_FLOAT = node("Cast", ["p"], ["f"], to=FLOAT)
PROJECTED = node("MatMul", ["e", "layer"], ["y"])
AT_POSITIONS = {"p": (POSITIONS, ["S"])}


def angles(*nodes: Any, inputs: Any = None, function: str = "Cos", **constants: Any) -> Kind:
    """Return a model that projects the sines or cosines of the angles `a`."""
    return Kind(
        [*nodes, node(function, ["a"], ["e"]), PROJECTED], inputs or AT_POSITIONS, {"rates": RATES, **constants}
    )


def _expanded() -> Kind:
    shape = [node("Shape", ["p"], ["s"]), node("Slice", ["s", "zero", "one"], ["b"]),
             node("Concat", ["b", "rest"], ["t"], axis=0), node("Mul", ["t", "ones"], ["u"])]  # fmt: skip
    product = [node("Expand", ["column", "u"], ["r"]), node("Unsqueeze", ["p", "one"], ["q"]),
               node("Cast", ["q"], ["f"], to=FLOAT), node("MatMul", ["r", "f"], ["m"]),
               node("Transpose", ["m"], ["a"], perm=[0, 2, 1])]  # fmt: skip
    constants = {"zero": [0], "one": [1], "rest": [8, 1], "ones": [1, 1, 1], "column": RATES.reshape(1, 8, 1)}
    return angles(*shape, *product, inputs={"p": (POSITIONS[None], ["B", 6])}, **constants)


def _table() -> Kind:
    table = np.arange(5000, dtype=np.float32)
    return Kind([node("Gather", ["table", "p"], ["g"]), node("Sub", ["g", "start"], ["y"])], AT_POSITIONS,
                {"table": table, "start": number(3000)})  # fmt: skip


COLUMN = node("Unsqueeze", ["f", "one"], ["c"])

POSITION_KINDS = {
    "expanded": _expanded(),
    "einsum": angles(IS_FLOAT, node("Einsum", ["f", "rates"], ["a"], equation="i,j->ij")),
    "gemm": angles(IS_FLOAT, COLUMN, node("Gemm", ["c", "row"], ["a"]), one=[1], row=RATES[None]),
    "gemm of several": angles(IS_FLOAT, node("Gemm", ["f", "rows"], ["a"]), function="Sin",
                              inputs={"p": (np.arange(3000, 3018).reshape(6, 3), ["S", 3])},
                              rows=np.array([RATES] * 3)),
    "matmul": angles(IS_FLOAT, COLUMN, node("MatMul", ["c", "row"], ["a"]), one=[1], row=RATES[None]),
    "a float step": angles(node("Unsqueeze", ["p", "one"], ["c"]), node("Mul", ["c", "rates"], ["a"]), one=[1],
                           inputs={"p": (np.array([2999, 999, 501.5], np.float32), ["B"])}),
    "one float step": angles(node("Mul", ["p", "rates"], ["a"]), inputs={"p": (np.array(2999.5, np.float32), [])}),
    "a column of float steps": angles(node("MatMul", ["p", "row"], ["a"]), row=RATES[None],
                                      inputs={"p": (np.array([[2999.5]], np.float32), ["B", 1])}),
    "an expanded float step": angles(node("Expand", ["p", "three"], ["f"]), COLUMN, node("Mul", ["c", "rates"], ["a"]),
                                     inputs={"p": (np.array([2999.5], np.float32), [1])}, one=[1], three=[3]),
    "linear bias": Kind([IS_FLOAT, node("Mul", ["f", "slope"], ["m"]), node("Add", ["x", "m"], ["s"]),
                         node("Softmax", ["s"], ["y"])],
                        {**AT_POSITIONS, "x": (SCORES, ["S", "S"])}, {"slope": number(0.5)}),
    "linear bias by an outer product": Kind(
        [IS_FLOAT, node("Einsum", ["slopes", "f"], ["m"], equation="h,s->hs"), node("Add", ["x", "m"], ["s"]),
         node("Softmax", ["s"], ["y"])],
        {**AT_POSITIONS, "x": (SCORES, [6, "S"])}, {"slopes": np.linspace(0.25, 1, 6, dtype=np.float32)}),
    "differences": Kind([IS_FLOAT, COLUMN, node("Sub", ["c", "f"], ["d"]), node("Mul", ["d", "x"], ["y"])],
                        {**AT_POSITIONS, "x": (SCORES, ["S", "S"])}, {"one": [1]}),
    "buckets": Kind([IS_FLOAT, node("Div", ["f", "sixteen"], ["d"]), node("Log", ["d"], ["l"]),
                     node("Mul", ["l", "eight"], ["b"]), node("Cast", ["b"], ["i"], to=INT64),
                     node("Gather", ["table", "i"], ["e"]), PROJECTED],
                    {"p": (np.arange(3000, 3300), ["S"])},
                    {"sixteen": number(16), "eight": number(7.7),
                     "table": np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)}),
    "a table": _table(),
    "one of many": Kind([IS_FLOAT, node("OneHot", ["f", "depth", "values"], ["o"]), node("MatMul", ["o", "t"], ["y"])],
                        AT_POSITIONS, {"depth": 4000, "values": np.array([0, 1], np.float32),
                                       "t": np.random.default_rng(0).standard_normal((4000, 4)).astype(np.float32)}),
    "a grid": Kind([node("Shape", ["x"], ["s"]), node("Gather", ["s", "zero"], ["n"]),
                    node("Range", ["zero", "n", "one"], ["r"]), node("Cast", ["r"], ["f"], to=FLOAT),
                    node("Sigmoid", ["x"], ["g"]), node("Add", ["g", "f"], ["a"]), node("Mul", ["a", "eight"], ["b"]),
                    node("Sub", ["b", "far"], ["y"])],
                   {"x": (np.linspace(-3, 3, 500, dtype=np.float32), ["S"])},
                   {"zero": 0, "one": 1, "eight": number(8), "far": number(3900)}),
}  # fmt: skip
"""Positions, steps and grids."""


def compared(operator: str, inputs: Any = None, cast: bool = True) -> Kind:
    """Return a model that adds 1 where an id compares so with 49407."""
    nodes = [IS_FLOAT] if cast else [node("Identity", ["p"], ["f"])]
    nodes += [node(operator, ["f", "end"], ["e"]), node("Cast", ["e"], ["c"], to=FLOAT), node("Add", ["c", "c"], ["y"])]
    return Kind(nodes, inputs or {"p": (IDS, ["S"])}, {"end": number(49407)})


def chosen(*nodes: Any) -> Kind:
    """Return a model that reads the row `i` of `x`."""
    inputs = {"p": (IDS, [6]), "x": (np.arange(48, dtype=np.float32).reshape(6, 8), [6, 8])}
    return Kind([IS_FLOAT, *nodes, node("Gather", ["x", "i"], ["e"]), PROJECTED], inputs, {"k": [3]})


COMPARISON_KINDS = {
    **{operator: compared(operator) for operator in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual")},
    "float ids": compared("Equal", {"p": (IDS.astype(np.float32), ["S"])}, cast=False),
    "float ids in rows": compared("Less", {"p": (IDS.astype(np.float32).reshape(2, 3), [2, 3])}, cast=False),
    "ArgMax": chosen(node("ArgMax", ["f"], ["i"], keepdims=0)),
    "ArgMin": chosen(node("Neg", ["f"], ["g"]), node("ArgMin", ["g"], ["i"], keepdims=0)),
    "TopK": chosen(node("TopK", ["f", "k"], ["v", "i"])),
    "values of a TopK": Kind([IS_FLOAT, node("TopK", ["f", "k"], ["v", "i"]), node("Sub", ["v", "end"], ["y"])],
                             {"p": (IDS, ["S"])}, {"k": [3], "end": number(49407)}),
    "NonZero": Kind([IS_FLOAT, node("Sub", ["f", "end"], ["d"]), node("NonZero", ["d"], ["i"]),
                     node("Cast", ["i"], ["c"], to=FLOAT), node("Add", ["c", "c"], ["y"])],
                    {"p": (IDS, ["S"])}, {"end": number(49407)}),
    "Where": Kind([node("Where", ["p", "end", "other"], ["w"]), node("Equal", ["w", "end"], ["e"]),
                   node("Cast", ["e"], ["c"], to=FLOAT), node("Add", ["c", "c"], ["y"])],
                  {"p": (np.array([True, False]), ["S"])}, {"end": number(49407), "other": number(49406)}),
    "Mod": Kind([IS_FLOAT, node("Mod", ["f", "seven"], ["m"], fmod=1), node("Add", ["m", "m"], ["y"])],
                AT_POSITIONS, {"seven": number(7)}),
    "Floor": Kind([IS_FLOAT, node("Div", ["f", "seven"], ["d"]), node("Floor", ["d"], ["w"]),
                   node("Sub", ["d", "w"], ["r"]), node("Add", ["r", "r"], ["y"])], AT_POSITIONS, {"seven": number(7)}),
    "Round": Kind([IS_FLOAT, node("Mul", ["f", "tenth"], ["d"]), node("Round", ["d"], ["y"])], AT_POSITIONS,
                  {"tenth": number(0.1)}),
}  # fmt: skip
"""Numbers that are compared, ordered or divided with a remainder."""

HAS_COUNT = [node("Shape", ["x"], ["s"]), node("Gather", ["s", "axes"], ["d"]),
             node("ReduceProd", ["d"], ["n"], keepdims=0), node("Cast", ["n"], ["f"], to=FLOAT)]  # fmt: skip
HAS_VARIANCE = [node("Mul", ["x", "x"], ["q"]), node("ReduceMean", ["q"], ["v"], axes=[2, 3])]
UNBIASED = [node("Mul", ["v", "f"], ["a"]), node("Sub", ["f", "one"], ["b"]), node("Div", ["a", "b"], ["y"])]


def counted(*nodes: Any, dims: Sequence[Any] = ("N", 3, "H", "W")) -> Kind:
    """Return a model of an image."""
    constants = {"axes": [2, 3], "one": number(1), "three": number(3), "two": 2, "last": 3}
    return Kind(nodes, {"x": (IMAGE, dims)}, constants)


def summed(*nodes: Any) -> Kind:
    """Return a model with the sum of the squares `t` and the count `f`."""
    return counted(*HAS_COUNT, node("Mul", ["x", "x"], ["q"]), node("ReduceSum", ["q", "axes"], ["t"]), *nodes)


def growing(*nodes: Any, **constants: Any) -> Kind:
    """Return a model of a mask of 3001 ones."""
    return Kind(nodes, {"m": (LONG, ["B", "S"])}, {"axis": 1, "end": number(3000), **constants})


MASK_IS_FLOAT = node("Cast", ["m"], ["f"], to=FLOAT)

COUNT_KINDS = {
    "the product of a shape": counted(*HAS_COUNT, *HAS_VARIANCE, *UNBIASED),
    "the product of a static shape": counted(*HAS_COUNT, *HAS_VARIANCE, *UNBIASED, dims=IMAGE.shape),
    "a size": counted(*HAS_VARIANCE, node("Size", ["x"], ["s"]), node("Cast", ["s"], ["c"], to=FLOAT),
                      node("Div", ["c", "three"], ["f"]), *UNBIASED),
    "a float product": counted(*HAS_VARIANCE, node("Shape", ["x"], ["s"]), node("Cast", ["s"], ["d"], to=FLOAT),
                               node("Gather", ["d", "two"], ["h"]), node("Gather", ["d", "last"], ["w"]),
                               node("Mul", ["h", "w"], ["f"]), *UNBIASED),
    "a sum by its count": summed(node("Div", ["t", "f"], ["y"])),
    "a sum times a reciprocal": summed(node("Reciprocal", ["f"], ["r"]), node("Mul", ["t", "r"], ["y"])),
    "a sum times a quotient": summed(node("Div", ["one", "f"], ["r"]), node("Mul", ["r", "t"], ["y"])),
    "the root of a sum": summed(node("Sqrt", ["t"], ["u"]), node("Sqrt", ["f"], ["w"]), node("Div", ["u", "w"], ["y"])),
    "a ratio of counts": counted(*HAS_COUNT, node("Sub", ["f", "one"], ["g"]), node("Div", ["f", "g"], ["r"]),
                                 node("ReduceMean", ["x"], ["p"], axes=[1]), node("Mul", ["p", "r"], ["y"])),
    "an integer input": Kind([node("Cast", ["n"], ["f"], to=FLOAT), *UNBIASED],
                             {"v": (np.ones(4, np.float32), [4]), "n": (np.array([90000]), [1])}, {"one": number(1)}),
    "a float input": Kind(UNBIASED, {"v": (np.ones(4, np.float32), [4]), "f": (number(90000), [])}, {"one": number(1)}),
    "a running sum": growing(MASK_IS_FLOAT, node("CumSum", ["f", "axis"], ["c"]), node("Sub", ["c", "end"], ["y"])),
    "angles of a running sum": growing(MASK_IS_FLOAT, node("CumSum", ["f", "axis"], ["c"]),
                                       node("Mul", ["c", "rate"], ["a"]), node("Sin", ["a"], ["y"]), rate=number(0.7)),
    "a sum of booleans": growing(MASK_IS_FLOAT, node("ReduceSum", ["f"], ["c"]), node("Sub", ["c", "end"], ["y"])),
    "a sum by a matrix": growing(MASK_IS_FLOAT, node("MatMul", ["f", "ones"], ["c"]), node("Sub", ["c", "end"], ["y"]),
                                 ones=np.ones((3001, 2), np.float32)),
    "indices": growing(node("NonZero", ["m"], ["i"]), node("Cast", ["i"], ["f"], to=FLOAT),
                       node("Sub", ["f", "end"], ["y"])),
    "a float range": growing(node("Shape", ["m"], ["s"]), node("Gather", ["s", "axis"], ["n"]),
                             node("Cast", ["n"], ["f"], to=FLOAT), node("Range", ["zero", "f", "one"], ["r"]),
                             node("Sub", ["r", "end"], ["y"]), zero=number(0), one=number(1)),
    "a range of constants": Kind([node("Range", ["zero", "end", "one"], ["r"]), node("Sub", ["r", "end"], ["d"]),
                                  node("Add", ["d", "x"], ["y"])], {"x": (np.zeros(3001, np.float32), [3001])},
                                 {"zero": number(0), "one": number(1), "end": number(3001)}),
    "time in hours": Kind([IS_FLOAT, node("Mul", ["f", "hour"], ["h"]), node("Sub", ["h", "start"], ["y"])],
                          {"p": (np.array([1000000, 1000100, 1000333]), ["S"])},
                          {"hour": number(1 / 3600), "start": number(1e6 / 3600)}),
}  # fmt: skip
"""Counts among activations."""


def value(name: str, *shape: Any, kind: int = FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def branch(output: str, *nodes: Any) -> Any:
    return helper.make_graph(nodes, output, [], [value(output, "S")])


def _chosen() -> Kind:
    one = branch("a", node("Mul", ["f", "two"], ["a"]))
    two = branch("b", node("Identity", ["f"], ["b"]))
    nodes = [IS_FLOAT, node("If", ["c"], ["q"], then_branch=one, else_branch=two), node("Sub", ["q", "start"], ["y"])]
    return Kind(nodes, {**AT_POSITIONS, "c": (np.array(False), [])}, {"two": number(2), "start": number(3000)})


def _looped(*shape: Any) -> Any:
    """Return a Loop that adds 1 to `f` in every turn."""
    inputs = [value("turn", kind=INT64), value("going", kind=BOOL), value("state", *shape)]
    nodes = [node("Identity", ["going"], ["more"]), node("Add", ["state", "one"], ["next"])]
    body = helper.make_graph(nodes, "body", inputs, [value("more", kind=BOOL), value("next", *shape)])
    return node("Loop", ["turns", "true", "f"], ["n"], body=body)


def _counting() -> Kind:
    nodes = [node("Identity", ["zero"], ["f"]), _looped(), node("Sub", ["n", "start"], ["d"]),
             node("Add", ["d", "x"], ["y"])]  # fmt: skip
    constants = {"zero": number(0), "one": number(1), "turns": 3001, "true": True, "start": number(3000)}
    return Kind(nodes, {"x": (np.ones(4, np.float32), [4])}, constants)


def _moved() -> Kind:
    nodes = [IS_FLOAT, _looped("S"), node("Mul", ["n", "rate"], ["a"]), node("Cos", ["a"], ["y"])]
    return Kind(nodes, AT_POSITIONS, {"one": number(1), "turns": 3, "true": True, "rate": number(0.7)})


CONTROL_KINDS = {"a branch": _chosen(), "a loop that counts": _counting(), "positions in a loop": _moved()}
"""Whole numbers that enter and leave graphs inside nodes."""

KINDS = {**POSITION_KINDS, **COMPARISON_KINDS, **COUNT_KINDS, **CONTROL_KINDS}
