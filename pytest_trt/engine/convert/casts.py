"""The casts that a float16 converter puts around what stays float32, made fewer: it has each result there rounded to
half precision, between two such operators too."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from pytest_trt.engine.onnx import rewrite, traverse

RECURRENT = frozenset(("GRU", "LSTM", "RNN"))


def name_casts(model: Any) -> frozenset[str]:
    """Give each Cast of a model a name, and tell these: others are the converter's."""
    own = [node for node in traverse.nodes(model) if node.op_type == "Cast"]
    for node in own:
        node.name = node.name or f"{node.output[0]}_cast"
    return frozenset(node.name for node in own)


def copy_shared_weights(model: Any, nodes: Set[str]) -> None:
    """Give the named nodes, which stay float32, weights of their own, in their graph, where others read them too or
    they stand in a graph around it: a weight has one type, and would be rounded for both."""
    stored = {tensor.name: tensor for graph in traverse.graphs(model) for tensor in graph.initializer
              if tensor.data_type == tensor.FLOAT}  # fmt: skip
    others = {name for node in traverse.nodes(model) if node.name not in nodes for name in node.input}
    for number, graph in enumerate(traverse.graphs(model)):
        ours = [node for node in graph.node if node.name in nodes]
        alone = {tensor.name for tensor in graph.initializer} - others
        for name in sorted(stored.keys() & {name for node in ours for name in node.input} - alone):
            copy = graph.initializer.add()
            copy.CopyFrom(stored[name])
            copy.name = f"{name}_float32_{number}"
            for node in ours:
                node.input[:] = [copy.name if given == name else given for given in node.input]


def add_zero_to_inputs(model: Any, nodes: Set[str]) -> set[str]:
    """Have those of the named nodes, which stay float32, that are recurrent and read what is computed in half precision
    read it through an Add of 0 in float32, and tell the names of the Adds.

    Behind a mere cast TensorRT-RTX 1.7 cannot build the loop over a sequence ("Mismatched number of elements in reshape
    op"), nor behind a cast and what moves data or is dropped: Transpose, Reshape, Identity, a Mul by 1.
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


def move_casts(model: Any, given: frozenset[str]) -> None:
    """Put the converter's casts, which all stand in the main graph, into the graphs that make what they read. Casts
    whose names are `given` are the model's own."""
    main, *inner = traverse.graphs(model)
    told, placed, moved = {value.name: value for value in main.value_info}, set[str](), set[str]()
    for graph in inner:
        made = {part.name for part in (*graph.input, *graph.initializer)}.union(*(node.output for node in graph.node))
        while new := [
            cast for cast in _added_casts(main, given) if cast.input[0] in made and cast.output[0] not in made
        ]:
            graph.node.append(new[0])
            known = {value.name for value in graph.value_info}
            names = (told.keys() & {new[0].input[0], new[0].output[0]}) - known
            graph.value_info.extend(told[name] for name in sorted(names))
            made.add(new[0].output[0])
            placed.add(new[0].name)
            moved |= names
        rewrite.sort_nodes(graph, "a graph in a node")
    for part, gone in ((main.node, placed), (main.value_info, moved)):
        for at in reversed(range(len(part))):
            if part[at].name in gone:
                del part[at]


def _added_casts(graph: Any, given: frozenset[str]) -> list[Any]:
    return [node for node in graph.node if node.op_type == "Cast" and node.name not in given]


def remove_redundant_casts(model: Any, given: frozenset[str]) -> None:
    """Have what stays float32 read float32 where that is what there was, drop the casts that nobody reads then, and
    have tensors named as they were. Casts whose names are `given` are the model's own, and do what they say."""
    for graph in traverse.graphs(model):
        if _added_casts(graph, given):
            _remove_redundant(graph, list(traverse.nodes(model)), given)


def _remove_redundant(graph: Any, nodes: list[Any], given: frozenset[str]) -> None:
    from onnx import TensorProto

    added = _added_casts(graph, given)
    rounded = {node.output[0]: node.input[0] for node in added if node.attribute[0].i != TensorProto.FLOAT}
    back = {node.output[0]: rounded[node.input[0]] for node in added if node.input[0] in rounded}
    outputs = {value.name for value in graph.output}
    made = {name for node in graph.node for name in node.output} - outputs
    results = {back[name]: name for name in sorted(outputs & back.keys()) if back[name] in made}
    for node in nodes:
        node.input[:] = [back.get(name, name) for name in node.input]
    _drop_unread(graph, given, outputs - set(results.values()))  # to float32
    dropped = _drop_unread(graph, given, outputs - set(results.values()))  # to half
    names = {source: name for name, source in dropped.items() if source in made} | results
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    told = [value for value in graph.value_info if value.name not in {*names, *names.values()}]
    del graph.value_info[:]
    graph.value_info.extend(told)


def _drop_unread(graph: Any, given: frozenset[str], outputs: set[str]) -> dict[str, str]:
    """Remove the converter's casts that nobody reads, and tell what each gave, and of what."""
    read, dropped = outputs.union(*map(traverse.names_read, graph.node)), {}
    for place in reversed(range(len(graph.node))):
        node = graph.node[place]
        if node.op_type == "Cast" and node.name not in given and node.output[0] not in read:
            dropped[node.output[0]] = node.input[0]
            del graph.node[place]
    return dropped
