"""What every rewriting of a model needs: the whole model in and out, and what other packages say meanwhile."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_trt.engine.onnx import traverse
from pytest_trt.errors import ModelError

_PROTOBUF_LIMIT = 2**31 - 2**20


def load_typed(model: Path, scratch: Path) -> Any:
    """The ModelProto with its functions inlined, which no converter looks into, and the types of all values inferred;
    weights in other files are not loaded. `scratch` is a folder to work in. Where the shapes that the model declares
    contradict its operators, these count, as in every runtime. Raises ModelError where they contradict each other."""
    import onnx
    import onnx.inliner

    inferred, source = scratch / f"{model.name}.typed", model
    infer, fault = onnx.shape_inference.infer_shapes_path, onnx.shape_inference.InferenceError
    try:
        light = onnx.load(str(model), load_external_data=False)
        if light.functions:
            source, light = inferred, onnx.inliner.inline_local_functions(light, convert_version=True)
            onnx.save(light, str(source))
        try:
            infer(str(source), str(inferred))
        except fault:
            _clear_shapes(light)
            onnx.save(light, str(inferred))
            infer(str(inferred), str(inferred))
        return onnx.load(str(inferred), load_external_data=False)
    except fault as error:
        raise ModelError(f"{model.name} contradicts itself: {shorten(error)}: export it again") from error
    finally:
        inferred.unlink(missing_ok=True)


def _clear_shapes(model: Any) -> None:
    """Leave the shapes of what nodes compute to be inferred."""
    for graph in traverse.graphs(model):
        del graph.value_info[:]
        for value in graph.output:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")


def load_normalised(light: Any, model: Path) -> Any:
    """`light` with the weights that lie beside `model`, written as converters understand it: weights are no longer
    among the inputs, where they stand up to IR 3, nor outputs, nor sparse, nor constants, and their types are told
    once; constants inside nodes are tensors, whatever they were; no two nodes have one name, which ONNX Runtime
    refuses; and each stands behind those that it reads. Raises ModelError where that cannot be, and where nothing makes
    an output."""
    import numpy as np
    import onnx

    sort_nodes(light.graph, model.name)
    onnx.load_external_data_for_model(light, str(model.parent))
    light.graph.initializer.extend(map(_dense, light.graph.sparse_initializer))
    del light.graph.sparse_initializer[:]
    weights = {tensor.name for tensor in light.graph.initializer}
    inputs = [value for value in light.graph.input if value.name not in weights]
    del light.graph.input[:]
    light.graph.input.extend(inputs)
    light.ir_version = max(light.ir_version, 4)
    constants_to_initializers(light.graph)
    for graph in traverse.graphs(light):
        stored = {tensor.name for tensor in graph.initializer}
        told = [value for value in graph.value_info if value.name not in stored]
        del graph.value_info[:]
        graph.value_info.extend(told)
    _separate_weight_outputs(light, weights)
    made = {value.name for value in light.graph.input}.union(*(node.output for node in light.graph.node))
    if missing := [value.name for value in light.graph.output if value.name not in made]:
        raise ModelError(f"{model.name}: nothing in it makes the output {missing[0]!r}: export the model again")
    make_node_names_unique(light)
    for node in traverse.nodes(light):
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                values = attribute.f if attribute.name == "value_float" else attribute.floats
                tensor = onnx.numpy_helper.from_array(np.asarray(values, np.float32))
                attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))
        if node.op_type == "ConstantOfShape" and not node.attribute:
            tensor = onnx.numpy_helper.from_array(np.zeros(1, np.float32))
            node.attribute.append(onnx.helper.make_attribute("value", tensor))
    return light


def _dense(sparse: Any) -> Any:
    """A SparseTensorProto as a TensorProto. Its indices are of the flat array, or one for each dimension."""
    import numpy as np
    from onnx import numpy_helper

    values, places = map(numpy_helper.to_array, (sparse.values, sparse.indices))
    whole = np.zeros(tuple(sparse.dims), values.dtype)
    if places.ndim == 1:
        whole.reshape(-1)[places] = values
    else:
        whole[tuple(places.T)] = values
    return numpy_helper.from_array(whole, sparse.values.name)


def make_node_names_unique(model: Any) -> None:
    """Rename nodes until no two nodes have the same name: ONNX Runtime refuses a model with duplicate names.

    A node without a name stays without one.
    """
    names: set[str] = set()
    for position, node in enumerate(traverse.nodes(model)):
        if node.name in names:
            node.name += f"#{position}"
        names |= {node.name} - {""}


def tensor_types(model: Any) -> Mapping[str, str]:
    """What the tensors of a typed model are, in whatever graph, by name: "FLOAT", "INT64" and so on, as ONNX has it."""
    import onnx

    name_of = onnx.TensorProto.DataType.Name
    told = dict[str, int]()
    for graph in traverse.graphs(model):
        values = (*graph.input, *graph.value_info, *graph.output)
        told |= {value.name: value.type.tensor_type.elem_type for value in values}
        told |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return {name: name_of(kind) for name, kind in told.items()}


def constants_to_initializers(graph: Any) -> None:
    """Make initialisers of Constant nodes, as which exporters of Paddle write all weights: float16 converters change
    those, whoever reads them."""
    given = {value.name for value in graph.output}
    for place in reversed(range(len(graph.node))):
        node = graph.node[place]
        tensor = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        if node.op_type == "Constant" and tensor is not None and node.output[0] not in given:
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            del graph.node[place]


def _separate_weight_outputs(model: Any, weights: set[str]) -> None:
    """Have a node give each weight that is an output."""
    import onnx

    stored = {value.name: f"{value.name}_stored" for value in model.graph.output if value.name in weights}
    for tensor in model.graph.initializer:
        tensor.name = stored.get(tensor.name, tensor.name)
    for node in traverse.nodes(model):
        node.input[:] = [stored.get(name, name) for name in node.input]
    for name, weight in stored.items():
        model.graph.node.append(onnx.helper.make_node("Identity", [weight], [name], f"{name}_given"))


def reduce_outputs(graph: Any) -> list[str]:
    """Leave a graph with the outputs that its nodes make, each once, and tell the names of all it had: converters
    change an input that is an output too, or an output that stands there twice, in two ways at once."""
    names = [value.name for value in graph.output]
    made = {name for node in graph.node for name in node.output}
    kept = {value.name: value for value in graph.output if value.name in made}
    values = [type(value).FromString(value.SerializeToString()) for value in kept.values()]
    del graph.output[:]
    graph.output.extend(values)
    return names


def restore_outputs(graph: Any, names: list[str]) -> None:
    """Put back the outputs that `reduce_outputs` told of, in their order."""
    values = {value.name: value for value in (*graph.input, *graph.output)}
    values = {name: type(value).FromString(value.SerializeToString()) for name, value in values.items()}
    del graph.output[:]
    graph.output.extend(values[name] for name in names)


def save_model(model: Any, output: Path, *, beside: bool) -> None:
    """Write a ModelProto; its weights go to `output`.data if `beside`, and where protobuf's limit demands it."""
    import onnx

    weights = sum(len(tensor.raw_data) + 8 * len(tensor.float_data) for tensor in traverse.tensors(model))
    data = {"save_as_external_data": True, "location": f"{output.name}.data"}
    onnx.save(model, str(output), **(data if beside or weights > _PROTOBUF_LIMIT else {}))


def sort_nodes(graph: Any, model: str) -> None:
    """Put the nodes of the graph of `model`, a name, in an order in which each stands behind those that it reads:
    converters add theirs last. Raises ModelError where there is none."""
    makers = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    order: dict[int, None] = {}
    waiting: set[int] = set()
    for start in range(len(graph.node)):
        stack = [start]
        while stack:
            place = stack[-1]
            before = {makers[name] for name in names_read(graph.node[place]) if name in makers} - order.keys() - {place}
            if before & waiting:
                node = graph.node[place]
                raise ModelError(
                    f"{model}: node {node.name or place} ({node.op_type}) reads what is computed from its own output: "
                    "export the model again"
                )
            if before:
                waiting.add(place)
                stack.extend(sorted(before, reverse=True))
            else:
                order[stack.pop()] = None
    nodes = [type(graph.node[place]).FromString(graph.node[place].SerializeToString()) for place in order]
    del graph.node[:]
    graph.node.extend(nodes)


def names_read(node: Any) -> Iterator[str]:
    """The names that a node reads, those that graphs inside it take from around it included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in [attribute.g] if attribute.type == attribute.GRAPH else attribute.graphs:
            for inner in graph.node:
                yield from names_read(inner)
            yield from (value.name for value in graph.output)


def shorten(error: Exception | str) -> str:
    """What another package says, short enough for a message."""
    text = str(error).strip() or type(error).__name__
    return text if len(text) <= 500 else text[:497] + "..."


@contextlib.contextmanager
def capture_warnings() -> Iterator[list[str]]:
    """What other packages warn of meanwhile, to be kept as notes instead of printed."""
    said: list[str] = []
    root = logging.getLogger()
    handlers, disabled = list(root.handlers), root.manager.disable
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        logging.disable(logging.ERROR)
        try:
            yield said
        finally:
            logging.disable(disabled)
            root.handlers[:] = handlers  # logging.warning() gives a root that has none a handler for good
            said += dict.fromkeys(str(warning.message) for warning in caught)
