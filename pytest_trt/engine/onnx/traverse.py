"""The parts of an ONNX model, wherever in it they stand: in its graph, in graphs inside nodes, in functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def graphs(model: Any) -> Iterator[Any]:
    """Every GraphProto of a ModelProto: its own, and those inside nodes (If, Loop, Scan)."""
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop(0)
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.type == attribute.GRAPH else attribute.graphs


def nodes(model: Any) -> Iterator[Any]:
    """Every node of a ModelProto: of all its graphs and functions."""
    for part in (*graphs(model), *model.functions):
        yield from part.node


def tensors(model: Any) -> Iterator[Any]:
    """Every TensorProto of a ModelProto: initialisers and constants."""
    for graph in graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.type == attribute.TENSOR:
                yield attribute.t
            yield from attribute.tensors


def is_external(tensor: Any) -> bool:
    """Whether a TensorProto's data lies in another file."""
    return bool(tensor.data_location == type(tensor).EXTERNAL)


def dim_name(given: str) -> str | None:
    """What a dimension is named by a model, or by a network parsed from it. "?" is no name: Paddle's exporter gives it
    to the height and to the width alike, and dimensions of one name are of one size."""
    return given if given not in ("", "?") else None
