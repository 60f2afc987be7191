"""One engine in the cache: its files, and the proof that they are what was saved."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_trt.core import codec
from pytest_trt.core.codec import from_json
from pytest_trt.core.records import Environment, Layer
from pytest_trt.engine.cache.digest import file_sha256
from pytest_trt.errors import RecordError

SCHEMA = 1
"""Raised when an entry changes its form: engines saved before are then built again."""

_META_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Meta:
    """What meta.json says. `files` maps the name of each file to its SHA-256; `created` is UTC, ISO 8601; `calibration`
    is the key of what TensorRT calibrated (Preparation.calibration_key), empty where it did not."""

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
    schema: int = SCHEMA


@dataclasses.dataclass(frozen=True)
class Entry:
    """An engine in the cache, its files as they were saved."""

    folder: Path
    meta: Meta
    layers: tuple[Layer, ...]

    @property
    def plan(self) -> Path:
        return self.folder / "plan"


def seal(folder: Path, meta: Meta, layers: tuple[Layer, ...]) -> Entry:
    """Make an entry of a folder with a plan: layers.json and meta.json, with the hash of every file. Raises OSError."""
    (folder / "layers.json").write_text(json.dumps(codec.encode(layers)))
    files = {file.name: file_sha256(file) for file in sorted(folder.iterdir())}
    meta = dataclasses.replace(meta, files=files, created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    (folder / "meta.json").write_text(json.dumps(codec.encode(meta), sort_keys=True, indent=1))
    return Entry(folder, meta, layers)


def read(folder: Path) -> Entry:
    """The entry in a folder named by its digest, every file's SHA-256 checked. Raises RecordError or OSError where
    anything is not as it was saved."""
    meta = read_meta(folder)
    if meta.schema != SCHEMA or meta.digest != folder.name:
        raise RecordError(f"meta.json is of schema {meta.schema}, engine {meta.digest[:12]}")
    if not {"plan", "layers.json"} <= meta.files.keys() or any(os.sep in name for name in meta.files):
        raise RecordError("meta.json does not list the plan and its layers")
    for name, sha256 in meta.files.items():
        if file_sha256(folder / name) != sha256:
            raise RecordError(f"{name} has another SHA-256")
    layers = codec.check(tuple[Layer, ...], json.loads((folder / "layers.json").read_bytes()), "layers.json")
    return Entry(folder, meta, layers)


def read_meta(folder: Path) -> Meta:
    """What a folder's meta.json says. Raises RecordError or OSError."""
    file = folder / "meta.json"
    if file.stat().st_size > _META_BYTES:
        raise RecordError(f"meta.json is longer than {_META_BYTES} bytes")
    meta: Meta = from_json(Meta, file.read_text(errors="replace"))
    return meta


def sync(*paths: Path) -> None:
    """Have files, or the lists of what folders hold, on the disk. Raises OSError."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
