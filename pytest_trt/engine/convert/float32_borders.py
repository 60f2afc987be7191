"""Let tensors that enter or leave a graph inside a node be float32, although the converter made them half precision."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Any

from pytest_trt.engine.onnx import traverse

Border = tuple[int, int]
"""The position of an If, a Loop or a Scan among all nodes with graphs inside, and the index of its output."""


def find_borders(model: Any, exact: Set[str]) -> frozenset[Border]:
    """Return the outputs of nodes with graphs inside that must be float32, with the states behind them.

    Args:
        model: The model before the conversion.
        exact: The names of the tensors that must be float32.
    """
    found = set[Border]()
    for position, (node, _) in enumerate(_outer_nodes(model)):
        read = [] if node.op_type == "If" else _states(node)
        for index, name in enumerate(node.output):
            if name in exact or (index < len(read) and read[index].name in exact):
                found.add((position, index))
    return frozenset(found)


def widen(model: Any, borders: Set[Border], half: int) -> None:
    """Let the outputs of nodes with graphs inside be float32, and add casts to and from the half precision around them.

    Args:
        model: The converted model, which is changed.
        borders: The outputs to widen (find_borders).
        half: The number of the half precision's type.
    """
    from onnx import TensorProto

    for position, (node, graph) in enumerate(list(_outer_nodes(model))):
        for index, name in enumerate(node.output):
            if (position, index) not in borders or not name:
                continue
            skipped = node.op_type == "Loop"
            for inner in traverse.inner_graphs(node):
                value = inner.output[index + skipped]
                if value.type.tensor_type.elem_type == half:
                    _add_cast(inner, value.name, f"{value.name}_wide", TensorProto.FLOAT)
                    value.name, value.type.tensor_type.elem_type = f"{value.name}_wide", TensorProto.FLOAT
            if node.op_type != "If" and index < len(states := _states(node)) and _is_half(states[index], half):
                state, read = states[index], index + 2 * skipped
                (body,) = traverse.inner_graphs(node)
                _add_cast(body, f"{state.name}_wide", state.name, half)
                state.name, state.type.tensor_type.elem_type = f"{state.name}_wide", TensorProto.FLOAT
                _add_cast(graph, node.input[read], f"{state.name}_start", TensorProto.FLOAT)
                node.input[read] = f"{state.name}_start"
            _add_cast(graph, f"{name}_wide", name, half)
            node.output[index] = f"{name}_wide"


def _outer_nodes(model: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each node with graphs inside, and the graph that it belongs to."""
    for graph in traverse.graphs(model):
        for node in graph.node:
            if any(True for _ in traverse.inner_graphs(node)):
                yield node, graph


def _states(node: Any) -> list[Any]:
    """Return the inputs of a body that have what the turn before computed."""
    (body,) = traverse.inner_graphs(node)
    scanned = next((attribute.i for attribute in node.attribute if attribute.name == "num_scan_inputs"), 0)
    return list(body.input)[2 * (node.op_type == "Loop") : len(body.input) - scanned]


def _is_half(value: Any, half: int) -> bool:
    return bool(value.type.tensor_type.elem_type == half)


def _add_cast(graph: Any, source: str, result: str, kind: int) -> None:
    from onnx import helper

    graph.node.append(helper.make_node("Cast", [source], [result], f"{result}_border_cast", to=kind))
