"""What stays float32 in a model that becomes float16 or bfloat16, and what is clipped."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_trt.backends import onnx_parts
from pytest_trt.engine import arithmetic, casts, rewrite

FLOAT16_MAX = 65504.0

_WITH_WEIGHTS = frozenset((
    "BatchNormalization", "Conv", "ConvTranspose", "Gemm", "GroupNormalization", "InstanceNormalization",
    "LayerNormalization", "MatMul",
))  # fmt: skip
"""Operators that are wrong where their weights are clipped. What others add or compare with may well be: before a
Softmax a mask's -3.4e38 is as good as -65504, and -inf may not be; nor does it matter to the limits of a Clip."""

_LACKING = {
    "fp16": frozenset(("MeanVarianceNormalization",)),
    "bf16": frozenset((
        "ConvTranspose", "GRU", "GlobalLpPool", "HardSwish", "LpNormalization", "LpPool", "MeanVarianceNormalization",
        "Mish", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Shrink",
    )),
}  # fmt: skip
"""Operators that TensorRT-RTX 1.7 parses or builds in float32, and not in these (each was tried alone)."""

_HALVES = {"fp16": frozenset(("tensor(float16)",)), "bf16": frozenset(("tensor(float16)", "tensor(bfloat16)"))}
"""What an operator has to allow by its definition. Many took bfloat16 in after TensorRT did."""

_SCALES = frozenset(("Resize", "Upsample"))
"""Operators of which only the scales are float32 alone, and these converters leave so."""

_LENGTHS = 4
"""The input at which recurrent operators may be given the lengths of their sequences."""


@dataclasses.dataclass(frozen=True)
class Exempt:
    """`nodes`: names of nodes that are to stay float32. `notes`: on weights that float16 does not hold."""

    nodes: set[str]
    notes: list[str]


def exempt(model: Any, half: str) -> Exempt:
    """What stays float32 in `model`, whose nodes get names for it.

    That is operators with weights that float16 does not hold; those that compute shapes and positions; those that ONNX
    defines for float32 and not for halves; and those that TensorRT does not take: some in any case;
    recurrent ones with sequences of several lengths, on which its parser fails in any half precision ("ISelectLayer
    must have `thenInput` and `elseInput` of same types", TensorRT-RTX 1.7). It is so in the main graph alone:
    converters put there all the casts that it takes.
    """
    wide = list(_beyond_float16(onnx_parts.tensors(model))) if half == "fp16" else []
    kept = _kept(model.graph, {tensor.name for tensor in wide})
    kinds, halves = rewrite.types(model.graph), _HALVES[half]
    exact = {place for place, node in enumerate(model.graph.node) if not kept.isdisjoint(node.input)}
    exact |= arithmetic.on_integers(model.graph, exact)
    nodes = set[str]()
    for place, node in enumerate(model.graph.node):
        lengths = node.op_type in casts.RECURRENT and any(node.input[_LENGTHS : _LENGTHS + 1])
        if lengths or node.op_type in _LACKING[half] or place in exact or _is_float32_alone(node, kinds, halves, model):
            node.name = node.name or f"{node.op_type}#{place}"
            nodes.add(node.name)
    clipped = [tensor.name or "a constant" for tensor in wide if tensor.name not in kept]
    return Exempt(nodes, [
        *_note(sorted(kept), "values beyond float16's range: what computes with them stays fp32"),
        *_note(clipped, f"values beyond float16's range were clipped to {FLOAT16_MAX:g}"),
    ])  # fmt: skip


def _kept(graph: Any, wide: set[str]) -> set[str]:
    """Of the weights that float16 does not hold, those that operators of the main graph compute with, and nobody else
    reads."""
    stored = {tensor.name for tensor in graph.initializer}
    kept, others = set[str](), set[str]()
    for node in graph.node:
        (kept if node.op_type in _WITH_WEIGHTS else others).update(rewrite.read_by(node))
    return wide & stored & kept - others


def _beyond_float16(tensors: Iterable[Any]) -> Iterator[Any]:
    """Those with finite float32 values beyond float16's range."""
    import numpy as np
    from onnx import numpy_helper

    for tensor in tensors:
        if tensor.data_type == tensor.FLOAT:
            values = np.abs(numpy_helper.to_array(tensor))
            if np.any((values > FLOAT16_MAX) & np.isfinite(values)):
                yield tensor


def _is_float32_alone(node: Any, kinds: Mapping[str, str], halves: frozenset[str], model: Any) -> bool:
    """Whether ONNX gives something float32 that the node reads or makes no type of `halves`, in the model's opset."""
    import onnx

    domain = node.domain if node.domain != "ai.onnx" else ""
    opset = next((entry.version for entry in model.opset_import if entry.domain in (domain, node.domain)), 0)
    if node.op_type in _SCALES or not onnx.defs.has(node.op_type, opset, domain):
        return False
    schema = onnx.defs.get_schema(node.op_type, opset, domain)
    allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    names = [*zip(node.input, schema.inputs, strict=False), *zip(node.output, schema.outputs, strict=False)]
    return any(
        kinds.get(name) == "FLOAT" and halves.isdisjoint(allowed.get(formal.type_str, [formal.type_str]))
        for name, formal in names
    )


def _note(names: list[str], said: str) -> list[str]:
    return [f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}: {said}"] if names else []
