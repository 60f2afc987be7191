"""What the layers of one engine cost, and what two engines do for the same ONNX nodes."""

from __future__ import annotations

import dataclasses

from pytest_trt.core.records import Layer


@dataclasses.dataclass(frozen=True)
class LayerFacts:
    """A layer with the sizes of what it reads and writes.

    Attributes:
        layer: The layer.
        is_reformat: Whether it only copies a tensor or changes its format.
        read_mb: The size of its inputs; None if it is not reported.
        written_mb: The size of its outputs; None if it is not reported.
        weights_mb: The size of its weights; None if none are reported.
    """

    layer: Layer
    is_reformat: bool = False
    read_mb: float | None = None
    written_mb: float | None = None
    weights_mb: float | None = None

    @property
    def moved_mb(self) -> float | None:
        """The size of everything that the layer reads and writes; None if no part of it is reported."""
        parts = [part for part in (self.read_mb, self.written_mb, self.weights_mb) if part is not None]
        return sum(parts) if parts else None


@dataclasses.dataclass(frozen=True)
class Share:
    """The cost of several layers together.

    Attributes:
        name: What they have in common, such as their type.
        layers: How many they are.
        ms: Their time; None if no layer was timed.
        share: Their share of the time of all layers; None if no layer was timed.
        moved_mb: What they read and write; None if it is not reported.
    """

    name: str
    layers: int
    ms: float | None = None
    share: float | None = None
    moved_mb: float | None = None


@dataclasses.dataclass(frozen=True)
class Operation:
    """A step that reads and writes tensors: an ONNX node, or a layer of an engine.

    Attributes:
        name: Its name.
        inputs: The names of the tensors that it reads.
        outputs: The names of the tensors that it writes.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Edge:
    """A tensor that one layer writes and another reads; both layers are indices in `EngineMap.layers`."""

    source: int
    target: int
    tensor: str


@dataclasses.dataclass(frozen=True)
class EngineMap:
    """The layers of an engine, and what they cost by what they have in common.

    Attributes:
        name: Where the layers come from.
        layers: The layers, in the order in which they run.
        total: All layers together.
        reformats: All reformats together.
        by_type: The costs of each type of layer, the most expensive first.
        by_precision: The costs of each precision. Layers without one are under an empty name.
        by_nodes: The costs of the ONNX nodes. Nodes that are fused into one layer are one row.
        edges: The tensors between layers. Empty if it is not reported which layer reads which tensor.
        notes: What a reader should know about the layers.
    """

    name: str
    layers: tuple[LayerFacts, ...]
    total: Share
    reformats: Share
    by_type: tuple[Share, ...]
    by_precision: tuple[Share, ...]
    by_nodes: tuple[Share, ...]
    edges: tuple[Edge, ...] = ()
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Counterpart:
    """The layers of two engines that do the same work.

    Attributes:
        nodes: The ONNX nodes; the neighbour for reformats.
        old: The names of the first engine's layers.
        new: The names of the second engine's layers.
        old_ms: The time of the first engine's layers.
        new_ms: The time of the second engine's layers.
        kind: What differs most, such as `other precision`.
        detail: What it was and is.
    """

    nodes: tuple[str, ...]
    old: tuple[str, ...]
    new: tuple[str, ...]
    old_ms: float
    new_ms: float
    kind: str
    detail: str = ""

    @property
    def delta_ms(self) -> float:
        """How much longer the second engine takes."""
        return self.new_ms - self.old_ms
