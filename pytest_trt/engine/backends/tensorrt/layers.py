"""What TensorRT's inspector tells of an engine's layers, in the forms of all versions."""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_trt.core.records import Layer
from pytest_trt.engine.backends.base import UNREPORTED

_PRECISIONS = (
    ("fp8", r"fp8"), ("fp4", r"fp4"), ("int4", r"int4"), ("bf16", r"bf16|bfloat16"),
    ("fp16", r"fp16|half|float16|_f16f16_"), ("int8", r"int8|_i8i8_"), ("fp32", r"fp32|float32|float\b|_f32f32_"),
)  # fmt: skip
"""How formats name a precision, and kernels where a format does not tell."""
_FLOATING = frozenset(name for name, _ in _PRECISIONS)
_FUSED = "{ForeignNode["
"""How the name of a layer begins that holds a whole part of the network, such as a transformer's: its inputs and
outputs may be FP32 whatever is computed in it."""


def read_inspector_json(text: str) -> Mapping[str, Any]:
    """What the inspector says, as JSON that travels: 8.6 writes control characters as they are, and a value that is no
    number of JSON's (NaN, Infinity) is kept as text."""
    found: Mapping[str, Any] = json.loads(text or "{}", strict=False, parse_constant=str)
    return found


def parse_layers(information: Mapping[str, Any]) -> tuple[Layer, ...]:
    """The layers of an engine from what the inspector says, in its order.

    A layer is a text (verbosity `layer_names_only`) or an object; a tensor's format and type stand in one text under
    `Format/Datatype` up to TensorRT 10, and in two fields from 11 on.
    """
    return tuple(_layer(item) for item in information.get("Layers", ()))


def _layer(item: str | Mapping[str, Any]) -> Layer:
    if isinstance(item, str):
        return Layer(item)
    inputs, outputs = ([_format(tensor) for tensor in item.get(key) or ()] for key in ("Inputs", "Outputs"))
    metadata = re.findall(r"\[ONNX Layer: ([^\]]*)\]", str(item.get("Metadata", "")))
    name = str(item.get("Name", ""))
    precision = _precision([str(item.get("Precision", "")), *outputs, *inputs, str(item.get("TacticName", ""))])
    if name.startswith(_FUSED) and precision == "fp32":
        precision = UNREPORTED
    return Layer(
        name=name,
        kind=str(item.get("ParameterType") or item.get("LayerType", "")),
        tactic=str(item.get("TacticName") or item.get("TacticValue", "")),
        precision=precision,
        formats=f"{', '.join(inputs)} -> {', '.join(outputs)}" if inputs or outputs else "",
        nodes=tuple(dict.fromkeys(metadata)),
    )


def _format(tensor: Mapping[str, Any]) -> str:
    joined = tensor.get("Format/Datatype")
    parts = [joined] if joined else [tensor.get(key) for key in ("Format", "Datatype", "DataType")]
    return " ".join(str(part) for part in parts if part)


def _precision(formats: Iterable[str]) -> str:
    for text in formats:
        for name, pattern in _PRECISIONS:
            if re.search(pattern, text, re.IGNORECASE):
                return name
    return ""


def precision_shares(layers: Iterable[Layer]) -> dict[str, float]:
    """The share of layers in each precision, of those that compute with numbers; empty where none tells. UNREPORTED are
    fused ones."""
    counts = collections.Counter(layer.precision for layer in layers if layer.precision in {*_FLOATING, UNREPORTED})
    return {name: count / counts.total() for name, count in sorted(counts.items())}
