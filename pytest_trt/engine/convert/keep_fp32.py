"""What stays float32 in a model that becomes float16 or bfloat16, and what is clipped or may overflow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_trt.engine.convert import casts, shape_arithmetic
from pytest_trt.engine.convert.float16_range import FLOAT16_MAX, find_out_of_range, weights_beyond_float16
from pytest_trt.engine.onnx import traverse

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

_SHAPES = "shapes and positions are computed in fp32"
_LENGTHS = 4
"""The input at which recurrent operators may be given the lengths of their sequences."""


@dataclasses.dataclass(frozen=True)
class Fp32Nodes:
    """`nodes`: names of nodes that are to stay float32. `notes`: on weights that float16 does not hold. `reasons`: why
    others of these nodes stay."""

    nodes: set[str]
    notes: list[str]
    reasons: list[str]


def find_fp32_nodes(model: Any, half: str) -> Fp32Nodes:
    """What stays float32 in `model`, whose graph is sorted and whose nodes get names for it.

    That is what computes with values that float16 does not hold, or shapes and positions; operators that ONNX defines
    for float32 and not for halves; and those that TensorRT does not take: some in any case; recurrent ones with
    sequences of several lengths, on which its parser fails in any half precision ("ISelectLayer must have `thenInput`
    and `elseInput` of same types", TensorRT-RTX 1.7). How far values beyond float16's range go is followed in the main
    graph alone.
    """
    graphs = list(traverse.graphs(model))
    kinds = traverse.tensor_types(model)
    stored = {tensor.name for graph in graphs for tensor in graph.initializer}
    beyond = weights_beyond_float16(traverse.tensors(model)) if half == "fp16" else {}
    beside = find_out_of_range(model.graph, kinds, beyond)
    nodes, rounded, reasons = set[str](), set[str](), list[str]()
    for number, graph in enumerate(graphs):
        exact = frozenset() if number else beside.nodes
        whole = shape_arithmetic.find_shape_arithmetic(graph, kinds, stored, exact)
        for place, node in enumerate(graph.node):
            reason = _SHAPES if place in whole else _reason(node, kinds, half, model)
            if reason or place in exact:
                node.name = node.name or f"{node.op_type}#{number}.{place}"
                nodes.add(node.name)
                reasons.append(reason)
            else:
                rounded.update(node.input)
    clipped = [name or "a constant" for name in beyond if name in rounded or name not in stored]
    return Fp32Nodes(nodes, [
        *_note(beside.weights, "values beyond float16's range: what computes with them stays fp32, and what follows, "
               "until it is normalised, scaled down or read by a layer"),
        *_note(beside.risky, "computed from values beyond float16's range, and fp16 again: if it is beyond it too, it "
               "overflows"),
        *_note(clipped, f"values beyond float16's range were clipped to {FLOAT16_MAX:g}"),
    ], list(dict.fromkeys(filter(None, reasons))))  # fmt: skip


def _reason(node: Any, kinds: Mapping[str, str], half: str, model: Any) -> str:
    """Why a node cannot be in that precision, if so."""
    if node.op_type in casts.RECURRENT and any(node.input[_LENGTHS : _LENGTHS + 1]):
        return "TensorRT takes recurrent layers that are given the lengths of sequences in fp32 alone"
    if node.op_type in _LACKING[half]:
        return f"TensorRT has no {node.op_type} in {half}"
    return f"ONNX has no {node.op_type} in {half}" if _is_float32_alone(node, kinds, half, model) else ""


def _is_float32_alone(node: Any, kinds: Mapping[str, str], half: str, model: Any) -> bool:
    """Whether ONNX allows something float32 that the node reads or makes in no such half precision, in the model's
    opset."""
    import onnx

    domain = node.domain if node.domain != "ai.onnx" else ""
    opset = next((entry.version for entry in model.opset_import if entry.domain in (domain, node.domain)), 0)
    if node.op_type in _SCALES or not onnx.defs.has(node.op_type, opset, domain):
        return False
    schema = onnx.defs.get_schema(node.op_type, opset, domain)
    allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    names = [*zip(node.input, schema.inputs, strict=False), *zip(node.output, schema.outputs, strict=False)]
    return any(
        kinds.get(name) == "FLOAT" and _HALVES[half].isdisjoint(allowed.get(formal.type_str, [formal.type_str]))
        for name, formal in names
    )


def _note(names: Sequence[str], said: str) -> list[str]:
    return [f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}: {said}"] if names else []
