"""Find the outputs of a model whose shape depends on the values of its inputs, not only on their shapes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_trt.engine.onnx import traverse

_FINDS_SIZE = frozenset((
    "NonZero", "Unique", "Compress", "NonMaxSuppression", "StringSplit", "If", "Loop", "Scan", "SequenceMap",
))  # fmt: skip
"""Operators whose outputs have a size that depends on the values that they read, as in a branch or a loop."""

_SIZES: dict[str, tuple[int, ...]] = {
    "Reshape": (1,), "Expand": (1,), "Tile": (1,), "Slice": (1, 2, 3, 4), "Range": (0, 1, 2), "ConstantOfShape": (0,),
    "TopK": (1,), "OneHot": (1,), "Pad": (1, 3), "Resize": (1, 2, 3), "Upsample": (1,), "Split": (1,), "Squeeze": (1,),
    "Unsqueeze": (1,), "CenterCropPad": (1,), "AffineGrid": (1,), "Col2Im": (1, 2), "MaxUnpool": (2,), "DFT": (1,),
    "STFT": (1, 3), "HannWindow": (0,), "HammingWindow": (0,), "BlackmanWindow": (0,), "MelWeightMatrix": (0, 1),
    "SplitToSequence": (1,),
}  # fmt: skip
"""The positions of the inputs whose values decide the shape of an operator's output."""


def dynamic_outputs(path: Path) -> tuple[str, ...]:
    """Return the names of the outputs of a model whose shape may depend on the data.

    A shape that follows from the shapes of the inputs does not. Functions inside the model are not looked into: what
    they return counts as dependent only if what they read does.
    """
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    weights = {tensor.name for tensor in model.graph.initializer}
    values = {value.name for value in model.graph.input} - weights  # names whose values depend on the data
    shapes = set[str]()  # names whose shapes do
    for node in model.graph.node:
        reads = set(traverse.names_read(node))
        if _has_data_dependent_shape(node, reads, values, shapes):
            shapes.update(node.output)
        # The shape of a tensor is the value of Shape and Size.
        if reads & (shapes if node.op_type in ("Shape", "Size") else values | shapes):
            values.update(node.output)
    return tuple(output.name for output in model.graph.output if output.name in shapes)


def _has_data_dependent_shape(node: Any, reads: set[str], values: set[str], shapes: set[str]) -> bool:
    if node.op_type in ("Shape", "Size"):
        return False
    if node.op_type in _FINDS_SIZE:
        return bool(reads & (values | shapes))
    return bool(reads & shapes) or any(name in values for name in _size_inputs(node))


def _size_inputs(node: Any) -> Sequence[str]:
    """Return the names of the inputs whose values decide the shape of a node's outputs."""
    return [node.input[position] for position in _SIZES.get(node.op_type, ()) if position < len(node.input)]
