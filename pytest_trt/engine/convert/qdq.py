"""Read a model's explicit Q/DQ, and fold the int32 biases that TensorRT does not take."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.engine.model.model import Model
from pytest_trt.engine.onnx import rewrite, traverse

QUANTISED_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The operators that are quantised. They have nearly all weights and arithmetic of a model."""

INTEGER_OPERATORS = frozenset((
    "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat",
    "QAttention", "QGemm", "QLinearConv", "QLinearMatMul",
))  # fmt: skip
"""The operators of ONNX and ONNX Runtime that compute with integers. A quantised model without Q/DQ has them."""

_MOVING = frozenset((
    "Cast", "Expand", "Flatten", "Identity", "MaxPool", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Tile",
    "Transpose", "Unsqueeze",
))  # fmt: skip
"""Operators that only move or select the values of their first input. If these were quantised, the results are too."""

_PRECISIONS = {"INT8": "int8", "UINT8": "int8", "FLOAT8E4M3FN": "fp8", "FLOAT8E5M2": "fp8"}
"""The types that operators can compute in. Weights of other types, such as int4, are dequantised first."""


def read_quantised_shares(model: Model) -> Mapping[str, float]:
    """Return the `quantised_shares` of a model, or nothing if it has no Q/DQ."""
    return _read_quantised_shares(model.path, model.sha256) if model.has_qdq else {}


@functools.lru_cache(maxsize=256)
def _read_quantised_shares(path: Path, _sha256: str) -> Mapping[str, float]:
    with ScratchFolder("types") as folder:
        return quantised_shares(rewrite.load_typed(path, folder))


def quantised_shares(typed: Any) -> Mapping[str, float]:
    """Return the share (0 to 1) of a typed model's QUANTISED_OPERATORS that compute in each precision.

    An operator computes in int8 or fp8 if both its activations and its weights are quantised to it. The others count
    as fp32, which means the model's own precision. If none of the QUANTISED_OPERATORS is quantised, other
    operators whose inputs are all quantised are counted too.
    """
    dequantised = dequantised_tensors(typed)
    main, others = list[str](), list[str]()
    for node in traverse.nodes(typed):
        read = [dequantised.get(name, "") for name in node.input[:2]]
        precision = read[0] if read and len({*read}) == 1 else ""
        if node.op_type in QUANTISED_OPERATORS:
            main.append(precision)
        elif precision and node.op_type not in _MOVING and not node.op_type.endswith("QuantizeLinear"):
            others.append(precision)
    counted = main if any(main) else main + others
    return {name or "fp32": counted.count(name) / len(counted) for name in ("int8", "fp8", "") if name in counted}


def dequantised_tensors(typed: Any) -> Mapping[str, str]:
    """Return the tensors that come from a DequantizeLinear, directly or through operators that only move values.

    Args:
        typed: A typed model.

    Returns:
        By the tensor's name, the precision that it was quantised to, or "" if operators cannot compute in its type.
    """
    types, found = traverse.tensor_types(typed), dict[str, str]()
    for node in traverse.nodes(typed):
        if node.op_type == "DequantizeLinear":
            declared = (types.get(name, "UNDEFINED") for name in (node.input[0], *node.input[2:]))
            kind = next((kind for kind in declared if kind != "UNDEFINED"), "INT8")
            found[node.output[0]] = _PRECISIONS.get(kind, "")
        elif node.op_type in _MOVING and node.input[0] in found:
            found.update(dict.fromkeys(node.output, found[node.input[0]]))
    return found


def has_int32_biases(model: Model) -> bool:
    """Return whether the model has biases that a DequantizeLinear makes from int32.

    onnxruntime.quantization writes such biases. TensorRT's parser does not take them ("input has type Int32 but must
    have type FP8, FP4, Int4, Int8, or UInt8").
    """
    return model.has_qdq and _has_int32_biases(model.path, model.sha256)


@functools.lru_cache(maxsize=256)
def _has_int32_biases(path: Path, _sha256: str) -> bool:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    rewrite.constants_to_initializers(model.graph)
    return any(True for _ in _int32_biases(model.graph))


def write_without_int32_biases(model: Model, output: Path) -> None:
    """Write `model` to `output` with its int32 biases as floating point weights of the same values."""
    source = rewrite.load_normalised(rewrite.load_typed(model.path, output.parent), model.path)
    fold_int32_biases(source)
    rewrite.save_model(source, output, external_weights=bool(model.external))


def fold_int32_biases(model: Any) -> None:
    """Turn the biases that a DequantizeLinear makes from int32 into floating point weights."""
    from onnx import numpy_helper

    graph = model.graph
    biases = list(_int32_biases(graph))
    for position, *tensors in reversed(biases):
        bias, scale = map(numpy_helper.to_array, tensors)
        values = (bias * scale.astype(float)).astype(scale.dtype)
        graph.initializer.append(numpy_helper.from_array(values, graph.node[position].output[0]))
    rewrite.remove_at(graph.node, {position for position, _, _ in biases})


def _int32_biases(graph: Any) -> Iterator[tuple[int, Any, Any]]:
    """Yield the position, the bias and the scale of each DequantizeLinear that makes a bias from int32.

    A bias has one scale, or one for each element. int32 has no zero point.
    """
    weights, outputs = {tensor.name: tensor for tensor in graph.initializer}, {value.name for value in graph.output}
    for position, node in enumerate(graph.node):
        constant = all(name in weights for name in node.input[:2])
        if node.op_type == "DequantizeLinear" and constant and node.output[0] not in outputs:
            bias, scale = (weights[name] for name in node.input[:2])
            if bias.data_type == bias.INT32 and len(bias.dims) < 2:
                yield position, bias, scale
