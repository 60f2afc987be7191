"""Prove which provider runs each node of a model.

A node that no provider on the GPU supports runs on the CPU, and its tensors are copied to the host and back. ONNX
Runtime also keeps the arithmetic of shapes on the CPU on purpose, where it costs nothing: such nodes are counted apart.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.core.node_patterns import matches
from pytest_trt.engine.onnx import traverse
from pytest_trt.errors import BuildError

CPU = "CPUExecutionProvider"

RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"
"""The session option that makes a session report which provider runs each node, from ONNX Runtime 1.24 on."""

_READS_SHAPE_ONLY = frozenset(("Shape", "Size"))
_FLOATS = frozenset((1, 10, 11, 16))
"""ONNX's numbers of float32, float16, float64 and bfloat16 (onnx.proto, TensorProto.DataType)."""

_MAKES_DATA = frozenset((
    "EyeLike", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial",
    "HannWindow", "HammingWindow", "BlackmanWindow", "MelWeightMatrix",
))  # fmt: skip
_COPIES = frozenset(("MemcpyToHost", "MemcpyFromHost"))
_MAX_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class PlacedNode:
    """A frozen record of a node and the provider that runs it."""

    name: str
    operator: str
    provider: str

    def __str__(self) -> str:
        return f"{self.operator} {self.name}".strip()


@dataclasses.dataclass(frozen=True)
class Placement:
    """A frozen record of which provider runs the nodes of a session.

    Attributes:
        nodes: The nodes.
        shape_nodes: The names of the nodes that only compute shapes.
    """

    nodes: tuple[PlacedNode, ...]
    shape_nodes: frozenset[str]

    @property
    def cpu_nodes(self) -> tuple[PlacedNode, ...]:
        """The nodes that compute on the CPU, without those that only compute shapes."""
        return tuple(n for n in self.nodes if n.provider == CPU and n.name not in self.shape_nodes)

    @property
    def proof(self) -> Mapping[str, str]:
        """The placement as text by name, for `Runner.proof`."""
        counts: dict[str, int] = {}
        for node in self.nodes:
            counts[node.provider] = counts.get(node.provider, 0) + 1
        operators = ", ".join(sorted({node.operator for node in self.cpu_nodes}))
        return {
            "nodes": ", ".join(f"{count} {name.removesuffix('ExecutionProvider')}" for name, count in counts.items()),
            "cpu_nodes": str(len(self.cpu_nodes)),
            **({"cpu_operators": operators} if operators else {}),
        }

    def check(self, allowed: Sequence[str]) -> None:
        """Check that only allowed nodes compute on the CPU.

        Args:
            allowed: The names or operators of nodes that may; `*` matches any text.

        Raises:
            BuildError: Another node computes on the CPU.
        """
        others = [node for node in self.cpu_nodes if not _matches(node, allowed)]
        if not others:
            return
        operators = sorted({node.operator for node in others})
        raise BuildError(
            f"{len(others)} of {len(self.nodes)} nodes would run on the CPU, since no provider on the GPU runs them: "
            f"{list_nodes(others)}: change the model, or allow them with cpu_nodes={operators!r}"
        )


def list_nodes(nodes: Sequence[PlacedNode]) -> str:
    """Return the operators and names of nodes as text, the first ones of many."""
    more = f" and {len(nodes) - _MAX_SHOWN} more" if len(nodes) > _MAX_SHOWN else ""
    return ", ".join(map(str, nodes[:_MAX_SHOWN])) + more


def _matches(node: PlacedNode, patterns: Sequence[str]) -> bool:
    return any(matches(pattern, text) for pattern in patterns for text in (node.name, node.operator))


def is_reported(ort: Any) -> bool:
    """Return whether sessions report which provider runs each node: ONNX Runtime does from 1.24 on."""
    return hasattr(ort.InferenceSession, "get_provider_graph_assignment_info")


def assigned_nodes(session: Any) -> tuple[PlacedNode, ...]:
    """Return the nodes of the graph after its basic optimisations, as a session reports them.

    The session must have been opened with RECORD_ASSIGNMENT.
    """
    return tuple(
        PlacedNode(node.name, node.op_type, part.ep_name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    )


def profiled_nodes(events: Iterable[Mapping[str, Any]]) -> tuple[PlacedNode, ...]:
    """Return the nodes that ran according to ONNX Runtime's profiler, in the order in which they first ran.

    Args:
        events: The events of the profile.
    """
    found: dict[str, PlacedNode] = {}
    for event in events:
        arguments = event.get("args", {})
        if event.get("cat") == "Node" and "provider" in arguments and event["name"].endswith("_kernel_time"):
            name, operator = event["name"].removesuffix("_kernel_time"), str(arguments.get("op_name", ""))
            if operator not in _COPIES:
                found.setdefault(name, PlacedNode(name, operator, str(arguments["provider"])))
    return tuple(found.values())


def shape_nodes(path: Path) -> frozenset[str]:
    """Return the names of the nodes of a model that only compute shapes.

    Their outputs depend on no input's values, on no weights in floating point, and on no tensor that is filled or
    random: those are data as any other, even if they are the same in every inference.
    """
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    weights = {tensor.name for tensor in model.graph.initializer}
    from_data = {value.name for value in model.graph.input} - weights
    from_data |= {tensor.name for tensor in model.graph.initializer if _is_data(tensor)}
    names = set[str]()
    for node in model.graph.node:
        reads_data = node.op_type not in _READS_SHAPE_ONLY and from_data.intersection(traverse.names_read(node))
        if reads_data or _makes_data(node):
            from_data.update(node.output)
        elif node.name:
            names.add(node.name)
    used = Counter(node.name for node in traverse.nodes(model))  # also by nodes inside others, and in functions
    return frozenset(name for name in names if used[name] == 1)


def _makes_data(node: Any) -> bool:
    """Return whether a node makes data out of nothing: a constant in floating point, or a filled or random tensor."""
    values = [attribute.t for attribute in node.attribute if attribute.type == attribute.TENSOR]
    if node.op_type == "ConstantOfShape":
        return not values or values[0].data_type in _FLOATS
    return node.op_type in _MAKES_DATA or (node.op_type == "Constant" and any(map(_is_data, values)))


def _is_data(tensor: Any) -> bool:
    """Return whether a weight is a tensor of numbers in floating point, and not a single one."""
    return tensor.data_type in _FLOATS and math.prod(tensor.dims) > 1


def name_all_nodes(path: Path) -> None:
    """Give a name to every node of a model that has none: only nodes with names can be distinguished."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    taken = {node.name for node in traverse.nodes(model)}
    if "" not in taken:
        return
    for position, node in enumerate(traverse.nodes(model)):
        if not node.name:
            node.name = f"{node.op_type}_{position}"
            while node.name in taken:
                node.name += "_"
            taken.add(node.name)
    path.write_bytes(model.SerializeToString())
