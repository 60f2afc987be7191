"""Sizes that decide how large the results of an operator may be."""

from __future__ import annotations

from typing import Any

from pytest_trt.engine.convert.known_tensors import KnownTensors
from pytest_trt.engine.convert.number_bounds import UNKNOWN


def summands(node: Any, tensors: KnownTensors) -> float:
    """Return the largest number of elements that a node adds up or multiplies for one result."""
    before, after = tensors.size(node.input[0]), tensors.size(node.output[0])
    if node.op_type == "CumSum":
        return float(before or UNKNOWN)
    if node.op_type == "MatMul":
        return float((tensors.dims(node.input[0]) or [None])[-1] or UNKNOWN)
    return max(before / after, 1.0) if node.op_type.startswith("Reduce") and before and after else UNKNOWN


def largest_index(node: Any, tensors: KnownTensors) -> float:
    """Return the largest index along the axis of an ArgMax, an ArgMin or a TopK."""
    default = -1 if node.op_type == "TopK" else 0
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), default)
    dims = tensors.dims(node.input[0])
    size = dims[axis] if dims and -len(dims) <= axis < len(dims) else None
    return UNKNOWN if size is None else max(size - 1.0, 0.0)


def is_outer_product(node: Any, tensors: KnownTensors) -> bool:
    """Return whether an Einsum, a Gemm or a MatMul adds nothing up.

    Rotary encodings multiply positions with frequencies in this way; a layer of a network does not.
    """
    if node.op_type == "Einsum":
        equation = next(attribute.s.decode() for attribute in node.attribute if attribute.name == "equation")
        read, arrow, result = equation.replace(" ", "").partition("->")
        letters = [letter for letter in read if letter.isalpha()]
        return set(letters) <= set(result) if arrow else len(set(letters)) == len(letters)
    if node.op_type not in ("Gemm", "MatMul"):
        return False
    transposed = {attribute.name: attribute.i for attribute in node.attribute}
    left, right = (tensors.dims(name) or [] for name in node.input[:2])
    left_axis, right_axis = (-2 if transposed.get("transA") else -1), (-1 if transposed.get("transB") else -2)
    return (len(left) > 1 and left[left_axis] == 1) or (len(right) > 1 and right[right_axis] == 1)
