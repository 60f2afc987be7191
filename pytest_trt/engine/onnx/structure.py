"""Refuse models whose structure no runtime can have: unknown types, recursive functions, weights that unfold.

A model is untrusted input. The libraries that convert models fail on such a structure with errors of all kinds, use all
memory, or never end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_trt.engine.onnx.traverse import Survey
from pytest_trt.errors import ModelError

MAX_NODES = 2_000_000
"""The most nodes after all functions are inlined. Exported language models have some 50,000."""

MAX_CALL_DEPTH = 100
"""The most functions that call each other. onnx inlines them recursively."""

MAX_DENSE_BYTES = 2**31
"""The most bytes of a sparse weight after it is expanded: what a file of protobuf can hold."""

_ELEMENT_BYTES = 4

_MAX_RANK = 64

_UNDEFINED = 0


def check_structure(path: Path, model: Any, survey: Survey) -> None:
    """Raise ModelError if a ModelProto has an element type that ONNX does not define, or a structure that unfolds.

    Args:
        path: The model's file, for the error.
        model: The ModelProto.
        survey: Its parts.
    """
    _check_types(path, survey)
    for graph in survey.graphs:
        for sparse in graph.sparse_initializer:
            _check_sparse(path, sparse)
    _check_functions(path, model)


def _check_types(path: Path, survey: Survey) -> None:
    import onnx

    known = frozenset(onnx.TensorProto.DataType.values())
    for tensor in survey.tensors:
        if tensor.data_type not in known - {_UNDEFINED}:
            raise _unknown_type(path, f"weight {tensor.name!r}", tensor.data_type)
    for graph in survey.graphs:
        for role, values in (("input", graph.input), ("output", graph.output), ("value", graph.value_info)):
            for value in values:
                if value.type.tensor_type.elem_type not in known:
                    raise _unknown_type(path, f"{role} {value.name!r}", value.type.tensor_type.elem_type)


def _unknown_type(path: Path, what: str, number: int) -> ModelError:
    number_or_none = f"the element type {number}, which the installed onnx does not know" if number else "no type"
    return ModelError(f"{path}: the {what} has {number_or_none}: export the model again, or upgrade onnx")


def _check_sparse(path: Path, sparse: Any) -> None:
    dims = list(sparse.dims)
    if len(dims) > _MAX_RANK or min(dims, default=0) < 0 or math.prod(dims) * _ELEMENT_BYTES > MAX_DENSE_BYTES:
        shown = "x".join(map(str, dims[:8])) + ("..." if len(dims) > 8 else "")
        raise ModelError(
            f"{path}: the sparse weight {sparse.values.name!r} has the shape {shown}, and it has to be expanded to at "
            f"most {MAX_DENSE_BYTES} bytes: export the model with a dense weight"
        )


def _check_functions(path: Path, model: Any) -> None:
    """Raise ModelError if functions call themselves, or if inlining them gives more than MAX_NODES nodes."""
    if not model.functions:
        return
    bodies = {_key(function): list(_nodes(function)) for function in model.functions}
    sizes: dict[tuple[str, ...], int] = {}
    for start in bodies:
        stack = [start]
        while stack:
            calls = [key for key in map(_call_key, bodies[stack[-1]]) if key in bodies]
            waiting = next((key for key in calls if key not in sizes), None)
            if waiting is None:
                size = len(bodies[stack[-1]]) + _total(calls, sizes)
                _check_size(path, size)
                sizes[stack.pop()] = size
                continue
            if waiting in stack:
                raise ModelError(f"{path}: the function {waiting[1]!r} calls itself: export the model again")
            stack.append(waiting)
            if len(stack) > MAX_CALL_DEPTH:
                raise ModelError(
                    f"{path}: more than {MAX_CALL_DEPTH} functions call each other, the last of them {waiting[1]!r}: "
                    "export the model without functions"
                )
    _check_size(path, _total(map(_call_key, _nodes(model.graph)), sizes))


def _nodes(part: Any) -> Iterator[Any]:
    """Yield the nodes of a graph or a function, and those of the graphs inside them."""
    waiting = [part]
    for graph in waiting:
        for node in graph.node:
            yield node
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.type == attribute.GRAPH else attribute.graphs


def _total(calls: Iterable[tuple[str, ...]], sizes: Mapping[tuple[str, ...], int]) -> int:
    return sum(sizes.get(key, 0) for key in calls)


def _check_size(path: Path, size: int) -> None:
    if size > MAX_NODES:
        raise ModelError(
            f"{path}: its functions unfold to {size} nodes, and at most {MAX_NODES} are converted: export the model "
            "without functions"
        )


def _key(function: Any) -> tuple[str, ...]:
    return function.domain, function.name, function.overload if hasattr(function, "overload") else ""


def _call_key(node: Any) -> tuple[str, ...]:
    return node.domain, node.op_type, node.overload if hasattr(node, "overload") else ""
