"""The casts that a float16 converter puts around what stays float32, made fewer: it has each result there rounded to
half precision, between two such operators too."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from pytest_trt.backends import onnx_parts
from pytest_trt.engine import rewrite

RECURRENT = frozenset(("GRU", "LSTM", "RNN"))


def name_them(model: Any) -> frozenset[str]:
    """Give each Cast of a model a name, and tell these: others are the converter's."""
    own = [node for node in onnx_parts.nodes(model) if node.op_type == "Cast"]
    for place, node in enumerate(own):
        node.name = node.name or f"Cast#{place}"
    return frozenset(node.name for node in own)


def own_weights(graph: Any, nodes: Set[str]) -> None:
    """Give the named nodes, which stay float32, weights of their own where others read them too: a weight has one type,
    and would be rounded for both."""
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == tensor.FLOAT}
    ours, others = ([node for node in graph.node if (node.name in nodes) is own] for own in (True, False))
    shared = weights.keys() & set().union(*(node.input for node in ours)) & set().union(*map(rewrite.read_by, others))
    for name in sorted(shared):
        copy = graph.initializer.add()
        copy.CopyFrom(weights[name])
        copy.name = f"{name}_float32"
        for node in ours:
            node.input[:] = [copy.name if given == name else given for given in node.input]


def add_nothing(graph: Any, nodes: Set[str]) -> set[str]:
    """Have those of the named nodes, which stay float32, that are recurrent and read what is computed in half precision
    read it through an Add of 0 in float32, and tell the names of the Adds.

    Behind a mere cast TensorRT-RTX 1.7 cannot build the loop over a sequence ("Mismatched number of elements in reshape
    op"), nor behind a cast and what moves data or is dropped: Transpose, Reshape, Identity, a Mul by 1.
    """
    from onnx import TensorProto, helper

    makers = {name: node.name for node in graph.node for name in node.output if name}
    added = []
    for node in graph.node:
        if node.op_type in RECURRENT and node.name in nodes and makers.get(node.input[0], node.name) not in nodes:
            sequence, read = node.input[0], f"{node.name}_read"
            added.append(helper.make_node("Add", [sequence, f"{read}_zero"], [read], read))
            graph.initializer.append(helper.make_tensor(f"{read}_zero", TensorProto.FLOAT, [], [0]))
            node.input[0] = read
    graph.node.extend(added)
    return {node.name for node in added}


def straighten(model: Any, given: frozenset[str]) -> None:
    """Have what stays float32 read float32 where that is what there was, drop the casts that nobody reads then, and
    have tensors named as they were. Casts whose names are `given` are the model's own, and do what they say."""
    from onnx import TensorProto

    graph = model.graph
    added = [node for node in graph.node if node.op_type == "Cast" and node.name not in given]
    rounded = {node.output[0]: node.input[0] for node in added if node.attribute[0].i != TensorProto.FLOAT}
    back = {node.output[0]: rounded[node.input[0]] for node in added if node.input[0] in rounded}
    outputs = {value.name for value in graph.output}
    made = {name for node in graph.node for name in node.output} - outputs
    results = {back[name]: name for name in sorted(outputs & back.keys()) if back[name] in made}
    for node in onnx_parts.nodes(model):
        node.input[:] = [back.get(name, name) for name in node.input]
    _drop_unread(graph, given, outputs - set(results.values()))  # to float32
    dropped = _drop_unread(graph, given, outputs - set(results.values()))  # to half
    names = {source: name for name, source in dropped.items() if source in made} | results
    for node in onnx_parts.nodes(model):
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    told = [value for value in graph.value_info if value.name not in {*names, *names.values()}]
    del graph.value_info[:]
    graph.value_info.extend(told)


def _drop_unread(graph: Any, given: frozenset[str], outputs: set[str]) -> dict[str, str]:
    """Remove the converter's casts that nobody reads, and tell what each gave, and of what."""
    read, dropped = outputs.union(*map(rewrite.read_by, graph.node)), {}
    for place in reversed(range(len(graph.node))):
        node = graph.node[place]
        if node.op_type == "Cast" and node.name not in given and node.output[0] not in read:
            dropped[node.output[0]] = node.input[0]
            del graph.node[place]
    return dropped
