"""Find which layers of an engine hand a tensor to one another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from pytest_trt.core.engine_map import Edge, Operation
from pytest_trt.core.records import Layer

_FUSED = re.compile(r"/\w*Fusion/?$|_nchwc$")
"""What ONNX Runtime appends to the name of a node or of an output to name a layer."""


def connect(layers: Sequence[Layer], operations: Iterable[Operation]) -> tuple[Edge, ...]:
    """Return the tensors between layers, the first tensor of each pair of layers.

    An operation that no layer computes was removed, or fused into the layer before it: the last one of those that it
    reads from.

    Args:
        layers: The layers.
        operations: The operations of the engine or of the model, in an order in which they can run.
    """
    places = _Places(layers)
    sources: dict[str, int] = {}
    edges: dict[tuple[int, int], str] = {}
    for operation in operations:
        read = {sources[tensor]: tensor for tensor in operation.inputs if tensor in sources}
        index = places.find(operation)
        if index is None:
            index = max(read, default=None)
        if index is None:
            continue
        for source, tensor in read.items():
            if source != index:
                edges.setdefault((source, index), tensor)
        sources.update(dict.fromkeys(operation.outputs, index))
    return tuple(Edge(source, target, tensor) for (source, target), tensor in sorted(edges.items()))


class _Places:
    """The layers by their names and by the ONNX nodes that they compute. Layers may share a name.

    ONNX Runtime names a fused layer by a node and the fusion, or by its output and the memory format.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._by_name: dict[str, Iterator[int]] = {}
        self._by_node: dict[str, int] = {}
        indices: dict[str, list[int]] = {}
        for index, layer in enumerate(layers):
            indices.setdefault(layer.name, []).append(index)
            for node in (*layer.nodes, _FUSED.sub("", layer.name)):
                self._by_node.setdefault(node, index)
        self._by_name = {name: iter(found) for name, found in indices.items()}

    def find(self, operation: Operation) -> int | None:
        """Return the index of the next layer of this name, or else of the layer that computes this operation."""
        found = next(self._by_name.get(operation.name, iter(())), None)
        if found is not None:
            return found
        names = (operation.name, *operation.outputs)
        return next((self._by_node[name] for name in names if name in self._by_node), None)
