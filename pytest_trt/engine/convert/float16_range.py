"""Values beyond float16's range: which weights have them, what computes with those, and how far their results go."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_trt.engine.onnx import traverse

FLOAT16_MAX = 65504.0

_LAYERS = frozenset(("Conv", "ConvTranspose", "DeformConv", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN"))
_NORMALISING = frozenset((
    "BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LpNormalization",
    "MeanVarianceNormalization", "RMSNormalization",
))  # fmt: skip
_SCALING = frozenset(("Add", "Div", "Mod", "Mul", "PRelu", "Pow", "Sub"))
"""With the layers and norms, operators that are wrong where their weights are clipped. What others read may well be:
before a Softmax a mask's -3.4e38 is as good as -65504, and -inf may not be; nor does it matter to the limits of a
Clip."""

_BOUNDED = _NORMALISING | frozenset((
    "Cos", "Erf", "HardSigmoid", "Hardmax", "Log", "LogSoftmax", "Sigmoid", "Sign", "Sin", "Softmax", "Softsign",
    "Sqrt", "Tanh",
))  # fmt: skip
"""Operators whose results are small whatever they are given; that of Sqrt, up to the square of what float16 holds."""

_JOINING = frozenset(("Add", "Sub", "Where"))
_MASKING = _JOINING | frozenset((
    "Cast", "Clip", "Concat", "Div", "Expand", "Gather", "Identity", "Max", "Min", "Mul", "Reshape", "Slice", "Squeeze",
    "Tile", "Transpose", "Unsqueeze",
))  # fmt: skip
"""What a mask meets what it masks in, and what it goes through before and behind that."""


@dataclasses.dataclass(frozen=True)
class OutOfRange:
    """`nodes`: where in the graph those stand that have to compute in float32, with `weights` or what is made of these;
    `risky` is what they make of it that may be beyond float16's range, and is float16 again."""

    nodes: frozenset[int]
    weights: tuple[str, ...]
    risky: tuple[str, ...]


def find_out_of_range(graph: Any, kinds: Mapping[str, str], beyond: Mapping[str, float]) -> OutOfRange:
    """What float16 does not hold in a graph, which is sorted. `kinds` are the types of its tensors
    (traverse.tensor_types), and `beyond` the weights, with their largest magnitudes.

    What computes with them is float32, and so is what reads the results, until an operator makes them small again: one
    that normalises, saturates, or scales. A layer is the last, for its own weights may do that too, or may not. Where
    nothing else is known, a tensor is taken to be of the order of 1.
    """
    stored = {tensor.name: tensor for tensor in graph.initializer}
    outlook = _Consumers(graph)
    nodes, weights, risky, sizes = set[int](), set[str](), list[str](), dict[str, float]()
    for place, node in enumerate(graph.node):
        own = {name for name in node.input if name in beyond and name in stored and outlook.counts(node, stored[name])}
        read = [sizes[name] for name in node.input if name in sizes]
        if not own and not read:
            continue
        nodes.add(place)
        weights |= own
        results = [name for name in node.output if kinds.get(name) == "FLOAT"]
        size = _result_magnitude(node, stored, max(read, default=1.0), max((beyond[name] for name in own), default=1.0))
        if node.op_type in _LAYERS and not own:
            risky += results
        elif size > FLOAT16_MAX and not (node.op_type in _BOUNDED and own.isdisjoint(node.input[1:3])):
            sizes.update(dict.fromkeys(results, size))
    return OutOfRange(frozenset(nodes), tuple(sorted(weights)), tuple(risky))


def _result_magnitude(node: Any, stored: Mapping[str, Any], read: float, own: float) -> float:
    """How large the results of a node are."""
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


class _Consumers:
    """Where the results of a graph's nodes go."""

    def __init__(self, graph: Any) -> None:
        self._outputs = {value.name for value in graph.output}
        self._readers: dict[str, list[Any]] = defaultdict(list)
        for node in graph.node:
            for name in set(traverse.names_read(node)):
                self._readers[name].append(node)

    def counts(self, node: Any, weight: Any) -> bool:
        """Whether it matters to a node that a weight is what it is."""
        if node.op_type in _SCALING:
            return not (self._is_mask(node) or (node.op_type in ("Add", "Sub") and _is_mask_weight(weight)))
        return node.op_type in _LAYERS or node.op_type in _NORMALISING

    def _is_mask(self, node: Any) -> bool:
        """Whether the results are added to what goes into a Softmax, all of them, and do nothing else."""
        waiting, seen = [(node.output[0], node.op_type in _JOINING)], set[tuple[str, bool]]()
        while waiting:
            name, joined = waiting.pop()
            if name in self._outputs or not self._readers[name]:
                return False
            for reader in self._readers[name]:
                if reader.op_type in ("LogSoftmax", "Softmax") and joined:
                    continue
                if reader.op_type not in _MASKING:
                    return False
                if (result := (reader.output[0], joined or reader.op_type in _JOINING)) not in seen:
                    seen.add(result)
                    waiting.append(result)
        return True


def _is_mask_weight(weight: Any) -> bool:
    """Whether a weight that is added is a mask: nothing here, and beyond the range and negative there."""
    import numpy as np
    from onnx import numpy_helper

    values = numpy_helper.to_array(weight)
    hidden = np.abs(values) > FLOAT16_MAX
    return bool((values[hidden] < 0).all() and (values[~hidden] == 0).all() and not hidden.all())


def weights_beyond_float16(tensors: Iterable[Any]) -> dict[str, float]:
    """The names of those with finite float32 values beyond float16's range, and the largest magnitudes of these."""
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
