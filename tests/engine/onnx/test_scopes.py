"""Test conversions of models with graphs inside graphs, and with one name in several of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from samples.conversions import infer_exactly

from pytest_trt.engine.convert import int8
from pytest_trt.engine.convert.half import convert
from pytest_trt.engine.model.model import read_model

node = helper.make_node
BOTH = pytest.mark.parametrize("half", ["fp16", "bf16"])
ROUNDING = {"fp16": 0.01, "bf16": 0.08}
"""The largest error of a few operators in each precision."""


def value(name: str, *shape: Any, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def stored(name: str, values: Any, kind: Any = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.array(values, kind), name)


def matrix(name: str, seed: int) -> TensorProto:
    return stored(name, np.random.default_rng(seed).standard_normal((4, 4)) / 2)


def graph(output: str, nodes: list[Any], weights: list[Any] | None = None) -> onnx.GraphProto:
    return helper.make_graph(nodes, output, [], [value(output, 2, 4)], weights)


def saved(folder: Path, nodes: list[Any], weights: list[Any] | None = None, opset: int = 17) -> Path:
    """Save a model from `c` (bool) and `x` (2, 4) to `y` (2, 4)."""
    inputs = [value("c", kind=TensorProto.BOOL), value("x", 2, 4)]
    made = helper.make_graph(nodes, "g", inputs, [value("y", 2, 4)], weights or [])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), folder / "m.onnx")
    return folder / "m.onnx"


def chosen(output: str, one: onnx.GraphProto, two: onnx.GraphProto) -> onnx.NodeProto:
    return node("If", ["c"], [output], then_branch=one, else_branch=two)


def repeated(output: str, inner: list[Any], result: str) -> list[Any]:
    """Return nodes that run `inner` twice, each time on the `result` of the time before; it reads `s`."""
    turn, going, more = (f"{name}_{output}" for name in ("turn", "going", "more"))
    inputs = [value(turn, kind=TensorProto.INT64), value(going, kind=TensorProto.BOOL), value("s", 2, 4)]
    outputs = [value(more, kind=TensorProto.BOOL), value(result, 2, 4)]
    body = helper.make_graph([node("Identity", [going], [more]), *inner], f"{output}_body", inputs, outputs)
    return [
        node("Constant", [], [f"{output}_times"], value=stored("", 2, np.int64)),
        node("Constant", [], [f"{output}_true"], value=stored("", True, np.bool_)),
        node("Loop", [f"{output}_times", f"{output}_true", "x"], [output], body=body),
    ]


def scanned(output: str, inner: list[Any], result: str) -> list[Any]:
    """Return nodes that run `inner` on each row `r` of x."""
    body = helper.make_graph(inner, f"{output}_body", [value("r", 4)], [value(result, 4)])
    return [node("Scan", ["x"], [output], body=body, num_scan_inputs=1)]


def kept(source: str, output: str) -> list[Any]:
    """Return two operators, of which ONNX defines the first only for float32."""
    return [node("Celu", [source], [f"{output}_celu"]), node("Relu", [f"{output}_celu"], [output])]


def if_in_if() -> list[Any]:
    inner = graph("i", [chosen("i", graph("a", kept("x", "a")), graph("b", [node("Tanh", ["x"], ["b"])]))])
    return [chosen("y", inner, graph("n", [node("Neg", ["x"], ["n"])]))]


def loop_in_if() -> list[Any]:
    return [chosen("y", graph("l", repeated("l", kept("s", "t"), "t")), graph("n", [node("Neg", ["x"], ["n"])]))]


def if_in_loop_in_if() -> list[Any]:
    inner = [chosen("t", graph("a", kept("s", "a")), graph("b", kept("x", "b")))]
    return [chosen("y", graph("l", repeated("l", inner, "t")), graph("n", [node("Neg", ["x"], ["n"])]))]


def scan_in_if() -> list[Any]:
    return [chosen("y", graph("l", scanned("l", kept("r", "t"), "t")), graph("n", kept("x", "n")))]


def if_in_scan() -> list[Any]:
    rows = {"a": kept("r", "a"), "b": [node("Tanh", ["r"], ["b"])]}
    one, two = (helper.make_graph(nodes, name, [], [value(name, 4)]) for name, nodes in rows.items())
    return scanned("y", [node("If", ["c"], ["t"], then_branch=one, else_branch=two)], "t")


def check(path: Path, half: Any, folder: Path) -> None:
    """Check that the converted model gives the original's results, for both values of `c`."""
    assert convert(path, half, folder / "h.onnx").shares[half] > 0
    x = np.random.default_rng(1).standard_normal((2, 4)).astype(np.float32)
    for condition in (True, False):
        feed = {"c": np.array(condition), "x": x}
        got, expected = (ReferenceEvaluator(str(file)).run(None, feed)[0] for file in (folder / "h.onnx", path))
        assert np.abs(got - expected).max() < ROUNDING[half]


@BOTH
@pytest.mark.parametrize("make", [if_in_if, loop_in_if, if_in_loop_in_if, scan_in_if, if_in_scan])
def test_float32_operators_may_lie_in_graphs_inside_graphs(
    make: Callable[[], list[Any]], half: Any, tmp_path: Path
) -> None:
    check(saved(tmp_path, make()), half, tmp_path)


def weights_of_one_name() -> list[Any]:
    one, two = (
        graph(name, [node("MatMul", ["x", "w"], [name])], [matrix("w", seed)]) for seed, name in enumerate("ab")
    )
    return [chosen("y", one, two)]


def results_of_one_name() -> list[Any]:
    """One branch computes `t` in float32 only, and the other one does not."""
    one = graph("t", kept("x", "t"))
    two = graph("t", [node("MatMul", ["x", "w"], ["t_celu"]), node("Tanh", ["t_celu"], ["t"])], [matrix("w", 0)])
    return [chosen("y", one, two)]


def types_of_one_name() -> list[Any]:
    """The name `t` stands for an integer in one branch, and for a float in the other."""
    casts = [node("Cast", ["c"], ["t"], to=TensorProto.INT64), node("Cast", ["t"], ["u"], to=TensorProto.FLOAT)]
    one = graph("a", [*casts, node("Add", ["x", "u"], ["a"])])
    two = graph("b", [node("Exp", ["x"], ["t"]), node("Add", ["t", "t"], ["u"]), node("Mul", ["u", "x"], ["b"])])
    return [chosen("y", one, two)]


def constants_of_one_name() -> list[Any]:
    one, two = (
        graph(name, [node("Constant", [], ["k"], value=stored("", number)), node("Mul", ["x", "k"], [name])])
        for name, number in (("a", 2), ("b", -3))
    )
    return [chosen("y", one, two)]


def later_name() -> list[Any]:
    """A branch has the name of a value that the main graph computes later."""
    one, two = (graph(name, [node("Neg", ["x"], ["t"]), node("Relu", ["t"], [name])]) for name in "ab")
    return [chosen("i", one, two), node("Exp", ["i"], ["t"]), node("Relu", ["t"], ["y"])]


def deeper_name() -> list[Any]:
    """A weight of a graph inside a branch has the name of a weight of the other branch."""
    inner = graph("i", [chosen("i", graph("p", [node("Mul", ["x", "w"], ["p"])], [stored("w", 2)]),
                               graph("q", [node("MatMul", ["x", "w"], ["q"])], [matrix("w", 1)]))])  # fmt: skip
    return [chosen("y", inner, graph("n", [node("Mul", ["x", "w"], ["n"])], [stored("w", 3)]))]


NAMES = pytest.mark.parametrize(
    "make",
    [weights_of_one_name, results_of_one_name, types_of_one_name, constants_of_one_name, later_name, deeper_name],
)


@BOTH
@NAMES
def test_a_name_is_resolved_in_its_scope(make: Callable[[], list[Any]], half: Any, tmp_path: Path) -> None:
    check(saved(tmp_path, make()), half, tmp_path)


@NAMES
def test_int8_resolves_names_in_their_scope(make: Callable[[], list[Any]], tmp_path: Path) -> None:
    nodes = [*make(), node("MatMul", ["y", "v"], ["z"])]
    made = onnx.load(saved(tmp_path, nodes, [matrix("v", 5)]))
    del made.graph.output[:]
    made.graph.output.append(value("z", 2, 4))
    onnx.save(made, tmp_path / "m.onnx")
    x = np.random.default_rng(1).standard_normal((2, 4)).astype(np.float32)
    feeds = [{"c": np.array(condition), "x": x} for condition in (True, False)]
    shares = int8.quantise(read_model(tmp_path / "m.onnx"), lambda: iter(feeds), tmp_path / "q.onnx").shares
    assert shares["int8"] > 0
    for feed in feeds:
        got = infer_exactly(tmp_path / "q.onnx", feed)["z"]
        assert np.abs(got - ReferenceEvaluator(str(tmp_path / "m.onnx")).run(None, feed)[0]).max() < 0.1
