"""What a model declares of its tensors, and the elements of small ones that shapes and constants determine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_trt.engine.onnx import opset, traverse

_FLOATS = frozenset(("FLOAT", "DOUBLE"))

_MAX_ELEMENTS = 64
"""Elements are only followed in tensors of at most this size, such as shapes."""

_MOVING = frozenset((
    "Cast", "Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze",
))  # fmt: skip
"""Operators whose results are elements of their first input, or of all inputs of a Concat."""

_COMPUTING = _MOVING | frozenset((
    "Abs", "Add", "Ceil", "Clip", "ConstantOfShape", "Div", "Equal", "Expand", "Floor", "Greater", "Less", "Max", "Min",
    "Mod", "Mul", "Neg", "Not", "Pow", "Range", "Reciprocal", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum",
    "Round", "Sqrt", "Sub", "Tile", "Where",
))  # fmt: skip
"""Operators that are computed if all their inputs are known."""

Elements = tuple[Any, Any]
"""The smallest and the largest value of each element, as two arrays of the tensor's shape."""


class KnownTensors:
    """The types, shapes, weights and known elements of a model's tensors, by their names.

    Args:
        model: A typed model with its weights.
        unknown: The assumed size of a dynamic dimension.
    """

    def __init__(self, model: Any, unknown: float) -> None:
        self.types: Mapping[str, str] = traverse.tensor_types(model)
        self._opset, self._unknown = opset.version_of(model), int(unknown)
        self._weights = {tensor.name: tensor for graph in traverse.graphs(model) for tensor in graph.initializer}
        self._dims = {name: list(tensor.dims) for name, tensor in self._weights.items()}
        self._arrays: dict[str, Any] = {}
        self._elements: dict[str, Elements] = {}
        for graph in traverse.graphs(model):
            for value in (*graph.input, *graph.value_info, *graph.output):
                if value.type.tensor_type.HasField("shape"):
                    dims = value.type.tensor_type.shape.dim
                    self._dims[value.name] = [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]

    def is_float(self, name: str) -> bool:
        """Return whether a tensor is float32 or float64."""
        return self.types.get(name) in _FLOATS

    def is_integer(self, name: str) -> bool:
        """Return whether a tensor holds integers or booleans."""
        return self.types.get(name, "").startswith(("BOOL", "INT", "UINT"))

    def is_weight(self, name: str) -> bool:
        """Return whether a tensor is stored in the model."""
        return name in self._weights

    def dims(self, name: str) -> Sequence[int | None] | None:
        """Return the dimensions of a tensor, None for those that are dynamic, or None if its rank is unknown."""
        return self._dims.get(name)

    def size(self, name: str) -> int | None:
        """Return the number of elements of a tensor, or None if it is dynamic."""
        dims = self._dims.get(name)
        return None if dims is None or None in dims else math.prod(size for size in dims if size is not None)

    def array(self, name: str) -> Any:
        """Return a weight, or None if the name is no weight's."""
        from onnx import numpy_helper

        if name not in self._arrays:
            weight = self._weights.get(name)
            self._arrays[name] = None if weight is None else numpy_helper.to_array(weight)
        return self._arrays[name]

    def elements(self, name: str) -> Elements | None:
        """Return the bounds of each element of a small tensor, or None if they are not known."""
        if name not in self._elements and self._is_small(name) and (array := self.array(name)) is not None:
            self._elements[name] = (array, array)
        return self._elements.get(name)

    def _is_small(self, name: str) -> bool:
        size = self.size(name)
        return size is not None and size <= _MAX_ELEMENTS

    def compute(self, node: Any) -> None:
        """Compute the elements of a node's first result, if its inputs determine them."""
        name = node.output[0] if node.output else ""
        if node.op_type == "Constant":
            self._store_constant(node)
        elif node.op_type == "Shape" and (dims := self._dims.get(node.input[0])) is not None:
            self._elements[name] = self._shape(node, dims)
        elif node.op_type in _COMPUTING and self._is_small(name):
            read = [self.elements(source) if source else None for source in node.input]
            if (computed := self._computed(node, read)) is not None:
                self._elements[name] = computed

    def _store_constant(self, node: Any) -> None:
        """Keep the value of a Constant in a graph inside a node. Those of the main graph are weights already."""
        from onnx import numpy_helper

        for attribute in node.attribute:
            if attribute.type == attribute.TENSOR:
                self._weights[node.output[0]] = attribute.t
                self._dims[node.output[0]] = list(attribute.t.dims)
            elif attribute.name in ("value_int", "value_ints"):
                import numpy as np

                values = attribute.i if attribute.name == "value_int" else list(attribute.ints)
                self._weights[node.output[0]] = numpy_helper.from_array(np.asarray(values, np.int64))

    def _shape(self, node: Any, dims: Sequence[int | None]) -> Elements:
        import numpy as np

        cut = {attribute.name: attribute.i for attribute in node.attribute}
        chosen = dims[cut.get("start", 0) : cut.get("end", len(dims))]
        low = np.array([0 if size is None else size for size in chosen], np.int64)
        return low, np.array([self._unknown if size is None else size for size in chosen], np.int64)

    def _computed(self, node: Any, read: Sequence[Elements | None]) -> Elements | None:
        """Return the elements of a node's result, or None if its inputs do not determine them."""
        if any(each is None and name for each, name in zip(read, node.input, strict=True)):
            return None
        data = len(read) if node.op_type == "Concat" else 1
        exact = [each is None or bool((each[0] == each[1]).all()) for each in read]
        if all(exact):
            result = self._run(node, [each and each[0] for each in read])
            return None if result is None else (result, result)
        if node.op_type not in _MOVING or not all(exact[data:]):
            return None
        low, high = (self._run(node, [each and each[side] for each in read]) for side in (0, 1))
        return None if low is None or high is None else (low, high)

    def _run(self, node: Any, arrays: Sequence[Any]) -> Any:
        """Return the first result of a node, or None if it cannot be computed."""
        import numpy as np
        from onnx.reference import ReferenceEvaluator

        feed = {name: array for name, array in zip(node.input, arrays, strict=True) if name}
        try:
            with np.errstate(all="ignore"):
                return np.asarray(ReferenceEvaluator(node, opsets={"": self._opset}).run(None, feed)[0])
        except Exception:  # noqa: BLE001 - the evaluator raises all kinds of exceptions
            return None
