"""Read an ONNX file without its weights: its inputs, its outputs, and the files of its external data."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pytest_trt.engine.onnx import external_data, structure, traverse
from pytest_trt.engine.onnx.external_data import LFS_POINTER
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import ModelError

Dims = tuple["str | int | None", ...]
"""A tensor's dimensions as a model declares them: a size, a name, or None for a dynamic dimension without a name."""

DTYPES = {
    "FLOAT": "float32", "DOUBLE": "float64", "FLOAT16": "float16", "BFLOAT16": "bfloat16", "BOOL": "bool",
    "COMPLEX64": "complex64", "COMPLEX128": "complex128", "UINT4": "uint4", "INT4": "int4", "UINT2": "uint2",
    "INT2": "int2", "FLOAT8E4M3FN": "float8_e4m3fn", "FLOAT8E4M3FNUZ": "float8_e4m3fnuz", "FLOAT8E5M2": "float8_e5m2",
    "FLOAT8E5M2FNUZ": "float8_e5m2fnuz", "FLOAT8E8M0": "float8_e8m0fnu", "FLOAT4E2M1": "float4_e2m1fn",
    **{f"{sign}INT{bits}": f"{sign}INT{bits}".lower() for sign in ("", "U") for bits in (8, 16, 32, 64)},
}  # fmt: skip
"""The names of element types in numpy or ml_dtypes, by ONNX's names (onnx.proto, TensorProto.DataType)."""


@dataclasses.dataclass(frozen=True)
class ModelSignature:
    """What a model's file declares.

    Attributes:
        inputs: The model's inputs, without weights.
        outputs: The model's outputs.
        dims: The dimensions of every input and output. None for a tensor of unknown rank, whose Tensor.shape is empty.
        opset: The version of ONNX's own operators, or 0.
        ops: The names of all operators in the model.
        external: By the name of each file of external data, the byte at which its last weight ends, and that weight.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    dims: dict[str, Dims | None]
    opset: int
    ops: frozenset[str]
    external: dict[str, tuple[int, str]]


def read_signature(path: Path) -> ModelSignature:
    """Return what the model at `path` declares, without loading its weights.

    Raises:
        ModelError: The file is empty, truncated, not an ONNX model, or a Git LFS pointer, or its structure is invalid
            (`structure.check_structure`). The message names the file.
    """
    model = _parse(path)
    graph, survey = model.graph, traverse.survey(model)
    opsets = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    if not graph.output or not opsets:
        raise ModelError(f"{path} is no complete ONNX model (it has no outputs or no opset): export or copy it again")
    structure.check_structure(path, model, survey)
    weights = {tensor.name for tensor in graph.initializer}
    weights |= {sparse.values.name for sparse in graph.sparse_initializer}
    inputs = [value for value in graph.input if value.name not in weights]  # up to IR version 3, weights are inputs too
    dims = {value.name: _dims(value) for value in (*inputs, *graph.output)}
    return ModelSignature(
        inputs=tuple(_tensor(path, "input", value, dims[value.name]) for value in inputs),
        outputs=tuple(_tensor(path, "output", value, dims[value.name]) for value in graph.output),
        dims=dims,
        opset=max(opsets.get("ai.onnx", 0), 0),
        ops=survey.ops,
        external=external_data.weight_files(path, survey.tensors),
    )


def _parse(path: Path) -> Any:
    """Return the ModelProto in the file, without external data."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]

    size = path.stat().st_size
    if size == 0:
        raise ModelError(f"{path} is empty (0 bytes): export or copy it again")
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ModelError(f"{path} is a Git LFS pointer, not the model: git lfs pull")
    if size >= 2**31:
        raise ModelError(
            f"{path} is one file of {size / 2**30:.1f} GiB, and protobuf reads at most 2 GiB: save it with "
            "onnx.save(..., save_as_external_data=True)"
        )
    try:
        return onnx.load(str(path), format="protobuf", load_external_data=False)
    except DecodeError as error:
        raise ModelError(
            f"{path} is no ONNX model, or was cut short at {size} bytes ({error}): export or copy it again"
        ) from error


def _dims(value: Any) -> Dims | None:
    """Return the dimensions of a ValueInfoProto, or None if its rank is unknown."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else traverse.dim_name(dim.dim_param)
        for dim in kind.shape.dim
    )


def _tensor(path: Path, role: str, value: Any, dims: Dims | None) -> Tensor:
    """Return a ValueInfoProto as a Tensor. `role` is `input` or `output`, for the error."""
    import onnx

    kind = value.type.WhichOneof("value") or "untyped"
    element = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type) if kind == "tensor_type" else kind
    if element not in DTYPES:
        element = element.lower().removesuffix("_type")
        raise ModelError(f"{path}: the {role} {value.name!r} is of type {element}: only tensors of numbers can be run")
    return Tensor(value.name, DTYPES[element], tuple(size if isinstance(size, int) else -1 for size in dims or ()))
