"""Find, read and hash the model that a spec names."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pytest_trt.core.callables import call_user_function, function_name
from pytest_trt.engine.cache.digest import file_sha256
from pytest_trt.engine.cache.store import Store
from pytest_trt.engine.model.files import find_file
from pytest_trt.engine.onnx import external_data, rewrite, signature, traverse
from pytest_trt.engine.onnx.signature import Dims
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import ModelError
from pytest_trt.spec.engine_spec import EngineSpec


@dataclasses.dataclass(frozen=True)
class Model:
    """An ONNX model, or a prebuilt plan.

    Only a plan's runtime knows its inputs and outputs: they are empty until `with_tensors` sets them.

    Attributes:
        path: The model's file.
        sha256: The SHA-256 of the file. For a model with external data it covers these files too.
        kind: `onnx` for a model, `plan` for a prebuilt plan.
        inputs: The model's inputs.
        outputs: The model's outputs.
        dims: The dimensions of each input and output, with the model's names. None for a tensor of unknown rank.
        opset: The version of ONNX's own operators, or 0.
        ops: The names of all operators in the model.
        external: The files of external data, as the model names them.
    """

    path: Path
    sha256: str
    kind: Literal["onnx", "plan"]
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    dims: Mapping[str, Dims | None] = dataclasses.field(default_factory=dict)
    opset: int = 0
    ops: frozenset[str] = frozenset()
    external: tuple[str, ...] = ()

    @property
    def parser_path(self) -> Path:
        """A path of the model beside which a parser finds all external data.

        It differs from `path` if that is a link and the data lies beside its target.
        """
        return external_data.parser_path(self.path, self.external) if self.external else self.path

    @property
    def has_qdq(self) -> bool:
        """Whether the model contains Q/DQ, which defines where it is quantised."""
        return "DequantizeLinear" in self.ops

    def with_tensors(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Model:
        """Return this plan with the inputs and outputs that its loaded engine reports."""
        dims = {t.name: tuple(None if size < 0 else size for size in t.shape) for t in (*inputs, *outputs)}
        return dataclasses.replace(self, inputs=tuple(inputs), outputs=tuple(outputs), dims=dims)


def resolve_model(spec: EngineSpec, folders: Sequence[Path], store: Store) -> Model:
    """Return the model that `spec` names.

    Args:
        spec: The spec with a path, or a function that returns a model or a plan.
        folders: The folders that a relative path may be relative to, in the order of preference.
        store: The engine cache, which the result of a function is saved to.

    Raises:
        ModelError: There is no such file, it is not a model, or the function failed.
    """
    if spec.path is not None:
        path = find_file("model", spec.path, folders)
        return _read_plan(path) if spec.is_prebuilt else read_model(path)
    if spec.onnx is not None:
        return _model_from_function(spec.onnx, folders, store)
    if spec.build is not None:
        return _read_plan(_plan_from_function(spec.build, store))
    raise ModelError("no model is named: write trt_engine('model.onnx'), or trt_engine(onnx=f) with a function")


def read_model(path: Path) -> Model:
    """Return the ONNX model at `path`.

    A file that has not changed is not parsed again.

    Raises:
        ModelError: The file, or a file of its external data, is missing or not valid. The message names the file.
    """
    try:
        state = path.stat()
        graph = _read_graph(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        sha256 = file_sha256(path)
        if graph.external:
            digest = hashlib.sha256(sha256.encode())
            for location, (end, weight) in sorted(graph.external.items()):
                file = external_data.check_weights(path, location, end, weight)
                digest.update(f"\0{location}\0{file_sha256(file)}".encode())
            sha256 = digest.hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    return _model(path, sha256, graph)


def describe_model(path: Path) -> Model:
    """Return the ONNX model at `path` without its SHA-256, so that its external data is not read.

    Raises:
        ModelError: The file is not valid, as for `read_model`.
    """
    return _model(path, "", signature.read_signature(path))


def _model(path: Path, sha256: str, graph: signature.ModelSignature) -> Model:
    external = tuple(sorted(graph.external))
    return Model(path, sha256, "onnx", graph.inputs, graph.outputs, graph.dims, graph.opset, graph.ops, external)


@functools.lru_cache(maxsize=256)
def _read_graph(path: Path, *_state: int) -> signature.ModelSignature:
    return signature.read_signature(path)


def _read_plan(path: Path) -> Model:
    """Return the prebuilt plan at `path`, whose content is not parsed."""
    try:
        with path.open("rb") as file:
            head = file.read(len(external_data.LFS_POINTER))
        if not head:
            raise ModelError(f"{path} is empty (0 bytes): build or copy it again")
        if head == external_data.LFS_POINTER:
            raise ModelError(f"{path} is a Git LFS pointer, not the plan: git lfs pull")
        return Model(path, file_sha256(path), "plan")
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error


def _model_from_function(function: Callable[[], Any], folders: Sequence[Path], store: Store) -> Model:
    """Return the model whose path or ModelProto `function` returns."""
    import onnx

    returned = call_user_function("trt_engine", "onnx", ModelError, function)
    if isinstance(returned, (str, os.PathLike)):
        return read_model(find_file("model", os.fspath(returned), [Path.cwd(), *folders]))
    if not isinstance(returned, onnx.ModelProto):
        message = f"returned {type(returned).__name__}: it must return a path or a ModelProto"
        raise ModelError(f"trt_engine(onnx={function_name(function)}): the function {message}")
    if any(map(traverse.is_external, traverse.tensors(returned))):
        message = "returned a ModelProto whose weights lie in another file: return its path, or load them with it"
        raise ModelError(f"trt_engine(onnx={function_name(function)}): the function {message}")
    return read_model(store.save_model("model.onnx", lambda path: _save(returned, path)))


def _save(model: Any, path: Path) -> None:
    """Write the user's ModelProto, and leave it unchanged."""
    rewrite.save_model(model, path, external_weights=False)
    external_data.load_weights(model, path)  # saving moves weights out of a large ModelProto


def _plan_from_function(function: Callable[[], bytes], store: Store) -> Path:
    """Return the path of the plan whose bytes `function` returns."""
    returned = call_user_function("trt_engine", "build", ModelError, function)
    if not isinstance(returned, (bytes, bytearray, memoryview)) or not returned:
        what = "no bytes" if isinstance(returned, (bytes, bytearray, memoryview)) else type(returned).__name__
        message = f"returned {what}: it must return a plan's bytes"
        raise ModelError(f"trt_engine(build={function_name(function)}): the function {message}")
    return store.save_model("model.plan", lambda path: path.write_bytes(returned))
