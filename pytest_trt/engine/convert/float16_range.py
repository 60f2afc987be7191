"""Find weights that exceed float16's range, the nodes that compute with them, and how far their results reach."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_trt.engine.convert.masks import Masks

FLOAT16_MAX = 65504.0

_LAYERS = frozenset(("Conv", "ConvTranspose", "DeformConv", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"))
_NORMALISING = frozenset((
    "BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization",
    "MeanVarianceNormalization", "RMSNormalization",
))  # fmt: skip
_SCALING = frozenset(("Add", "Div", "Mod", "Mul", "PRelu", "Pow", "Sub"))
"""Together with _LAYERS and _NORMALISING, the operators whose results are wrong if their weights are clipped.

The weights of other operators may be clipped. Before a Softmax, a mask of -3.4e38 works as well as -65504, whereas -inf
may not; and the limits of a Clip may be smaller."""

_BOUNDED = _NORMALISING | frozenset((
    "Cos", "Erf", "HardSigmoid", "Hardmax", "Log", "LogSoftmax", "Sigmoid", "Sign", "Sin", "Softmax", "Softsign",
    "Sqrt", "Tanh",
))  # fmt: skip
"""Operators whose results are small for any input. For Sqrt this holds up to the square of float16's maximum."""


@dataclasses.dataclass(frozen=True)
class OutOfRange:
    """The nodes and tensors of a graph that exceed float16's range.

    Attributes:
        nodes: The positions of the nodes that must compute in float32.
        weights: The names of the weights that exceed the range and that these nodes compute with.
        risky: The names of results that are converted to float16, although they may exceed its range.
    """

    nodes: frozenset[int]
    weights: tuple[str, ...]
    risky: tuple[str, ...]


def find_out_of_range(model: Any, types: Mapping[str, str], beyond: Mapping[str, float]) -> OutOfRange:
    """Return the nodes of the main graph that must compute in float32 because of weights that exceed float16's range.

    These are the nodes that compute with such weights and the nodes that read their results, until an operator makes
    the values small again: one that normalises, saturates or scales them down. A layer ends the search too: its own
    weights may scale the values down, but need not. If the magnitude of a tensor is not known, it is assumed to be of
    the order of 1.

    Args:
        model: The model, whose nodes are sorted.
        types: The types of the model's tensors (traverse.tensor_types).
        beyond: The weights that exceed the range, with their largest magnitudes (weights_beyond_float16).
    """
    graph, masks = model.graph, Masks(model)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes, weights, risky, magnitudes = set[int](), set[str](), list[str](), dict[str, float]()
    for position, node in enumerate(graph.node):
        own = {name for name in node.input if name in beyond and name in stored and _matters(node, stored[name], masks)}
        read = [magnitudes[name] for name in node.input if name in magnitudes]
        if not own and not read:
            continue
        nodes.add(position)
        weights |= own
        results = [name for name in node.output if types.get(name) == "FLOAT"]
        magnitude = _result_magnitude(
            node, stored, max(read, default=1.0), max((beyond[name] for name in own), default=1.0)
        )
        if node.op_type in _LAYERS and not own:
            risky += results
        elif magnitude > FLOAT16_MAX and not (node.op_type in _BOUNDED and own.isdisjoint(node.input[1:3])):
            magnitudes.update(dict.fromkeys(results, magnitude))
    return OutOfRange(frozenset(nodes), tuple(sorted(weights)), tuple(risky))


def _result_magnitude(node: Any, stored: Mapping[str, Any], read: float, own: float) -> float:
    """Return the magnitude of a node's results.

    Args:
        node: The node.
        stored: The graph's weights.
        read: The largest magnitude of its computed inputs.
        own: The largest magnitude of its weights that exceed float16's range.
    """
    import numpy as np
    from onnx import numpy_helper

    if node.op_type not in ("Mul", "Div") or not (factors := [stored[name] for name in node.input if name in stored]):
        return max(read, own)
    factor = np.abs(numpy_helper.to_array(factors[-1]).astype(float))
    if node.op_type == "Mul":
        return read * float(factor.max(initial=0.0))
    if node.input[1] in stored:
        return read / max(float(factor.min(initial=np.inf)), np.finfo(float).tiny)
    return max(read, own)


def _matters(node: Any, weight: Any, masks: Masks) -> bool:
    """Return whether clipping this weight of a node changes the model's results."""
    if node.op_type in _SCALING:
        return not (masks.contain_results(node) or (node.op_type in ("Add", "Sub") and _is_mask_weight(weight)))
    return node.op_type in _LAYERS or node.op_type in _NORMALISING


def _is_mask_weight(weight: Any) -> bool:
    """Return whether a weight that is added is a mask.

    Some of its values are 0; all others are negative and exceed float16's range.
    """
    import numpy as np
    from onnx import numpy_helper

    values = numpy_helper.to_array(weight)
    hidden = np.abs(values) > FLOAT16_MAX
    return bool((values[hidden] < 0).all() and (values[~hidden] == 0).all() and not hidden.all())


def weights_beyond_float16(tensors: Iterable[Any]) -> dict[str, float]:
    """Return the largest finite magnitude of each float32 tensor that has values beyond float16's range, by name."""
    import numpy as np
    from onnx import numpy_helper

    found = {}
    for tensor in tensors:
        if tensor.data_type == tensor.FLOAT:
            values = np.abs(numpy_helper.to_array(tensor))
            largest = float(np.max(values, where=np.isfinite(values), initial=0.0))
            if largest > FLOAT16_MAX:
                found[tensor.name] = largest
    return found
