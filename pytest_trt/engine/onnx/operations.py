"""Read which tensors the nodes of an ONNX model read and write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pytest_trt.core.engine_map import Operation
from pytest_trt.engine.onnx import traverse


def operations(path: Path) -> Iterator[Operation]:
    """Yield the nodes of a model's main graph.

    A node with graphs inside, such as an If, also reads what these graphs read, and it stands for their nodes.

    Args:
        path: A model that was read before.
    """
    import onnx

    for node in onnx.load(str(path), load_external_data=False).graph.node:
        inputs, inner = list(node.input), list(traverse.inner_graphs(node))
        while inner:
            graph = inner.pop()
            for part in graph.node:
                inputs += part.input
                inner += traverse.inner_graphs(part)
        yield Operation(node.name, tuple(filter(None, inputs)), tuple(filter(None, node.output)))
