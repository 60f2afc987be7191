"""Iterate over the parts of an ONNX model: in its graph, in graphs inside nodes, and in functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Survey:
    """A frozen record of the parts of a model that are found in one pass. A pass over a million nodes takes seconds.

    Attributes:
        graphs: Every GraphProto: the main graph, and those inside nodes, also inside the nodes of functions.
        tensors: Every TensorProto: initialisers and constants.
        ops: The names of all operators.
    """

    graphs: Sequence[Any]
    tensors: Sequence[Any]
    ops: frozenset[str]


def survey(model: Any) -> Survey:
    """Return the parts of a ModelProto, found in a single pass over its nodes."""
    parts, tensors, ops = [model.graph, *model.functions], list[Any](), set[str]()
    for part in parts:  # The list grows while the graphs inside nodes are found.
        for node in part.node:
            ops.add(node.op_type)
            for attribute in node.attribute:
                if attribute.type == attribute.TENSOR:
                    tensors.append(attribute.t)
                elif attribute.type == attribute.GRAPH:
                    parts.append(attribute.g)
                else:
                    parts += attribute.graphs
                    tensors += attribute.tensors
    found = [part for part in parts if isinstance(part, type(model.graph))]
    for graph in found:
        tensors += graph.initializer
        for sparse in graph.sparse_initializer:
            tensors += (sparse.values, sparse.indices)
    return Survey(found, tensors, frozenset(ops))


def graphs(model: Any) -> Iterator[Any]:
    """Yield every GraphProto of a ModelProto: first its main graph, then those inside nodes (If, Loop, Scan)."""
    waiting = [model.graph]
    for graph in waiting:  # The list grows while the graphs inside nodes are found.
        yield graph
        for node in graph.node:
            waiting += inner_graphs(node)


def inner_graphs(node: Any) -> Iterator[Any]:
    """Yield the graphs directly inside a node: the branches of an If, or the body of a Loop or a Scan."""
    for attribute in node.attribute:
        yield from [attribute.g] if attribute.type == attribute.GRAPH else attribute.graphs


def nodes(model: Any) -> Iterator[Any]:
    """Yield every node of a ModelProto, from all its graphs and functions."""
    for part in (*graphs(model), *model.functions):
        yield from part.node


def tensors(model: Any) -> Iterator[Any]:
    """Yield every TensorProto of a ModelProto: initialisers and constants."""
    for graph in graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.type == attribute.TENSOR:
                yield attribute.t
            yield from attribute.tensors


def names_read(node: Any) -> Iterator[str]:
    """Yield the names of all values that a node reads.

    They include those that graphs inside the node read from the graphs around it.
    """
    yield from node.input
    for graph in inner_graphs(node):
        for inner in graph.node:
            yield from names_read(inner)
        yield from (value.name for value in graph.output)


def tensor_types(model: Any) -> Mapping[str, str]:
    """Return ONNX's name of the type ("FLOAT", "INT64") of every tensor in every graph, by the tensor's name.

    The model must have the inferred types of all values (rewrite.load_typed).
    """
    import onnx

    type_name = onnx.TensorProto.DataType.Name
    types = dict[str, int]()
    for graph in graphs(model):
        values = (*graph.input, *graph.value_info, *graph.output)
        types |= {value.name: value.type.tensor_type.elem_type for value in values}
        types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name: type_name(number) for name, number in types.items()}


def is_external(tensor: Any) -> bool:
    """Return whether a TensorProto's data is stored in another file."""
    return bool(tensor.data_location == type(tensor).EXTERNAL)


def dim_name(declared: str) -> str | None:
    """Return the name of a dimension of a model, or of a network that was parsed from it. None if it has no name.

    "?" is no name. Paddle's exporter writes it for both the height and the width, although dimensions with the same
    name have the same size.
    """
    return declared if declared not in ("", "?") else None
