"""One engine in the cache: its files, and their hashes."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_trt.core import codec, json_text
from pytest_trt.core.json_text import JsonLimits
from pytest_trt.core.records import Environment, Layer
from pytest_trt.engine.cache.digest import file_sha256
from pytest_trt.errors import BuildError, RecordError

SCHEMA = 1
"""The version of an entry's format. After it is increased, engines that were saved before are built again."""

_META_LIMITS = JsonLimits(text_bytes=1 << 20, memory_bytes=64 << 20)

_LAYERS_LIMITS = JsonLimits(text_bytes=64 << 20, memory_bytes=256 << 20)
"""How large layers.json may be. A layer takes about 300 bytes, and 10,000 layers are many."""


@dataclasses.dataclass(frozen=True)
class Meta:
    """The content of meta.json.

    Attributes:
        digest: The key of the engine in the cache (cache_key.engine_digest).
        spec: The build options.
        environment: The device and the software that the engine was built for.
        build_s: How long the build took, in seconds.
        precisions: The share (0 to 1) of layers or operators in each precision.
        proved_by: Where `precisions` comes from: the engine's layers (`inspector`) or the model's operators (`model`).
        notes: Notes on the build.
        calibration: The key of TensorRT's calibration (Preparation.calibration_key). Empty if TensorRT did not
            calibrate.
        files: The SHA-256 of each file, by name.
        created: When the entry was saved (UTC, ISO 8601).
        model: The name of the model's file.
        test: The node id of the test that built the engine, or the command that did.
        schema: The version of the format.
    """

    digest: str
    spec: Mapping[str, Any]
    environment: Environment
    build_s: float
    precisions: Mapping[str, float] = dataclasses.field(default_factory=dict)
    proved_by: str = ""
    notes: tuple[str, ...] = ()
    calibration: str = ""
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    created: str = ""
    model: str = ""
    test: str = ""
    schema: int = SCHEMA


@dataclasses.dataclass(frozen=True)
class Entry:
    """An engine in the cache, whose files are unchanged since they were saved.

    Attributes:
        folder: The folder of the entry.
        meta: The content of its meta.json.
        layers: The engine's layers, from its layers.json.
        plan_bytes: The size of the plan with the data beside it.
    """

    folder: Path
    meta: Meta
    layers: tuple[Layer, ...]
    plan_bytes: int

    @property
    def plan(self) -> Path:
        """The plan's file."""
        return self.folder / "plan"


def seal(folder: Path, meta: Meta, layers: tuple[Layer, ...]) -> Entry:
    """Turn a folder with a plan into an entry: write its layers.json, and its meta.json with the hash of every file.

    Raises:
        BuildError: There is no plan.
        OSError: A file cannot be read or written.
    """
    if not (folder / "plan").is_file():
        raise BuildError(f"the build of {meta.model} reported success but left no plan: this is a backend's bug")
    (folder / "layers.json").write_text(json.dumps(codec.encode(layers)))
    files = {file.name: file_sha256(file) for file in sorted(folder.iterdir())}
    meta = dataclasses.replace(meta, files=files, created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    (folder / "meta.json").write_text(json.dumps(codec.encode(meta), sort_keys=True, indent=1))
    return Entry(folder, meta, layers, plan_bytes(folder / "plan"))


def plan_bytes(plan: Path) -> int:
    """Return the size of a plan with the data beside it, in bytes.

    Raises:
        OSError: The file cannot be read.
    """
    return sum(part.stat().st_size for part in plan.parent.glob(f"{plan.name}*"))


def read(folder: Path) -> Entry:
    """Return the entry in `folder`, which is named by the engine's digest, after checking the hash of every file.

    Raises:
        RecordError: A file differs from what was saved.
        OSError: A file cannot be read.
    """
    meta = read_meta(folder)
    if meta.schema != SCHEMA or meta.digest != folder.name:
        raise RecordError(f"meta.json has schema {meta.schema} and belongs to engine {meta.digest[:12]}")
    if not {"plan", "layers.json"} <= meta.files.keys() or any(os.sep in name for name in meta.files):
        raise RecordError("meta.json does not list the plan and its layers")
    for name, sha256 in meta.files.items():
        if file_sha256(folder / name) != sha256:
            raise RecordError(f"{name} has another SHA-256")
    layers = codec.check(tuple[Layer, ...], _read_json(folder / "layers.json", _LAYERS_LIMITS), "layers.json")
    return Entry(folder, meta, layers, plan_bytes(folder / "plan"))


def read_meta(folder: Path) -> Meta:
    """Return the content of a folder's meta.json.

    Raises:
        RecordError: The file is not valid.
        OSError: The file cannot be read.
    """
    meta: Meta = codec.decode(Meta, _read_json(folder / "meta.json", _META_LIMITS), "meta.json")
    return meta


def _read_json(file: Path, limits: JsonLimits) -> Any:
    with file.open("rb") as opened:
        raw = opened.read(limits.text_bytes + 1)
    try:
        return json_text.parse(raw, limits)
    except RecordError as error:
        raise RecordError(f"{file.name} {error}") from error


def sync(*paths: Path) -> None:
    """Flush files, or the directory entries of folders, to the disk.

    Raises:
        OSError: A file cannot be opened or flushed.
    """
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
