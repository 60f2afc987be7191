"""Find out what is known of the numbers that an operator computes, from what is known of those that it reads."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_trt.engine.convert import number_bounds, operator_sizes
from pytest_trt.engine.convert.known_tensors import KnownTensors
from pytest_trt.engine.convert.number_bounds import (
    CONSTANT,
    INPUTS,
    INTEGERS,
    KEEPING_WHOLE,
    NETWORK,
    ORDINARY,
    POINTWISE,
    UNKNOWN,
    Bounds,
    Numbers,
)

EXACT_LIMITS = {"fp16": 2048.0, "bf16": 256.0}
"""The largest number up to which a half precision holds all whole numbers."""

_STEPS = 64.0
"""What is computed from whole numbers, but is not whole, needs this many steps between two whole numbers: its limit is
smaller by this factor."""

_MAX_WHOLE = 2.0**24
"""The largest number up to which float32 holds all whole numbers. Larger constants are masks or limits."""

_MOVED: Mapping[str, tuple[int, ...]] = {
    "OneHot": (2,), "Pad": (0, 2), "Scatter": (0, 2), "ScatterElements": (0, 2), "ScatterND": (0, 2),
    "TensorScatter": (0, 1), "Where": (1, 2),
    **dict.fromkeys((
        "AveragePool", "Cast", "CastLike", "CenterCropPad", "Compress", "DepthToSpace", "Dropout", "Expand", "Flatten",
        "Gather", "GatherElements", "GatherND", "GlobalAveragePool", "GlobalMaxPool", "Identity", "MaxPool",
        "ReduceMax", "ReduceMean", "ReduceMin", "Reshape", "Resize", "ReverseSequence", "Slice", "SpaceToDepth",
        "Split", "Squeeze", "Tile", "TopK", "Transpose", "Trilu", "Unique", "Unsqueeze", "Upsample",
    ), (0,)),
}  # fmt: skip
"""Operators whose results are numbers that they read, or lie between these, and the inputs that hold these numbers. All
inputs of a Concat hold them."""

_AVERAGING = frozenset(("AveragePool", "GlobalAveragePool", "ReduceMean", "Resize", "Upsample"))

_SUMMING = frozenset(("CumSum", "ReduceL1", "ReduceSum", "ReduceSumSquare"))

LAYERS = frozenset(("Conv", "ConvTranspose", "DeformConv", "Einsum", "Gemm", "MatMul"))

_ORDINARY_RESULTS = frozenset((
    "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "ConstantOfShape", "Cos", "Cosh", "Erf", "Exp", "EyeLike",
    "HardSigmoid", "Hardmax", "Log", "LogSoftmax", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "Sigmoid", "Sign",
    "Sin", "Sinh", "Softmax", "Softsign", "Sqrt", "Tan", "Tanh",
))  # fmt: skip
"""Operators whose results are ordinary numbers, whatever they read."""

_FROM_INPUTS = LAYERS | frozenset((
    "Abs", "Add", "Cast", "Ceil", "Clip", "Concat", "Cos", "CumSum", "Div", "Exp", "Expand", "Flatten", "Floor",
    "Gather", "Identity", "Log", "Max", "Min", "Mod", "Mul", "Neg", "Pow", "Range", "Reciprocal", "ReduceMax",
    "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "ScatterND", "Sign", "Sin", "Slice", "Split", "Sqrt",
    "Squeeze", "Sub", "Sum", "Tile", "Transpose", "Trilu", "Unsqueeze", "Where",
))  # fmt: skip
"""The operators through which the float inputs of a model are followed. The results of others, such as a Relu, are
activations."""


class NumberRules:
    """What is known of the numbers that operators compute.

    Args:
        tensors: What the model declares of its tensors.
        precision: The half precision.
        numbers_of: A function that returns what is known of the tensor of a name.

    Attributes:
        fraction_limit: The largest size of numbers that are computed from whole numbers, but not whole themselves, at
            which the half precision still holds them well enough.
    """

    def __init__(self, tensors: KnownTensors, precision: str, numbers_of: Callable[[str], Numbers]) -> None:
        self._tensors, self._of = tensors, numbers_of
        self._limit, self._may_underflow = EXACT_LIMITS[precision], precision == "fp16"
        self.fraction_limit = self._limit / _STEPS

    def weight(self, name: str) -> Numbers:
        """Return what is known of a weight."""
        import numpy as np

        array = self._tensors.array(name)
        if array.size == 0 or array.dtype.kind not in "fiub":
            return Numbers(*ORDINARY, source=CONSTANT)
        with np.errstate(all="ignore"):
            low, high = np.float64(array.min()), np.float64(array.max())
            whole = bool(np.isfinite(low) and np.isfinite(high) and (array.dtype.kind != "f" or _is_whole(array)))
            low, high = np.nan_to_num((low, high), posinf=1e30, neginf=-1e30)
        return Numbers(float(low), float(high), whole, source=CONSTANT)

    def input(self, name: str) -> Numbers:
        """Return what is known of an input of the model. A single float may be a count, a step or a position."""
        dims = self._tensors.dims(name)
        if self._tensors.is_float(name):
            if dims is not None and all(size == 1 for size in dims):
                return Numbers(-UNKNOWN, UNKNOWN, True, True, INPUTS)
            return Numbers(*ORDINARY, source=INPUTS)
        if not self._tensors.is_integer(name):
            return Numbers(*ORDINARY)
        may_be_mask = dims is not None and len(dims) > 1 and dims[-1] != 1
        return dataclasses.replace(self._integers(name), is_mask=may_be_mask)

    def _integers(self, name: str) -> Numbers:
        """Return what is known of integers of any size, by their type."""
        kind = self._tensors.types.get(name, "")
        bits = 1 if kind == "BOOL" else int("".join(filter(str.isdigit, kind)) or 64)
        unsigned = kind.startswith(("U", "BOOL"))
        high = min(2.0**bits - 1 if unsigned else 2.0 ** (bits - 1) - 1, UNKNOWN)
        return Numbers(0.0 if unsigned else -high - (high < UNKNOWN), high, True, source=INTEGERS)

    def result(self, node: Any, index: int) -> Numbers:
        """Return what is known of a node's result.

        Args:
            node: The node. It has no graphs inside.
            index: The index of the result among the node's outputs.
        """
        name = node.output[index]
        known = self._computed(node, index)
        if index == 0 and known and (elements := self._tensors.elements(name)) is not None and elements[0].size:
            known = dataclasses.replace(known, low=float(elements[0].min()), high=float(elements[1].max()))
        if self._tensors.is_float(name):
            return self._judge(node, known or Numbers(*ORDINARY))
        if not self._tensors.is_integer(name):
            return Numbers(*ORDINARY)
        limits = self._integers(name)
        if known is None:
            return limits
        source, unbounded = min(known.source, INTEGERS), limits.high == UNKNOWN
        low, high = known.bounds if unbounded else (max(known.low, limits.low), min(known.high, limits.high))
        return dataclasses.replace(known, low=low, high=high, whole=True, source=source)

    def data(self, node: Any) -> list[Numbers]:
        """Return the numbers that a node computes with, without its conditions, indices and shapes."""
        indices = _MOVED.get(node.op_type, range(len(node.input)))
        return [self._of(node.input[index]) for index in indices if index < len(node.input) and node.input[index]]

    def masked(self, node: Any) -> bool:
        """Return whether a node multiplies activations with a mask."""
        if node.op_type != "Mul":
            return False
        one, other = self.data(node)
        pairs = ((one, other), (other, one))
        return any(mask.is_mask and each.source >= INPUTS and not each.beyond for mask, each in pairs)

    def _judge(self, node: Any, found: Numbers) -> Numbers:
        """Return what is known of a float result, with the verdict on whether it needs float32."""
        data = self.data(node)
        touching = [] if self.masked(node) else [each for each in data if each.beyond]
        if found.whole:
            is_stored = all(each.source == CONSTANT and not each.beyond for each in data) and (
                found.high <= self._limit or found.size >= _MAX_WHOLE or node.op_type in ("Constant", "Identity")
            )
            beyond = found.size > self._limit and not is_stored
        else:
            inverse = node.op_type == "Reciprocal" or (node.op_type == "Div" and not data[0].beyond)
            tiny = self._may_underflow and found.source != NETWORK and (inverse or any(map(self._is_tiny, touching)))
            beyond = bool(touching) and (found.size > self.fraction_limit or tiny)
        if not found.whole and not beyond and found.source > INTEGERS:
            found = dataclasses.replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))
        return dataclasses.replace(found, beyond=beyond)

    def _is_tiny(self, numbers: Numbers) -> bool:
        """Return whether numbers need float32 because they may be too small, such as 1 by a large number."""
        return numbers.beyond and numbers.size <= self.fraction_limit

    def counted(self, node: Any) -> list[str]:
        """Return the activations that a node multiplies with or divides by what may be a large count, or its root."""
        if node.op_type not in ("Div", "Mul") or self.masked(node):
            return []
        first, second = map(self._of, node.input)
        pairs = zip(node.input, (first, second), (second, first), strict=True)
        return [
            name
            for name, one, other in pairs
            if one.source >= INPUTS and not one.beyond
            if other.beyond or (other.source == INTEGERS and not other.whole)
        ]

    def _computed(self, node: Any, index: int) -> Numbers | None:
        """Return what is known of a node's result, or None for operators that are not followed."""
        operator, data = node.op_type, self.data(node)
        if operator in ("Shape", "Size"):
            return Numbers(0.0, UNKNOWN, True, source=INTEGERS)
        if operator in ("ArgMax", "ArgMin") or (operator == "TopK" and index == 1):
            return Numbers(0.0, operator_sizes.largest_index(node, self._tensors), True, source=INTEGERS)
        if operator == "DynamicQuantizeLinear" and index == 1:
            return Numbers(0.0, 1 / 127)
        if index > 0 and operator != "Split":
            return None
        if operator == "Constant":
            return self.weight(node.output[0]) if self._tensors.array(node.output[0]) is not None else None
        source, layers = self._origin(node)
        bounds, whole = self._bounds(node, data)
        if bounds is None:
            return None
        is_mask = operator in _MOVED and all(each.is_mask for each in data)
        return Numbers(*bounds, whole, False, source, layers, is_mask and bool(data))

    def _bounds(self, node: Any, data: Sequence[Numbers]) -> tuple[Bounds | None, bool]:
        """Return the bounds of a node's result, and whether it is whole. None stands for another operator."""
        operator, read, whole = node.op_type, [each.bounds for each in data], all(each.whole for each in data)
        if operator in _MOVED or operator == "Concat":
            from_floats = any(not each.whole and each.source > INTEGERS for each in data)
            if not self._tensors.is_float(node.output[0]) and from_floats:
                return None, True
            return number_bounds.span(read), whole and operator not in _AVERAGING
        if operator == "Clip":
            return self._clip(node), whole
        if operator in POINTWISE:
            return POINTWISE[operator](read), whole and operator in KEEPING_WHOLE
        if operator in ("Div", "Reciprocal"):
            dividend = (1.0, 1.0) if operator == "Reciprocal" else read[0]
            size = max(map(abs, dividend)) / self._divisor(node.input[-1])
            return (-size if min(dividend[0], data[-1].low) < 0 else 0.0, size), False
        if operator in _SUMMING:
            squared = number_bounds.multiply(read[0], read[0]) if operator == "ReduceSumSquare" else read[0]
            return number_bounds.add_up(squared, operator_sizes.summands(node, self._tensors)), data[0].whole
        if operator == "ReduceProd":
            return number_bounds.multiply_up(read[0], operator_sizes.summands(node, self._tensors)), data[0].whole
        if operator in LAYERS:
            return self._layer(node, data if operator == "Einsum" else data[:2])
        if operator == "ConstantOfShape":
            return self._filled(node)
        return (ORDINARY if operator in _ORDINARY_RESULTS else None), False

    def _origin(self, node: Any) -> tuple[int, int]:
        """Return the source of a node's result, and the number of layers behind it."""
        read = [self._of(name) for name in node.input if name]
        source = max((each.source for each in read), default=NETWORK)
        layers = max((each.layers for each in read), default=0)
        layers += node.op_type in LAYERS and not operator_sizes.is_outer_product(node, self._tensors)
        is_table = node.op_type == "Gather" and read[0].source == CONSTANT and not read[0].whole
        left = source == INPUTS and node.op_type not in _FROM_INPUTS
        return (NETWORK if layers > 1 or is_table or left else source), layers

    def _clip(self, node: Any) -> Bounds:
        read = self._of(node.input[0]).bounds
        limits = [self._of(name).bounds if name else None for name in node.input[1:]]
        limits += [(attribute.f, attribute.f) for name in ("min", "max") for attribute in node.attribute
                   if attribute.name == name]  # fmt: skip
        floor, ceiling, *_ = (*limits, None, None)
        return POINTWISE["Clip"]([read, floor or (read[0], read[0]), ceiling or (read[1], read[1])])

    def _divisor(self, name: str) -> float:
        """Return the assumed magnitude of a divisor.

        A number of unknown size is taken as large: in a mean, the sum and the count grow together.
        """
        import numpy as np

        divisor = self._of(name)
        if divisor.beyond:
            return max(divisor.size, 1.0)
        if (array := self._tensors.array(name)) is not None:
            sizes = np.abs(array[array != 0].astype(float))
            return float(sizes.min(initial=np.inf)) if sizes.size else 1.0
        return max(divisor.low, 1.0)

    def _layer(self, node: Any, data: Sequence[Numbers]) -> tuple[Bounds, bool]:
        """Return the bounds of a layer's result. A layer may count, if all its numbers are whole."""
        result = functools.reduce(number_bounds.multiply, (each.bounds for each in data))
        if operator_sizes.is_outer_product(node, self._tensors):
            return result, all(each.whole for each in data) and (node.op_type != "Gemm" or len(node.input) < 3)
        if not all(each.whole for each in data):
            return ORDINARY, False
        return number_bounds.add_up(result, operator_sizes.summands(node, self._tensors)), True

    def _filled(self, node: Any) -> tuple[Bounds, bool]:
        """Return the value of a ConstantOfShape."""
        from onnx import numpy_helper

        value = next((float(numpy_helper.to_array(attribute.t).reshape(-1)[0]) for attribute in node.attribute), 0.0)
        return (value, value), value.is_integer()


def _is_whole(array: Any) -> bool:
    import numpy as np

    return bool((np.floor(array) == array).all())
