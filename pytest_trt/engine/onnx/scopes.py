"""Give the values of a model distinct names, so that a name stands for one value in every graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_trt.engine.onnx import traverse


def make_value_names_unique(model: Any) -> None:
    """Rename values of graphs inside nodes, until each name stands for one value of the whole model.

    ONNX resolves a name by its scope: two branches of an If may each have a weight `w`. The values of the main graph
    keep their names.

    Args:
        model: A ModelProto without functions, which is changed.
    """
    _rename(model.graph, {}, set(_defined(model.graph)))


def _rename(graph: Any, outer: Mapping[str, str], used: set[str]) -> None:
    """Rename the values of the graphs inside a graph's nodes.

    Args:
        graph: The graph, whose own values have distinct names.
        outer: The new names of the renamed values that the graph's nodes can read, by their old names.
        used: The names that are used so far. The new ones are added.
    """
    for node in graph.node:
        for inner in traverse.inner_graphs(node):
            defined = set(_defined(inner))
            new = {name: _unused(name, used) for name in sorted(defined & used)}
            used |= defined | set(new.values())
            visible = {**{name: outer[name] for name in outer.keys() - defined}, **new}
            _apply(inner, visible)
            _rename(inner, visible, used)


def _defined(graph: Any) -> Iterator[str]:
    """Yield the names of a graph's inputs, weights and computed values."""
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    yield from (sparse.values.name for sparse in graph.sparse_initializer)
    for node in graph.node:
        yield from filter(None, node.output)


def _unused(name: str, used: set[str]) -> str:
    number = 1
    while (candidate := f"{name}#{number}") in used:
        number += 1
    used.add(candidate)
    return candidate


def _apply(graph: Any, names: Mapping[str, str]) -> None:
    """Replace names in a graph, but not in the graphs inside its nodes."""
    if not names:
        return
    named = (*graph.input, *graph.output, *graph.value_info, *graph.initializer)
    for part in (*named, *(sparse.values for sparse in graph.sparse_initializer)):
        part.name = names.get(part.name, part.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
