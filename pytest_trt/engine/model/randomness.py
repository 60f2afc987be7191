"""Random numbers that a model draws itself: what they go into has other values in every run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_trt.engine.model.model import Model
from pytest_trt.engine.onnx import rewrite, traverse

_RANDOM_OPERATORS = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)
"""ONNX's operators that draw whatever they are told. A seed makes a session's first run repeatable, not the next."""


def reason_not_comparable(model: Model) -> str:
    """Why outputs of `model` cannot be compared, as a sentence that names the operator that draws and its node; empty
    where no random number goes into any of them."""
    if model.kind != "onnx" or model.ops.isdisjoint(_RANDOM_OPERATORS | {"Dropout"}):
        return ""
    import onnx

    whole = onnx.load(str(model.path), load_external_data=False)
    makers = {name: node for node in whole.graph.node for name in node.output if name}
    waiting, seen = [output.name for output in whole.graph.output], set[str]()
    while waiting:
        name = waiting.pop(0)
        if name in seen or name not in makers:
            continue
        seen.add(name)
        for node in _inside(makers[name], whole):
            if _is_random(node, whole):
                named = node.name or next(filter(None, node.output))
                return (
                    f"{model.path.name} draws random numbers ({node.op_type} {named!r}), so its outputs are others in "
                    "every run and cannot be compared: export it without"
                )
        waiting += rewrite.names_read(makers[name])
    return ""


def _inside(node: Any, model: Any) -> Iterator[Any]:
    """The node, and those of the graphs and of the function that it runs."""
    yield node
    parts = [graph for a in node.attribute for graph in ([a.g] if a.type == a.GRAPH else a.graphs)]
    parts += [each for each in model.functions if (each.domain, each.name) == (node.domain, node.op_type)]
    for part in parts:
        for inner in part.node:
            yield from _inside(inner, model)


def _is_random(node: Any, model: Any) -> bool:
    """Whether a node draws; a Dropout does in training mode, and may where that is not known before it runs."""
    if node.domain not in ("", "ai.onnx"):
        return False
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        return not _is_false(node.input[2], model)
    return node.op_type in _RANDOM_OPERATORS


def _is_false(name: str, model: Any) -> bool:
    """Whether that value is a stored `false`."""
    from onnx import numpy_helper

    stored = [tensor for graph in traverse.graphs(model) for tensor in graph.initializer if tensor.name == name]
    stored += [
        attribute.t for node in traverse.nodes(model) if node.op_type == "Constant" and name in node.output
        for attribute in node.attribute if attribute.name == "value"
    ]  # fmt: skip
    return bool(stored) and not any(map(bool, map(numpy_helper.to_array, stored)))
