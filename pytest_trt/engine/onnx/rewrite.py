"""Load a model in the form that converters understand, change its graph, and save it.

Some functions take or return a *typed* model: a ModelProto without functions, with the types of all values, with one
value for each name, and without the weights that lie in other files.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from pathlib import Path
from typing import Any

from pytest_trt.engine.onnx import external_data, scopes, traverse
from pytest_trt.engine.onnx.messages import shorten
from pytest_trt.errors import ModelError

_MAX_PROTOBUF_BYTES = 2**31 - 2**20


def load_typed(model: Path, scratch: Path) -> Any:
    """Return the typed ModelProto of the file `model`.

    Functions are inlined because converters do not look into them. If the shapes that the model declares contradict its
    operators, the operators count, as in every runtime. Values that have one name in different scopes are renamed.

    Args:
        model: The model's file.
        scratch: A folder for temporary files.

    Raises:
        ModelError: The model's operators contradict each other, or onnx cannot read the model.
    """
    import onnx
    import onnx.inliner

    inferred, source = scratch / f"{model.name}.typed", model
    infer, inference_error = onnx.shape_inference.infer_shapes_path, onnx.shape_inference.InferenceError
    try:
        typed = onnx.load(str(model), load_external_data=False)
        if typed.functions:
            source, typed = inferred, onnx.inliner.inline_local_functions(typed, convert_version=True)
            onnx.save(typed, str(source))
        try:
            infer(str(source), str(inferred))
        except inference_error:
            _clear_shapes(typed)
            onnx.save(typed, str(inferred))
            infer(str(inferred), str(inferred))
        typed = onnx.load(str(inferred), load_external_data=False)
        scopes.make_value_names_unique(typed)
        return typed
    except inference_error as error:
        raise ModelError(f"{model.name} contradicts itself: {shorten(error)}: export it again") from error
    except Exception as error:  # onnx raises errors of many kinds for a model that it does not understand
        raise ModelError(f"{model.name} cannot be read by onnx: {shorten(error)}: export it again") from error
    finally:
        inferred.unlink(missing_ok=True)


def _clear_shapes(model: Any) -> None:
    """Remove the declared shapes of computed values, so that they are inferred."""
    for graph in traverse.graphs(model):
        del graph.value_info[:]
        for value in graph.output:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.ClearField("shape")


def load_normalised(typed: Any, model: Path) -> Any:
    """Load the weights of a typed model, and bring the model into the form that converters understand.

    - Weights are initialisers. They are neither inputs, as they are up to IR version 3, nor outputs, sparse tensors or
      Constant nodes, and their types are declared once.
    - Constants inside nodes are tensors.
    - Node names are unique, which ONNX Runtime requires.
    - Nodes come after those whose outputs they read.

    Args:
        typed: The typed model, which is changed and returned.
        model: The model's file, beside which the weights lie.

    Raises:
        ModelError: The nodes depend on each other in a circle, or no node computes an output.
    """
    sort_nodes(typed.graph, model.name)
    external_data.load_weights(typed, model)
    typed.graph.initializer.extend(map(_to_dense, typed.graph.sparse_initializer))
    del typed.graph.sparse_initializer[:]
    weights = {tensor.name for tensor in typed.graph.initializer}
    _replace(typed.graph.input, [value for value in typed.graph.input if value.name not in weights])
    typed.ir_version = max(typed.ir_version, 4)
    constants_to_initializers(typed.graph)
    for graph in traverse.graphs(typed):
        stored = {tensor.name for tensor in graph.initializer}
        _replace(graph.value_info, [value for value in graph.value_info if value.name not in stored])
    _separate_weight_outputs(typed, weights)
    computed = {value.name for value in typed.graph.input}.union(*(node.output for node in typed.graph.node))
    if missing := [value.name for value in typed.graph.output if value.name not in computed]:
        raise ModelError(f"{model.name}: no node computes the output {missing[0]!r}: export the model again")
    make_node_names_unique(typed)
    _store_constants_as_tensors(typed)
    return typed


def _replace(field: Any, values: Iterable[Any]) -> None:
    """Replace the elements of a repeated field."""
    kept = list(values)
    del field[:]
    field.extend(kept)


def _to_dense(sparse: Any) -> Any:
    """Return a SparseTensorProto as a TensorProto.

    Its indices refer to the flattened array, or have one column for each dimension.
    """
    import numpy as np
    from onnx import numpy_helper

    try:
        values, indices = map(numpy_helper.to_array, (sparse.values, sparse.indices))
        dense = np.zeros(tuple(sparse.dims), values.dtype)
        if indices.ndim == 1:
            dense.reshape(-1)[indices] = values
        else:
            dense[tuple(indices.T)] = values
    except (ValueError, TypeError, IndexError, MemoryError) as error:
        raise ModelError(
            f"the sparse weight {sparse.values.name!r} cannot be expanded ({error}): export the model again"
        ) from error
    return numpy_helper.from_array(dense, sparse.values.name)


def _separate_weight_outputs(model: Any, weights: Set[str]) -> None:
    """Add an Identity node for each weight that is an output, so that a node computes every output."""
    import onnx

    renamed = {value.name: f"{value.name}_stored" for value in model.graph.output if value.name in weights}
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in traverse.nodes(model):
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for name, weight in renamed.items():
        model.graph.node.append(onnx.helper.make_node("Identity", [weight], [name], f"{name}_given"))


def _store_constants_as_tensors(model: Any) -> None:
    """Write the values of Constant and ConstantOfShape nodes as tensors, including ConstantOfShape's default."""
    import numpy as np
    import onnx

    for node in traverse.nodes(model):
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                values = attribute.f if attribute.name == "value_float" else attribute.floats
                tensor = onnx.numpy_helper.from_array(np.asarray(values, np.float32))
                attribute.CopyFrom(onnx.helper.make_attribute("value", tensor))
        if node.op_type == "ConstantOfShape" and not node.attribute:
            tensor = onnx.numpy_helper.from_array(np.zeros(1, np.float32))
            node.attribute.append(onnx.helper.make_attribute("value", tensor))


def save_model(model: Any, output: Path, *, external_weights: bool) -> None:
    """Write a ModelProto to `output`.

    Its weights go to `output`.data if `external_weights` is true, or if the model exceeds protobuf's limit of 2 GiB.
    """
    import onnx

    size = sum(len(tensor.raw_data) + 8 * len(tensor.float_data) for tensor in traverse.tensors(model))
    external = {"save_as_external_data": True, "location": f"{output.name}.data"}
    onnx.save(model, str(output), **(external if external_weights or size > _MAX_PROTOBUF_BYTES else {}))


def constants_to_initializers(graph: Any) -> None:
    """Turn Constant nodes into initialisers.

    Paddle's exporter writes all weights as Constant nodes. A float16 converter changes those for all their readers,
    even for nodes that stay float32.
    """
    outputs, stored = {value.name for value in graph.output}, set[int]()
    for position in reversed(range(len(graph.node))):
        node = graph.node[position]
        tensor = next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)
        if node.op_type == "Constant" and tensor is not None and node.output[0] not in outputs:
            tensor.name = node.output[0]
            graph.initializer.append(tensor)
            stored.add(position)
    remove_at(graph.node, stored)


def remove_at(field: Any, positions: Set[int]) -> None:
    """Remove the elements of a repeated field at these positions.

    They are moved to the end first: each removal elsewhere would move all later elements.
    """
    counter = iter(range(len(field)))
    field.sort(key=lambda _: next(counter) in positions)
    del field[len(field) - len(positions) :]


def make_node_names_unique(model: Any) -> None:
    """Rename nodes until no two nodes have the same name: ONNX Runtime refuses a model with duplicate names.

    A node without a name stays without one.
    """
    names: set[str] = set()
    for position, node in enumerate(traverse.nodes(model)):
        if node.name in names:
            node.name += f"#{position}"
        names |= {node.name} - {""}


def sort_nodes(graph: Any, model: str) -> None:
    """Sort the nodes of a graph, so that each comes after those whose outputs it reads.

    Converters add their nodes at the end.

    Args:
        graph: The graph, which is changed.
        model: The model's name, for the error.

    Raises:
        ModelError: Nodes depend on each other in a circle.
    """
    makers = {name: position for position, node in enumerate(graph.node) for name in node.output if name}
    order: dict[int, None] = {}
    waiting: set[int] = set()
    for start in range(len(graph.node)):
        stack = [start]
        while stack:
            position = stack[-1]
            read = {makers[name] for name in traverse.names_read(graph.node[position]) if name in makers}
            before = {maker for maker in read if maker not in order and maker != position}
            if before & waiting:
                node = graph.node[position]
                raise ModelError(
                    f"{model}: node {node.name or position} ({node.op_type}) reads what is computed from its own "
                    "output: export the model again"
                )
            if before:
                waiting.add(position)
                stack.extend(sorted(before, reverse=True))
            else:
                order[stack.pop()] = None
    ranks = {position: rank for rank, position in enumerate(order)}
    positions = iter(range(len(graph.node)))
    graph.node.sort(key=lambda _: ranks[next(positions)])  # a copy of a node would leave its inner graphs behind


def reduce_outputs(graph: Any) -> list[str]:
    """Remove the outputs that no node computes and those that are listed twice, and return the names of all outputs.

    Converters change an output that is also an input, or that is listed twice, in two ways at once. Call
    `restore_outputs` after the conversion.
    """
    names = [value.name for value in graph.output]
    computed = {name for node in graph.node for name in node.output}
    kept = {value.name: value for value in graph.output if value.name in computed}
    _replace(graph.output, _copies(kept.values()))
    return names


def restore_outputs(graph: Any, names: list[str]) -> None:
    """Restore the outputs of a graph to those that `reduce_outputs` returned, in their order."""
    values = {value.name: value for value in (*graph.input, *graph.output)}
    copies = dict(zip(values, _copies(values.values()), strict=True))
    _replace(graph.output, [copies[name] for name in names])


def _copies(values: Iterable[Any]) -> list[Any]:
    return [type(value).FromString(value.SerializeToString()) for value in values]
