"""Models that draw random numbers, whose outputs differ in every run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_trt.engine.model.model import Model
from pytest_trt.engine.onnx import traverse

_RANDOM_OPERATORS = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)
"""ONNX's operators that always draw random numbers. A seed only makes the first run of a session repeatable."""


def reason_not_comparable(model: Model) -> str:
    """Return why the outputs of `model` cannot be compared, or "" if no output depends on a random number.

    The sentence names the operator that draws random numbers, and its node.
    """
    if model.kind != "onnx" or model.ops.isdisjoint(_RANDOM_OPERATORS | {"Dropout"}):
        return ""
    import onnx

    loaded = onnx.load(str(model.path), load_external_data=False)
    makers = {name: node for node in loaded.graph.node for name in node.output if name}
    waiting, seen, constants = [output.name for output in loaded.graph.output], set[str](), _constants(loaded)
    for name in waiting:  # The list grows while the values are found that others are computed from.
        if name in seen or name not in makers:
            continue
        seen.add(name)
        for node in _nodes_run_by(makers[name], loaded):
            if _is_random(node, constants):
                node_name = node.name or next(filter(None, node.output))
                return (
                    f"{model.path.name} draws random numbers ({node.op_type} {node_name!r}), so its outputs differ "
                    "in every run and cannot be compared: export it without that operator"
                )
        waiting += traverse.names_read(makers[name])
    return ""


def _nodes_run_by(node: Any, model: Any) -> Iterator[Any]:
    """Yield the node, and the nodes of the graphs and of the function that it runs."""
    yield node
    parts = [graph for a in node.attribute for graph in ([a.g] if a.type == a.GRAPH else a.graphs)]
    parts += [each for each in model.functions if (each.domain, each.name) == (node.domain, node.op_type)]
    for part in parts:
        for inner in part.node:
            yield from _nodes_run_by(inner, model)


def _is_random(node: Any, constants: Mapping[str, Sequence[Any]]) -> bool:
    """Return whether a node draws random numbers.

    A Dropout does so in training mode. It counts as random too if its mode is not known before it runs.
    """
    from onnx import numpy_helper

    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        stored = constants.get(node.input[2], ())
        return not stored or any(map(bool, map(numpy_helper.to_array, stored)))
    return node.op_type in _RANDOM_OPERATORS


def _constants(model: Any) -> Mapping[str, Sequence[Any]]:
    """Return the TensorProtos of each weight or Constant, by its name, which may exist in several graphs."""
    found: dict[str, list[Any]] = {}
    for graph in traverse.graphs(model):
        for tensor in graph.initializer:
            found.setdefault(tensor.name, []).append(tensor)
    for node in traverse.nodes(model):
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    found.setdefault(node.output[0], []).append(attribute.t)
    return found
