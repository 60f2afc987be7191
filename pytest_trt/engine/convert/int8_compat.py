"""A model as ONNX Runtime's quantiser, ONNX Runtime's int8 kernels and TensorRT's parser need it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pytest_trt.engine.convert import qdq
from pytest_trt.engine.onnx import traverse
from pytest_trt.errors import BuildError

_MATRIX = 2
"""Dimensions of a MatMul's weights that have a scale for each column."""

_GROUP = 4
"""In int8, a group of a convolution has a multiple of so many channels, inputs and outputs (TensorRT's API reference,
IConvolutionLayer, num_groups): for others TensorRT 8.6 could "not find any implementation" and ended the build."""


def add_kernel_shapes(model: Any) -> None:
    """Say in each convolution what its weights' shape says too: TensorRT 8.6 does not see it through a DequantizeLinear
    ("The input tensor shape misaligns with the input kernel shape")."""
    import onnx

    dims = {tensor.name: tensor.dims for tensor in traverse.tensors(model)}
    for node in traverse.nodes(model):
        shaped = any(attribute.name == "kernel_shape" for attribute in node.attribute)
        if node.op_type in ("Conv", "ConvTranspose") and node.input[1] in dims and not shaped:
            node.attribute.append(onnx.helper.make_attribute("kernel_shape", list(dims[node.input[1]][2:])))


def check_weights_finite(model: Any, operators: Sequence[str]) -> None:
    """Raise BuildError, naming it, for a weight or bias of the operators that is not all numbers: it has no range."""
    import numpy as np
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in traverse.tensors(model)}
    read = (name for node in traverse.nodes(model) if node.op_type in operators for name in node.input)
    for name in dict.fromkeys(name for name in read if name in weights):
        array = numpy_helper.to_array(weights[name])
        if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
            count = array.size - np.count_nonzero(finite)
            raise BuildError(
                f"int8 needs weights that are numbers, and {name!r} holds {count} NaN or infinities of {array.size} "
                "values: train or export the model again"
            )


def explain_unquantised(light: Any, operators: Sequence[str]) -> str:
    """Which of a model's operators would be quantised, and are not, and what to do about it: the end of a sentence."""
    weights = {tensor.name: tensor for tensor in traverse.tensors(light)}
    dequantised = qdq.dequantised_tensors(light)
    inside = [node for graph in [*traverse.graphs(light)][1:] for node in graph.node if node.op_type in operators]
    read = [node.input[:2] for node in light.graph.node if node.op_type in operators]
    if inside:
        return ", but for what is inside an If, a Loop or a Scan, which stays as it is: leave int8 out"
    if any(right in weights and weights[right].data_type == weights[right].DOUBLE for _, right in read):
        return ", but in float64: export it in float32"
    if any(right in dequantised for _, right in read):
        return (
            ", but for Q/DQ of weights alone, which are computed with in float: ask for fp32 or fp16, or give the "
            "model that it was made of"
        )
    if any(left in weights for left, _ in read):
        return ", but for constants on a MatMul's left, which stay float: leave int8 out"
    return ": leave int8 out"


@dataclasses.dataclass(frozen=True)
class SelectedNodes:
    """Which operators are quantised how: nodes to leave out, those among them whose groups of channels int8 kernels do
    not take, and weights that get one scale and not one a channel."""

    excluded: Sequence[str]
    grouped: Sequence[str]
    one_scale: Sequence[str]


def prepare_nodes(model: Any, operators: Sequence[str]) -> SelectedNodes:
    """Give each of the operators weights of its own, and a bias that counts once. Those without constant weights are
    left out; a MatMul's weights of more than two dimensions have no channels that int8 kernels know."""
    _cast_weights(model.graph)
    nodes = [(place, node) for place, node in enumerate(model.graph.node) if node.op_type in operators]
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for place, node in nodes:
        node.name = node.name or f"{node.op_type}#{place}"
        if node.op_type == "Gemm":
            _count_bias_once(model.graph, node, weights)
    constant = [node for _, node in nodes if node.input[1] in weights]
    grouped = [node.name for node in constant if _is_oddly_grouped(node, weights[node.input[1]].dims)]
    chosen = [node for node in constant if node.name not in grouped]
    excluded = [*(node.name for _, node in nodes if node.input[1] not in weights), *grouped]
    stacked = [node for node in chosen if node.op_type == "MatMul" and len(weights[node.input[1]].dims) > _MATRIX]
    _unshare(model, chosen, weights)
    return SelectedNodes(excluded, grouped, [node.input[1] for node in stacked])


def _is_oddly_grouped(node: Any, dims: Sequence[int]) -> bool:
    """Whether a convolution's groups are of other sizes than int8 kernels take: a multiple of 4, or one channel each,
    which are kernels of their own (for a ConvTranspose only in later versions: TensorRT issue 1934)."""
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    if groups == 1 or node.op_type not in ("Conv", "ConvTranspose"):
        return False
    sizes = (dims[0] // groups, dims[1])
    return any(size % _GROUP for size in sizes) and (node.op_type, *sizes) != ("Conv", 1, 1)


def _cast_weights(graph: Any) -> None:
    """Cast weights here, where ONNX Runtime has a node do it: it computes float16 in float32."""
    from onnx import helper, numpy_helper

    weights = {tensor.name: tensor for tensor in graph.initializer}
    given = {value.name for value in graph.output}
    for node in list(graph.node):
        if node.op_type == "Cast" and node.input[0] in weights and node.output[0] not in given:
            kind = helper.tensor_dtype_to_np_dtype(helper.get_node_attr_value(node, "to"))
            array = numpy_helper.to_array(weights[node.input[0]]).astype(kind)
            graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
            graph.node.remove(node)


def _count_bias_once(graph: Any, node: Any, weights: dict[str, Any]) -> None:
    """Multiply a constant bias by `beta`, which the quantiser sets to 1 and forgets (onnxruntime 1.32, QDQGemm)."""
    from onnx import numpy_helper

    for attribute in node.attribute:
        if attribute.name == "beta" and attribute.f != 1 and len(node.input) > 2 and node.input[2] in weights:
            bias = numpy_helper.to_array(weights[node.input[2]])
            node.input[2] = f"{node.input[2]}_{node.name}"
            graph.initializer.append(numpy_helper.from_array(bias * bias.dtype.type(attribute.f), node.input[2]))
            attribute.f = 1.0


def _unshare(model: Any, nodes: Sequence[Any], weights: dict[str, Any]) -> None:
    """Copy weights and biases that others read too: ONNX Runtime (1.32) cannot load two operators on one quantised
    weight, and an embedding that is also a projection need not be rounded where it is looked up. Its quantiser copies
    biases itself, and may name the copy as another tensor is named."""
    reads = Counter(name for node in model.graph.node for name in traverse.names_read(node))
    taken = {*weights, *(name for node in model.graph.node for name in node.output)}
    for node in nodes:
        for place, name in enumerate(node.input):
            if place > 0 and name in weights and reads[name] > 1:
                reads[name] -= 1
                node.input[place] = _free(f"{name}_{node.name}", taken)
                copy = model.graph.initializer.add()
                copy.CopyFrom(weights[name])
                copy.name = node.input[place]


def _free(name: str, taken: set[str]) -> str:
    """`name`, lengthened until no tensor has it; it is taken from then on."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def restore_unquantised_outputs(model: Any) -> None:
    """Make each output of the model what was computed, where the quantiser made it what Q/DQ leave of that for a layer
    behind it. TensorRT 8.6 failed on networks of which a DequantizeLinear was an output ("mSet.size()")."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    names: dict[str, str] = {}
    for name in (value.name for value in model.graph.output):
        dequantised = made_by.get(name)
        if dequantised is not None and dequantised.op_type == "DequantizeLinear" and dequantised.input[0] in made_by:
            computed = made_by[dequantised.input[0]].input[0]
            if computed in made_by:  # else it is an input of the model
                names.update({name: f"{name}_DequantizeLinear_Output", computed: name})
    for node in traverse.nodes(model):
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(tensor, tensor) for tensor in tensors]
