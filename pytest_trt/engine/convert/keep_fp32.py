"""Find the nodes that stay float32 in a half precision model, and the weights that are clipped or may overflow."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_trt.engine.convert import casts
from pytest_trt.engine.convert.exact_numbers import find_exact_numbers
from pytest_trt.engine.convert.float16_range import FLOAT16_MAX, find_out_of_range, weights_beyond_float16
from pytest_trt.engine.convert.float32_borders import Border, find_borders
from pytest_trt.engine.convert.number_flow import node_key
from pytest_trt.engine.onnx import traverse

_UNSUPPORTED = {
    "fp16": frozenset(("MeanVarianceNormalization",)),
    "bf16": frozenset((
        "ConvTranspose", "GRU", "GlobalLpPool", "HardSwish", "LpNormalization", "LpPool", "MeanVarianceNormalization",
        "Mish", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Shrink",
    )),
}  # fmt: skip
"""Operators that TensorRT-RTX 1.7 parses or builds in float32, but not in the half precision. Each was tried alone."""

_ONNX_TYPES = {"fp16": frozenset(("tensor(float16)",)), "bf16": frozenset(("tensor(float16)", "tensor(bfloat16)"))}
"""The types of which ONNX's definition of an operator must allow one. For bf16, float16 is enough: many operators allow
bfloat16 only in opsets that are later than TensorRT's support."""

_SCALED = frozenset(("Resize", "Upsample"))
"""Operators of which only the scales must be float32. The float16 converters leave these scales float32."""

_TYPES_CONVERTED = frozenset((
    "Bernoulli", "Cast", "ConcatFromSequence", "Constant", "ConstantOfShape", "EyeLike", "If", "Loop", "Multinomial",
    "Optional", "OptionalGetElement", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Scan",
    "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SplitToSequence",
))  # fmt: skip
"""Operators whose results have a type that is no input's, and that the float16 converters convert nevertheless."""

_LENGTHS_INPUT = 4
"""The index of the input of recurrent operators that has the lengths of their sequences."""

_NUMBERS_REASON = "whole numbers, shapes and positions are computed in fp32"


@dataclasses.dataclass(frozen=True)
class Fp32Nodes:
    """The nodes that stay float32 in a half precision model.

    Attributes:
        reasons_by_node: Why each node stays float32, by its name; empty for a node that a note explains.
        notes: Notes on weights that exceed float16's range.
        borders: The results of nodes with graphs inside that stay float32.
    """

    reasons_by_node: Mapping[str, str] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    borders: frozenset[Border] = frozenset()

    @property
    def nodes(self) -> frozenset[str]:
        """The names of the nodes."""
        return frozenset(self.reasons_by_node)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons that no note explains, without repetition."""
        return tuple(dict.fromkeys(filter(None, self.reasons_by_node.values())))


def find_fp32_nodes(model: Any, precision: str) -> Fp32Nodes:
    """Return the nodes of `model` that stay float32. Nodes without a name get one.

    These nodes stay float32:

    - Nodes that compute with values that exceed float16's range. Such values are followed in the main graph alone.
    - Nodes that compute whole numbers, shapes or positions that the half precision cannot hold.
    - Operators that ONNX defines for float32, but not for the half precision.
    - Operators whose results have the type that an attribute sets, such as a window.
    - Operators that TensorRT does not support in the half precision. Among them are recurrent operators with the
      lengths of their sequences as an input, for which its parser fails in any half precision ("ISelectLayer must have
      `thenInput` and `elseInput` of same types", TensorRT-RTX 1.7).

    Args:
        model: The normalised model (rewrite.load_normalised), whose nodes are sorted.
        precision: The half precision, fp16 or bf16.
    """
    graphs = list(traverse.graphs(model))
    types = traverse.tensor_types(model)
    stored = {tensor.name for graph in graphs for tensor in graph.initializer}
    beyond = weights_beyond_float16(traverse.tensors(model)) if precision == "fp16" else {}
    out_of_range = find_out_of_range(model, types, beyond)
    large = {node_key(model.graph.node[position]) for position in out_of_range.nodes}
    exact = find_exact_numbers(model, precision, large)
    borders = find_borders(model, exact.borders)
    kept, rounded = dict[str, str](), set[str]()
    for number, graph in enumerate(graphs):
        for position, node in enumerate(graph.node):
            key = node_key(node)
            reason = _NUMBERS_REASON if key in exact.nodes else _reason(node, types, precision, model)
            if reason or key in large:
                node.name = node.name or f"{node.op_type}#{number}.{position}"
                kept[node.name] = reason
            else:
                rounded.update(node.input)
    clipped = [name or "a constant" for name in beyond if name in rounded or name not in stored]
    notes = (
        *_note(
            out_of_range.weights,
            "values beyond float16's range: the operators that compute with them stay fp32, and so do those after "
            "them, until the values are normalised, scaled down or read by a layer",
        ),
        *_note(
            out_of_range.risky,
            "computed in fp32 from values beyond float16's range, then converted to fp16, where it may overflow",
        ),
        *_note(clipped, f"values beyond float16's range were clipped to {FLOAT16_MAX:g}"),
    )
    return Fp32Nodes(kept, notes, borders)


def _reason(node: Any, types: Mapping[str, str], precision: str, model: Any) -> str:
    """Return why a node cannot run in the half precision, or "" if it can."""
    if node.op_type in casts.RECURRENT and any(node.input[_LENGTHS_INPUT : _LENGTHS_INPUT + 1]):
        return "TensorRT runs recurrent layers with an input of sequence lengths only in fp32"
    if node.op_type in _UNSUPPORTED[precision]:
        return f"TensorRT has no {node.op_type} in {precision}"
    if (schema := _schema(node, model)) is None or node.op_type in _SCALED:
        return ""
    if _is_float32_only(node, schema, types, precision):
        return f"ONNX has no {node.op_type} in {precision}"
    return f"an attribute sets the type of {node.op_type}" if _is_type_fixed(node, schema, types) else ""


def _schema(node: Any, model: Any) -> Any:
    """Return ONNX's definition of a node's operator in the model's opset, or None if it has none."""
    import onnx

    domain = node.domain if node.domain != "ai.onnx" else ""
    version = next((entry.version for entry in model.opset_import if entry.domain in (domain, node.domain)), 0)
    known = onnx.defs.has(node.op_type, version, domain)
    return onnx.defs.get_schema(node.op_type, version, domain) if known else None


def _is_type_fixed(node: Any, schema: Any, types: Mapping[str, str]) -> bool:
    """Return whether a float32 result of the node stays float32 if its inputs become float16, or the node is invalid.

    Attributes set the types of a window, of a BitCast, or of the mean that a LayerNormalization returns.
    """
    from onnx import TensorProto, helper, shape_inference

    by_inputs = {formal.type_str for formal in schema.inputs}
    if node.op_type in _TYPES_CONVERTED or all(formal.type_str in by_inputs for formal in schema.outputs):
        return False
    read = {name: types.get(name, "UNDEFINED") for name in node.input if name}
    halved = {name: "FLOAT16" if kind == "FLOAT" else kind for name, kind in read.items() if kind != "UNDEFINED"}
    declared = {name: helper.make_tensor_type_proto(TensorProto.DataType.Value(halved[name]), None) for name in halved}
    try:
        inferred = shape_inference.infer_node_outputs(schema, node, declared)
    except Exception:  # noqa: BLE001 - inference errors share no base but Exception
        return True
    return any(kind.tensor_type.elem_type == TensorProto.FLOAT for kind in inferred.values())


def _is_float32_only(node: Any, schema: Any, types: Mapping[str, str], precision: str) -> bool:
    """Return whether a float32 input or output of the node must not be of the half precision."""
    allowed = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    names = [*zip(node.input, schema.inputs, strict=False), *zip(node.output, schema.outputs, strict=False)]
    return any(
        types.get(name) == "FLOAT"
        and _ONNX_TYPES[precision].isdisjoint(allowed.get(formal.type_str, [formal.type_str]))
        for name, formal in names
    )


def _note(names: Sequence[str], text: str) -> list[str]:
    """Return a note on the named weights or tensors, if there are any."""
    return [f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''}: {text}"] if names else []
