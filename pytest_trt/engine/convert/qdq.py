"""Explicit Q/DQ: what computes in which precision by it, and what of it TensorRT does not take from exporters."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_trt.engine.model.model import Model
from pytest_trt.engine.onnx import rewrite, traverse

QUANTISED_OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""The operators that hold nearly all weights and arithmetic."""

INTEGER_OPERATORS = frozenset((
    "ConvInteger", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat",
    "QAttention", "QGemm", "QLinearConv", "QLinearMatMul",
))  # fmt: skip
"""Operators on integers, ONNX's and ONNX Runtime's, as which a model is quantised that has no Q/DQ (any more)."""

_MOVES = frozenset((
    "Cast", "Expand", "Flatten", "Identity", "MaxPool", "Pad", "Reshape", "Slice", "Split", "Squeeze", "Tile",
    "Transpose", "Unsqueeze",
))  # fmt: skip
"""Operators that give what their first input holds: what was quantised before them still is."""

_KINDS = {"INT8": "int8", "UINT8": "int8", "FLOAT8E4M3FN": "fp8", "FLOAT8E5M2": "fp8"}
"""The types that operators compute in. Weights of others, such as int4, are dequantised first."""


def read_quantised_shares(model: Model) -> Mapping[str, float]:
    """`quantised_shares` of a model that is given; nothing where it has no Q/DQ."""
    return _read_quantised_shares(model.path, model.sha256) if model.has_qdq else {}


@functools.lru_cache(maxsize=256)
def _read_quantised_shares(path: Path, _sha256: str) -> Mapping[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        return quantised_shares(rewrite.load_typed(path, Path(folder)))


def quantised_shares(light: Any) -> Mapping[str, float]:
    """The share of a typed model's OPERATORS that compute in each precision: in int8 or fp8 where both activations and
    weights are quantised to it, else in fp32, which stands for the model's own. Where none of them is quantised, other
    operators that read nothing else count too."""
    read = dequantised_tensors(light)
    kinds: dict[bool, list[str]] = {True: [], False: []}
    for node in traverse.nodes(light):
        first = [read.get(name, "") for name in node.input[:2]]
        kind = first[0] if first and len({*first}) == 1 else ""
        if node.op_type in QUANTISED_OPERATORS:
            kinds[True].append(kind)
        elif kind and node.op_type not in _MOVES and not node.op_type.endswith("QuantizeLinear"):
            kinds[False].append(kind)
    counted = kinds[True] if any(kinds[True]) else kinds[True] + kinds[False]
    return {name or "fp32": counted.count(name) / len(counted) for name in ("int8", "fp8", "") if name in counted}


def dequantised_tensors(light: Any) -> Mapping[str, str]:
    """What comes out of a DequantizeLinear, however it was moved since, by name; to the precision that it had, if that
    is one to compute in."""
    types, found = traverse.tensor_types(light), dict[str, str]()
    for node in traverse.nodes(light):
        if node.op_type == "DequantizeLinear":
            told = (types.get(name, "UNDEFINED") for name in (node.input[0], *node.input[2:]))
            found[node.output[0]] = _KINDS.get(next((kind for kind in told if kind != "UNDEFINED"), "INT8"), "")
        elif node.op_type in _MOVES and node.input[0] in found:
            found.update(dict.fromkeys(node.output, found[node.input[0]]))
    return found


def has_int32_biases(model: Model) -> bool:
    """Whether a DequantizeLinear gives the model a bias from int32, as onnxruntime.quantization writes them: TensorRT's
    parser takes none ("input has type Int32 but must have type FP8, FP4, Int4, Int8, or UInt8")."""
    return model.has_qdq and _has_int32_biases(model.path, model.sha256)


@functools.lru_cache(maxsize=256)
def _has_int32_biases(path: Path, _sha256: str) -> bool:
    import onnx

    light = onnx.load(str(path), load_external_data=False)
    rewrite.constants_to_initializers(light.graph)
    return any(True for _ in _int32_biases(light.graph))


def write_without_int32_biases(model: Model, output: Path) -> None:
    """Write `model` to `output` with these biases as floating point weights, which changes none of them."""
    whole = rewrite.load_normalised(rewrite.load_typed(model.path, output.parent), model.path)
    fold_int32_biases(whole)
    rewrite.save_model(whole, output, beside=bool(model.external))


def fold_int32_biases(whole: Any) -> None:
    """Make weights of the biases that a DequantizeLinear gives from int32."""
    from onnx import numpy_helper

    graph = whole.graph
    for place, *tensors in reversed(list(_int32_biases(graph))):
        bias, scale = map(numpy_helper.to_array, tensors)
        values = (bias * scale.astype(float)).astype(scale.dtype)
        graph.initializer.append(numpy_helper.from_array(values, graph.node[place].output[0]))
        del graph.node[place]


def _int32_biases(graph: Any) -> Iterator[tuple[int, Any, Any]]:
    """Where in `graph` such nodes stand, each with its bias and scale. A bias has one scale, or one for
    each element, and int32 no zero point."""
    weights, given = {tensor.name: tensor for tensor in graph.initializer}, {value.name for value in graph.output}
    for place, node in enumerate(graph.node):
        constant = all(name in weights for name in node.input[:2])
        if node.op_type == "DequantizeLinear" and constant and node.output[0] not in given:
            bias, scale = (weights[name] for name in node.input[:2])
            if bias.data_type == bias.INT32 and len(bias.dims) < 2:
                yield place, bias, scale
