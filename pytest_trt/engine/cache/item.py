"""An engine or a model in the cache, as a person lists it and as the cache prunes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pytest_trt.engine.cache.entry import Meta, read_meta
from pytest_trt.errors import RecordError


@dataclasses.dataclass(frozen=True)
class CachedItem:
    """An engine or a model in the cache.

    Attributes:
        key: The engine's digest, or the model's SHA-256.
        folder: The folder of its files.
        bytes: The size of its files.
        used: When it was last used, in seconds since the epoch.
        pinned: Whether it is protected from pruning.
        meta: The engine's meta.json. None for a model, and for an engine whose meta.json cannot be read.
    """

    key: str
    folder: Path
    bytes: int
    used: float
    pinned: bool
    meta: Meta | None


def read_item(folder: Path) -> CachedItem:
    """Return the item in a folder.

    Raises:
        FileNotFoundError: The folder was removed.
    """
    size = sum(file.stat().st_size for file in folder.iterdir())
    try:
        meta = read_meta(folder)
    except (RecordError, FileNotFoundError):
        meta = None
    return CachedItem(folder.name, folder, size, folder.stat().st_mtime, (folder / "pinned").exists(), meta)
