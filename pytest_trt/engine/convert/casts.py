"""Remove the needless casts that a float16 converter adds around nodes that stay float32.

The converter rounds the result of each such node to half precision, even if the next node stays float32 too.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from pytest_trt.engine.onnx import rewrite, traverse

RECURRENT = frozenset(("GRU", "LSTM", "RNN"))


def name_casts(model: Any) -> frozenset[str]:
    """Give each Cast of a model a name, and return these names.

    After a conversion, all other casts are the converter's.
    """
    casts = [node for node in traverse.nodes(model) if node.op_type == "Cast"]
    for node in casts:
        node.name = node.name or f"{node.output[0]}_cast"
    return frozenset(node.name for node in casts)


def copy_shared_weights(model: Any, nodes: Set[str]) -> None:
    """Give the named nodes, which stay float32, their own copies of weights.

    A weight has one type, so the weights that other nodes read too would be rounded for both. Weights of a graph around
    the node are copied into the node's graph.
    """
    stored = {tensor.name: tensor for graph in traverse.graphs(model) for tensor in graph.initializer
              if tensor.data_type == tensor.FLOAT}  # fmt: skip
    read_by_others = {name for node in traverse.nodes(model) if node.name not in nodes for name in node.input}
    for number, graph in enumerate(traverse.graphs(model)):
        kept = [node for node in graph.node if node.name in nodes]
        unshared = {tensor.name for tensor in graph.initializer} - read_by_others
        for name in sorted(stored.keys() & {name for node in kept for name in node.input} - unshared):
            copy = graph.initializer.add()
            copy.CopyFrom(stored[name])
            copy.name = f"{name}_float32_{number}"
            for node in kept:
                node.input[:] = [copy.name if read == name else read for read in node.input]


def add_zero_to_inputs(model: Any, nodes: Set[str]) -> set[str]:
    """Insert an Add of 0 before recurrent nodes that stay float32 but read a half precision result.

    Behind a mere cast, TensorRT-RTX 1.7 cannot build the loop over a sequence ("Mismatched number of elements in
    reshape op"). Operators after the cast that only move data or are optimised away do not help either: Transpose,
    Reshape, Identity, a Mul by 1.

    Args:
        model: The model, which is changed.
        nodes: The names of the nodes that stay float32.

    Returns:
        The names of the new nodes, which stay float32 too.
    """
    from onnx import TensorProto, helper

    names = set[str]()
    for graph in traverse.graphs(model):
        makers = {name: node.name for node in graph.node for name in node.output if name}
        added = []
        for node in graph.node:
            if node.op_type in RECURRENT and node.name in nodes and makers.get(node.input[0], node.name) not in nodes:
                sequence, read = node.input[0], f"{node.name}_read"
                added.append(helper.make_node("Add", [sequence, f"{read}_zero"], [read], read))
                graph.initializer.append(helper.make_tensor(f"{read}_zero", TensorProto.FLOAT, [], [0]))
                node.input[0] = read
        graph.node.extend(added)
        names |= {node.name for node in added}
    return names


def move_casts(model: Any, own_casts: Set[str]) -> None:
    """Move the converter's casts to the graphs that compute their inputs: it adds all of them to the main graph.

    Args:
        model: The converted model, which is changed.
        own_casts: The names of the casts that the model had before the conversion.
    """
    main, *inner = traverse.graphs(model)
    declared, moved, moved_types = {value.name: value for value in main.value_info}, set[str](), set[str]()
    for graph in inner:
        computed = {part.name for part in (*graph.input, *graph.initializer)}.union(
            *(node.output for node in graph.node)
        )
        while (cast := _next_cast(main, own_casts, computed)) is not None:
            graph.node.append(cast)
            known = {value.name for value in graph.value_info}
            names = (declared.keys() & {cast.input[0], cast.output[0]}) - known
            graph.value_info.extend(declared[name] for name in sorted(names))
            computed.add(cast.output[0])
            moved.add(cast.name)
            moved_types |= names
        rewrite.sort_nodes(graph, "a graph in a node")
    for field, names in ((main.node, moved), (main.value_info, moved_types)):
        rewrite.remove_at(field, {position for position, part in enumerate(field) if part.name in names})


def _next_cast(graph: Any, own_casts: Set[str], computed: Set[str]) -> Any:
    """Return a cast of the converter whose input is in `computed` and whose output is not, or None if there is none."""
    casts = _added_casts(graph, own_casts)
    return next((cast for cast in casts if cast.input[0] in computed and cast.output[0] not in computed), None)


def _added_casts(graph: Any, own_casts: Set[str]) -> list[Any]:
    return [node for node in graph.node if node.op_type == "Cast" and node.name not in own_casts]


def remove_redundant_casts(model: Any, own_casts: Set[str]) -> None:
    """Let nodes that stay float32 read float32 results directly, and remove the casts that nothing reads any more.

    Tensors get back the names that they had before the conversion.

    Args:
        model: The converted model, which is changed.
        own_casts: The names of the casts that the model had before the conversion. They stay.
    """
    for graph in traverse.graphs(model):
        if _added_casts(graph, own_casts):
            _remove_redundant(graph, list(traverse.nodes(model)), own_casts)


def _remove_redundant(graph: Any, nodes: list[Any], own_casts: Set[str]) -> None:
    from onnx import TensorProto

    added = _added_casts(graph, own_casts)
    rounded = {node.output[0]: node.input[0] for node in added if node.attribute[0].i != TensorProto.FLOAT}
    restored = {node.output[0]: rounded[node.input[0]] for node in added if node.input[0] in rounded}
    outputs = {value.name for value in graph.output}
    computed = {name for node in graph.node for name in node.output} - outputs
    results = {restored[name]: name for name in sorted(outputs & restored.keys()) if restored[name] in computed}
    for node in nodes:
        node.input[:] = [restored.get(name, name) for name in node.input]
    _drop_unread(graph, own_casts, outputs - set(results.values()))  # casts to float32
    dropped = _drop_unread(graph, own_casts, outputs - set(results.values()))  # casts to half precision
    names = {source: name for name, source in dropped.items() if source in computed} | results
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    kept = [value for value in graph.value_info if value.name not in {*names, *names.values()}]
    del graph.value_info[:]
    graph.value_info.extend(kept)


def _drop_unread(graph: Any, own_casts: Set[str], outputs: Set[str]) -> dict[str, str]:
    """Remove the converter's casts that no node reads, and return the input of each by its output."""
    read = set(outputs).union(*map(traverse.names_read, graph.node))
    unread = {
        position: node
        for position, node in enumerate(graph.node)
        if node.op_type == "Cast" and node.name not in own_casts and node.output[0] not in read
    }
    dropped = {node.output[0]: node.input[0] for node in reversed(unread.values())}
    rewrite.remove_at(graph.node, unread.keys())
    return dropped
