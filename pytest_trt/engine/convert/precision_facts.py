"""Find what a precision means for a model before anything is built: what stays in fp32, and why it is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_trt.core.model_facts import KeptNodes, PrecisionFacts
from pytest_trt.engine.convert import half, int8_compat, qdq
from pytest_trt.engine.convert.exact_numbers import find_exact_numbers
from pytest_trt.engine.convert.keep_fp32 import find_fp32_nodes
from pytest_trt.engine.convert.qdq import INTEGER_OPERATORS, QUANTISED_OPERATORS
from pytest_trt.engine.onnx import rewrite, traverse
from pytest_trt.errors import BuildError
from pytest_trt.spec.engine_spec import Precision

_EXPLAINED_BY_NOTES = "they compute with values beyond float16's range"
_NO_CONSTANT_WEIGHTS = "their weights are computed, or they compute with whole numbers beyond 256"
_ODD_GROUPS = "int8 kernels take only groups whose number of channels is a multiple of 4"


def describe_precision(model: Path, precision: Precision, scratch: Path) -> PrecisionFacts:
    """Return what a precision means for a model that is built in its own types, as TensorRT 11 and RTX build it.

    Args:
        model: The model's file.
        precision: The precision.
        scratch: A folder for temporary files.

    Raises:
        ModelError: The model contradicts itself, or onnx cannot read it.
    """
    typed = rewrite.load_typed(model, scratch)
    if precision in ("fp16", "bf16"):
        return _describe_half(model, typed, precision)
    if precision in ("int8", "fp8"):
        return _describe_quantised(model, typed, precision)
    return PrecisionFacts(precision=precision)


def _describe_half(model: Path, typed: Any, precision: half.HalfPrecision) -> PrecisionFacts:
    """Return what a half precision means: the nodes that stay float32 among those with float32 inputs or outputs."""
    if "fp32" not in (shares := half.float_shares(typed)):
        if precision in shares:
            note = f"the model is in {precision} already: it is not converted"
            return PrecisionFacts(precision=precision, notes=(note,))
        return PrecisionFacts(precision=precision, refusal="the model has no float32 operators")
    source = rewrite.load_normalised(typed, model)
    qdq.fold_int32_biases(source)
    source = half.upgrade_qdq(source)
    kept = find_fp32_nodes(source, precision)
    types = traverse.tensor_types(source)
    nodes = [n for n in traverse.nodes(source) if any(types.get(name) == "FLOAT" for name in (*n.input, *n.output))]
    reasons = [(kept.reasons_by_node[n.name] or _EXPLAINED_BY_NOTES, n) for n in nodes if n.name in kept.nodes]
    refusal = "every operator stays in fp32" if len(reasons) == len(nodes) else ""
    return PrecisionFacts(
        precision=precision, nodes=len(nodes), kept=_group(reasons), notes=kept.notes, refusal=refusal
    )


def _describe_quantised(model: Path, typed: Any, precision: Precision) -> PrecisionFacts:
    """Return what int8 or fp8 means: the share of a model with Q/DQ, or the operators that int8 would quantise."""
    operators = Counter(node.op_type for node in traverse.nodes(typed))
    shares = qdq.quantised_shares(typed) if operators["DequantizeLinear"] else {}
    if precision in shares:
        note = (
            f"the model has Q/DQ: {shares[precision]:.0%} of the operators that could be quantised are in {precision}"
        )
        return PrecisionFacts(precision=precision, notes=(note,))
    if precision == "fp8":
        return PrecisionFacts(precision=precision, refusal="the model has no Q/DQ in fp8: quantise it first")
    if integer := sorted(operators.keys() & INTEGER_OPERATORS):
        return PrecisionFacts(
            precision=precision, refusal=f"the model already computes in integers: {', '.join(integer)}"
        )
    source = rewrite.load_normalised(typed, model)
    try:
        int8_compat.check_weights_finite(source)
    except BuildError as error:
        return PrecisionFacts(precision=precision, refusal=str(error))
    selected = int8_compat.prepare_nodes(source, find_exact_numbers(source, "bf16").nodes)
    nodes = [node for node in source.graph.node if node.op_type in QUANTISED_OPERATORS]
    excluded, grouped = set(selected.excluded), set(selected.grouped)
    reasons = [(_ODD_GROUPS if n.name in grouped else _NO_CONSTANT_WEIGHTS, n) for n in nodes if n.name in excluded]
    refusal = "" if len(reasons) < len(nodes) else f"it has none of {', '.join(QUANTISED_OPERATORS)} to quantise"
    note = (
        f"int8 quantises {', '.join(QUANTISED_OPERATORS)} with constant weights; all other operators compute in floats"
    )
    return PrecisionFacts(precision=precision, nodes=len(nodes), kept=_group(reasons), notes=(note,), refusal=refusal)


def _group(reasons: Iterable[tuple[str, Any]]) -> tuple[KeptNodes, ...]:
    """Return nodes by reason and operator."""
    found: dict[str, dict[str, list[str]]] = {}
    for reason, node in reasons:
        found.setdefault(reason, {}).setdefault(node.op_type, []).append(node.name)
    return tuple(
        KeptNodes(reason=reason, nodes={operator: tuple(names) for operator, names in by_operator.items()})
        for reason, by_operator in found.items()
    )
