"""Read what TensorRT's inspector reports about the layers of an engine, in the format of any version."""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_trt.core.precision import UNREPORTED
from pytest_trt.core.records import Layer

_PRECISIONS = (
    ("fp8", r"fp8"), ("fp4", r"fp4"), ("int4", r"int4"), ("bf16", r"bf16|bfloat16"),
    ("fp16", r"fp16|half|float16|_f16f16_"), ("int8", r"int8|_i8i8_"), ("fp32", r"fp32|float32|float\b|_f32f32_"),
)  # fmt: skip
"""The patterns by which a precision is found in the name of a tensor format, or else of a kernel."""

_NAMED_PRECISIONS = frozenset(name for name, _ in _PRECISIONS)

_FUSED_PREFIX = "{ForeignNode["
"""How the name of a fused layer begins. It holds a whole part of the network, such as a transformer block, and its
inputs and outputs may be FP32 whatever precision it computes in."""


def read_inspector_json(text: str) -> Mapping[str, Any]:
    """Parse the inspector's text into values that standard JSON can represent.

    TensorRT 8.6 does not escape control characters, which are accepted. NaN and Infinity are kept as text.
    """
    information: Mapping[str, Any] = json.loads(text or "{}", strict=False, parse_constant=str)
    return information


def parse_layers(information: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Return the layers of an engine in the inspector's order.

    The inspector describes a layer by its name alone (verbosity `layer_names_only`) or by an object. Up to TensorRT 10,
    a tensor's format and type are one text, `Format/Datatype`; from TensorRT 11 on, they are two fields.

    Args:
        information: The inspector's report, as `read_inspector_json` returns it.
    """
    return tuple(_parse_layer(item) for item in information.get("Layers", ()))


def _parse_layer(item: str | Mapping[str, Any]) -> Layer:
    if isinstance(item, str):
        return Layer(item)
    inputs, outputs = ([_format(tensor) for tensor in item.get(key) or ()] for key in ("Inputs", "Outputs"))
    metadata = re.findall(r"\[ONNX Layer: ([^\]]*)\]", str(item.get("Metadata", "")))
    name = str(item.get("Name", ""))
    precision = _precision([str(item.get("Precision", "")), *outputs, *inputs, str(item.get("TacticName", ""))])
    if name.startswith(_FUSED_PREFIX) and precision == "fp32":
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
    """Return the share of layers in each precision, among the layers whose precision is known or UNREPORTED.

    The result is empty if no layer reports a precision. UNREPORTED counts fused layers.
    """
    precisions = {*_NAMED_PRECISIONS, UNREPORTED}
    counts = collections.Counter(layer.precision for layer in layers if layer.precision in precisions)
    return {name: count / counts.total() for name, count in sorted(counts.items())}
