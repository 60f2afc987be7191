"""Explicit Q/DQ as exporters other than NVIDIA's write it, for TensorRT to take."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_trt.engine import rewrite
from pytest_trt.engine.model import Model


def has_biases(model: Model) -> bool:
    """Whether a DequantizeLinear gives the model a bias from int32, as onnxruntime.quantization writes them: TensorRT's
    parser takes none ("input has type Int32 but must have type FP8, FP4, Int4, Int8, or UInt8")."""
    return model.has_qdq and _has_biases(model.path, model.sha256)


@functools.lru_cache(maxsize=256)
def _has_biases(path: Path, _sha256: str) -> bool:
    import onnx

    light = onnx.load(str(path), load_external_data=False)
    rewrite.store_constants(light.graph)
    return any(True for _ in _biases(light.graph))


def without_biases(model: Model, output: Path) -> None:
    """Write `model` to `output` with these biases as floating point weights, which changes none of them."""
    whole = rewrite.whole(rewrite.typed(model.path, output.parent), model.path)
    fold_biases(whole)
    rewrite.save(whole, output, beside=bool(model.external))


def fold_biases(whole: Any) -> None:
    """Make weights of the biases that a DequantizeLinear gives from int32."""
    from onnx import numpy_helper

    graph = whole.graph
    for place, *tensors in reversed(list(_biases(graph))):
        bias, scale = map(numpy_helper.to_array, tensors)
        values = (bias * scale.astype(float)).astype(scale.dtype)
        graph.initializer.append(numpy_helper.from_array(values, graph.node[place].output[0]))
        del graph.node[place]


def _biases(graph: Any) -> Iterator[tuple[int, Any, Any]]:
    """Where in `graph` such nodes stand, each with its bias and scale. A bias has one scale, or one for
    each element, and int32 no zero point."""
    weights, given = {tensor.name: tensor for tensor in graph.initializer}, {value.name for value in graph.output}
    for place, node in enumerate(graph.node):
        constant = all(name in weights for name in node.input[:2])
        if node.op_type == "DequantizeLinear" and constant and node.output[0] not in given:
            bias, scale = (weights[name] for name in node.input[:2])
            if bias.data_type == bias.INT32 and len(bias.dims) < 2:
                yield place, bias, scale
