"""Find masks: tensors that are only added to what a Softmax reads, so that large numbers in them may be clipped."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from pytest_trt.engine.onnx import traverse

_JOINING = frozenset(("Add", "Sub", "Where"))
"""Operators that apply a mask to what it masks."""

_MASKING = _JOINING | frozenset((
    "Cast", "Clip", "Concat", "Div", "Expand", "Gather", "Identity", "Max", "Min", "Mul", "Reshape", "Slice", "Squeeze",
    "Tile", "Transpose", "Unsqueeze",
))  # fmt: skip
"""Operators through which a mask passes, before and after it is applied."""

_MASK_INPUT = 3
"""The index of the input of an Attention that is a mask."""

_SMALLEST = 1000.0
"""A number at least as large as this hides what it is added to before a Softmax."""


class Masks:
    """The masks of a model.

    Args:
        model: A model in which a name stands for one value.
    """

    def __init__(self, model: Any) -> None:
        graphs = list(traverse.graphs(model))
        self._outputs = {value.name for graph in graphs for value in graph.output}
        self._weights = {tensor.name: tensor for graph in graphs for tensor in graph.initializer}
        self._readers: dict[str, list[Any]] = defaultdict(list)
        for graph in graphs:
            for node in graph.node:
                for name in filter(None, dict.fromkeys(node.input)):
                    self._readers[name].append(node)

    def contain_results(self, node: Any) -> bool:
        """Return whether all results of a node are only used as a mask."""
        return self._is_mask(node.output[0], node.op_type in _JOINING, scaled=True)

    def contain(self, name: str) -> bool:
        """Return whether a tensor is only used as a mask, after it was multiplied with a large constant."""
        return self._is_mask(name, False, scaled=False)

    def _is_mask(self, tensor: str, joined: bool, *, scaled: bool) -> bool:
        """Return whether a tensor is only used as a mask.

        Args:
            tensor: The tensor's name.
            joined: Whether it already contains what it masks.
            scaled: Whether it already contains large numbers.
        """
        waiting, seen = [(tensor, joined, scaled)], set[tuple[str, bool, bool]]()
        while waiting:
            name, joined, scaled = waiting.pop()
            if name in self._outputs or not self._readers[name]:
                return False
            for reader in self._readers[name]:
                if reader.op_type in ("LogSoftmax", "Softmax") and joined and scaled:
                    continue
                if reader.op_type == "Attention" and scaled and list(reader.input).index(name) == _MASK_INPUT:
                    continue
                if reader.op_type not in _MASKING:
                    return False
                larger = scaled or (reader.op_type == "Mul" and any(map(self._is_large, reader.input)))
                result = (reader.output[0], joined or self._joins(reader, scaled), larger)
                if result not in seen:
                    seen.add(result)
                    waiting.append(result)
        return True

    def _joins(self, reader: Any, scaled: bool) -> bool:
        """Return whether a node applies a mask. A mask of ones that is subtracted from 1 is not applied yet."""
        return reader.op_type in _JOINING and (scaled or not any(name in self._weights for name in reader.input))

    def _is_large(self, name: str) -> bool:
        import numpy as np
        from onnx import numpy_helper

        weight = self._weights.get(name)
        return weight is not None and bool((np.abs(numpy_helper.to_array(weight)) >= _SMALLEST).all())
