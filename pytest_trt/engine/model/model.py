"""The model that a spec names: found, read and hashed."""

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
from pytest_trt.engine.onnx import rewrite, signature, traverse
from pytest_trt.engine.onnx.signature import Dims
from pytest_trt.engine.tensors import Tensor
from pytest_trt.errors import ModelError
from pytest_trt.spec.engine_spec import EngineSpec


@dataclasses.dataclass(frozen=True)
class Model:
    """A model, or a plan that is given.

    `sha256` covers the bytes of the file and of its external data: of a model in one file it is that file's. `dims`
    gives each input's and output's dimensions with the model's own names, None for a tensor of unknown rank. Of a plan
    only its runtime knows the inputs: they are empty until `with_tensors` gives them.
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
    def has_qdq(self) -> bool:
        """Whether the model says itself where it is quantised."""
        return "DequantizeLinear" in self.ops

    def with_tensors(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Model:
        """This plan with the inputs and outputs that its engine, once loaded, has."""
        dims = {t.name: tuple(None if size < 0 else size for size in t.shape) for t in (*inputs, *outputs)}
        return dataclasses.replace(self, inputs=tuple(inputs), outputs=tuple(outputs), dims=dims)


def resolve_model(spec: EngineSpec, folders: Sequence[Path], store: Store) -> Model:
    """The model of `spec`. A relative path is looked for in each of `folders` in turn; what a function returns is
    written to `store`.

    Raises ModelError where nothing is there, or what is there is no model; it carries the words of a function that
    raised.
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
    """The ONNX model at `path`. Raises ModelError, naming the file and the fault. A file that has not changed is not
    parsed again."""
    try:
        state = path.stat()
        graph = _read_graph(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        sha256 = file_sha256(path)
        if graph.external:
            whole = hashlib.sha256(sha256.encode())
            for location, (end, weight) in sorted(graph.external.items()):
                signature.check_external_file(path, location, end, weight)
                whole.update(f"\0{location}\0{file_sha256(path.parent / location)}".encode())
            sha256 = whole.hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    external = tuple(sorted(graph.external))
    return Model(path, sha256, "onnx", graph.inputs, graph.outputs, graph.dims, graph.opset, graph.ops, external)


@functools.lru_cache(maxsize=256)
def _read_graph(path: Path, *_state: int) -> signature.ModelSignature:
    return signature.read_signature(path)


def _read_plan(path: Path) -> Model:
    try:
        with path.open("rb") as file:
            head = file.read(len(signature.LFS_POINTER))
        if not head:
            raise ModelError(f"{path} is empty (0 bytes): build or copy it again")
        if head == signature.LFS_POINTER:
            raise ModelError(f"{path} is a Git LFS pointer, not the plan: git lfs pull")
        return Model(path, file_sha256(path), "plan")
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error


def _model_from_function(function: Callable[[], Any], folders: Sequence[Path], store: Store) -> Model:
    import onnx

    made = call_user_function("trt_engine", "onnx", ModelError, function)
    if isinstance(made, (str, os.PathLike)):
        return read_model(find_file("model", os.fspath(made), [Path.cwd(), *folders]))
    if not isinstance(made, onnx.ModelProto):
        message = f"returned {type(made).__name__}: it must return a path or a ModelProto"
        raise ModelError(f"trt_engine(onnx={function_name(function)}): the function {message}")
    if any(map(traverse.is_external, traverse.tensors(made))):
        message = "returned a ModelProto whose weights lie in another file: return its path, or load them with it"
        raise ModelError(f"trt_engine(onnx={function_name(function)}): the function {message}")
    return read_model(store.save_model("model.onnx", lambda path: _save(made, path)))


def _save(model: Any, path: Path) -> None:
    import onnx

    rewrite.save_model(model, path, beside=False)
    onnx.load_external_data_for_model(model, str(path.parent))  # weights that went beside it left the user's model


def _plan_from_function(function: Callable[[], bytes], store: Store) -> Path:
    made = call_user_function("trt_engine", "build", ModelError, function)
    if not isinstance(made, (bytes, bytearray, memoryview)) or not made:
        what = "no bytes" if isinstance(made, (bytes, bytearray, memoryview)) else type(made).__name__
        message = f"returned {what}: it must return a plan's bytes"
        raise ModelError(f"trt_engine(build={function_name(function)}): the function {message}")
    return store.save_model("model.plan", lambda path: path.write_bytes(made))
