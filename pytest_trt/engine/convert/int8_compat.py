"""Adapt a model to ONNX Runtime's quantiser, to ONNX Runtime's int8 kernels and to TensorRT's parser."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence, Set
from typing import Any

from pytest_trt.engine.convert.number_flow import node_key
from pytest_trt.engine.convert.qdq import QUANTISED_OPERATORS, dequantised_tensors
from pytest_trt.engine.onnx import traverse
from pytest_trt.errors import BuildError

_MATRIX_RANK = 2
"""The rank of a MatMul's weights that have a scale for each column."""

_GROUP_MULTIPLE = 4
"""In int8, the numbers of input and output channels of a convolution's group are multiples of this (TensorRT's API
reference, IConvolutionLayer, num_groups). For other groups TensorRT 8.6 could "not find any implementation", and the
build failed."""


def check_weights_finite(model: Any) -> None:
    """Raise BuildError if a weight or bias of the QUANTISED_OPERATORS contains NaN or infinities: it has no range."""
    import numpy as np
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in traverse.tensors(model)}
    read = (name for node in traverse.nodes(model) if node.op_type in QUANTISED_OPERATORS for name in node.input)
    for name in dict.fromkeys(name for name in read if name in weights):
        array = numpy_helper.to_array(weights[name])
        if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
            count = array.size - np.count_nonzero(finite)
            raise BuildError(
                f"int8 needs weights that are numbers, and {name!r} holds {count} NaN or infinities of {array.size} "
                "values: train or export the model again"
            )


def add_kernel_shapes(model: Any) -> None:
    """Add the kernel's shape to each convolution that does not declare it.

    TensorRT 8.6 does not derive it from weights behind a DequantizeLinear ("The input tensor shape misaligns with the
    input kernel shape").
    """
    import onnx

    dims = {tensor.name: tensor.dims for tensor in traverse.tensors(model)}
    for node in traverse.nodes(model):
        declared = any(attribute.name == "kernel_shape" for attribute in node.attribute)
        if node.op_type in ("Conv", "ConvTranspose") and node.input[1] in dims and not declared:
            node.attribute.append(onnx.helper.make_attribute("kernel_shape", list(dims[node.input[1]][2:])))


@dataclasses.dataclass(frozen=True)
class SelectedNodes:
    """Which operators are quantised, and how.

    Attributes:
        excluded: The names of the nodes that are not quantised.
        grouped: Those among them whose groups of channels int8 kernels do not take.
        one_scale: The names of the weights that get one scale, not one for each channel.
    """

    excluded: Sequence[str]
    grouped: Sequence[str]
    one_scale: Sequence[str]


def prepare_nodes(model: Any, exact: Set[str] = frozenset()) -> SelectedNodes:
    """Select the operators to quantise, and give each its own weights, and a bias with a factor of 1.

    Operators without constant weights are excluded. A MatMul's weights of more than two dimensions get one scale: int8
    kernels know no channels of them.

    Args:
        model: The model, which is changed.
        exact: The keys (`node_key`) of further nodes that are excluded, because they compute with whole numbers.
    """
    _cast_weights(model.graph)
    nodes = [(number, node) for number, node in enumerate(model.graph.node) if node.op_type in QUANTISED_OPERATORS]
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for number, node in nodes:
        node.name = node.name or f"{node.op_type}#{number}"
        if node.op_type == "Gemm":
            _multiply_bias(model.graph, node, weights)
    constant = [node for _, node in nodes if node.input[1] in weights and node_key(node) not in exact]
    grouped = [node.name for node in constant if _has_odd_groups(node, weights[node.input[1]].dims)]
    selected = [node for node in constant if node.name not in grouped]
    names = {node.name for node in constant}
    excluded = [*(node.name for _, node in nodes if node.name not in names), *grouped]
    stacked = [n for n in selected if n.op_type == "MatMul" and len(weights[n.input[1]].dims) > _MATRIX_RANK]
    _copy_shared_weights(model, selected, weights)
    return SelectedNodes(excluded, grouped, [node.input[1] for node in stacked])


def _has_odd_groups(node: Any, dims: Sequence[int]) -> bool:
    """Return whether the groups of a convolution have sizes that int8 kernels do not take.

    They take multiples of 4. They also take groups of one channel, for which there are separate kernels (for a
    ConvTranspose only in later versions: TensorRT issue 1934).

    Args:
        node: The convolution, or another node.
        dims: The shape of its weights.
    """
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    if groups == 1 or node.op_type not in ("Conv", "ConvTranspose"):
        return False
    sizes = (dims[0] // groups, dims[1])
    return any(size % _GROUP_MULTIPLE for size in sizes) and (node.op_type, *sizes) != ("Conv", 1, 1)


def _cast_weights(graph: Any) -> None:
    """Apply the casts of weights: ONNX Runtime casts float16 weights to float32 with a node, to compute in float32."""
    from onnx import helper, numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    for node in list(graph.node):
        if node.op_type == "Cast" and node.input[0] in weights and node.output[0] not in outputs:
            dtype = helper.tensor_dtype_to_np_dtype(helper.get_node_attr_value(node, "to"))
            array = numpy_helper.to_array(weights[node.input[0]]).astype(dtype)
            graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
            graph.node.remove(node)


def _multiply_bias(graph: Any, node: Any, weights: dict[str, Any]) -> None:
    """Multiply a Gemm's constant bias by `beta`, which the quantiser replaces by 1 (onnxruntime 1.32, QDQGemm)."""
    from onnx import numpy_helper

    for attribute in node.attribute:
        if attribute.name == "beta" and attribute.f != 1 and len(node.input) > 2 and node.input[2] in weights:
            bias = numpy_helper.to_array(weights[node.input[2]])
            node.input[2] = f"{node.input[2]}_{node.name}"
            graph.initializer.append(numpy_helper.from_array(bias * bias.dtype.type(attribute.f), node.input[2]))
            attribute.f = 1.0


def _copy_shared_weights(model: Any, nodes: Sequence[Any], weights: dict[str, Any]) -> None:
    """Copy weights and biases that other nodes read too.

    ONNX Runtime (1.32) cannot load two operators that read one quantised weight, and an embedding that is also used as
    a projection need not be rounded for its look-up. ONNX Runtime's quantiser copies biases itself, but may give the
    copy the name of another tensor.
    """
    reads = Counter(name for node in model.graph.node for name in traverse.names_read(node))
    used = {*weights, *(name for node in model.graph.node for name in node.output)}
    for node in nodes:
        for index, name in enumerate(node.input):
            if index > 0 and name in weights and reads[name] > 1:
                reads[name] -= 1
                node.input[index] = _unused_name(f"{name}_{node.name}", used)
                copy = model.graph.initializer.add()
                copy.CopyFrom(weights[name])
                copy.name = node.input[index]


def _unused_name(name: str, used: set[str]) -> str:
    """Return `name`, lengthened until no tensor has it, and add it to the names that are used."""
    while name in used:
        name += "_"
    used.add(name)
    return name


def restore_unquantised_outputs(model: Any) -> None:
    """Make each output of the model the computed tensor, not its copy after Q/DQ.

    The quantiser replaces an output that a quantised operator reads too. TensorRT 8.6 failed on networks in which an
    output came from a DequantizeLinear ("mSet.size()").
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    names: dict[str, str] = {}
    for name in (value.name for value in model.graph.output):
        dequantise = made_by.get(name)
        if dequantise is not None and dequantise.op_type == "DequantizeLinear" and dequantise.input[0] in made_by:
            computed = made_by[dequantise.input[0]].input[0]
            if computed in made_by:  # otherwise it is an input of the model
                names.update({name: f"{name}_DequantizeLinear_Output", computed: name})
    for node in traverse.nodes(model):
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(tensor, tensor) for tensor in tensors]


def explain_unquantised(typed: Any) -> str:
    """Return why no operator of a typed model was quantised and what to do, as the end of a message."""
    weights = {tensor.name: tensor for tensor in traverse.tensors(typed)}
    dequantised = dequantised_tensors(typed)
    inner_graphs = [*traverse.graphs(typed)][1:]
    read = [node.input[:2] for node in typed.graph.node if node.op_type in QUANTISED_OPERATORS]
    if any(node.op_type in QUANTISED_OPERATORS for graph in inner_graphs for node in graph.node):
        return ": those inside an If, a Loop or a Scan stay as they are: leave int8 out"
    if any(right in weights and weights[right].data_type == weights[right].DOUBLE for _, right in read):
        return ": their weights are float64: export the model in float32"
    if any(right in dequantised for _, right in read):
        return (
            ": only their weights have Q/DQ, so they compute in float: request fp32 or fp16, or give the float model "
            "that this one was made from"
        )
    if any(left in weights for left, _ in read):
        return ": a constant on the left of a MatMul stays float: leave int8 out"
    return ": leave int8 out"
