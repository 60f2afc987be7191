"""The interface of an engine cache, as whoever provides engines uses it (see `store.Store`)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pytest_trt.core.records import Layer
from pytest_trt.engine.cache.entry import Entry, Meta


class EngineStore(Protocol):
    """An engine cache, on this host or on another one. Its methods are those of `Store`.

    The paths of entries and of timing caches are valid where engines are built and run. The folder that `draft` yields
    is on this host.
    """

    def lock(self, digest: str, report_waiting: Callable[[str], None]) -> contextlib.AbstractContextManager[None]:
        """Ensure within the block that no other process looks for or builds `digest`."""
        ...

    def find(self, digest: str) -> tuple[Entry | None, str]:
        """Return the entry of an engine, or None, with a note if the entry exists but differs from what was saved."""
        ...

    def calibration_file(self, name: str, calibration_key: str) -> Path | None:
        """Return a copy, on this host, of the file `name` of any entry with this calibration key."""
        ...

    def draft(self, digest: str) -> contextlib.AbstractContextManager[Path]:
        """Yield a new folder to build in."""
        ...

    def save(self, draft: Path, meta: Meta, layers: tuple[Layer, ...]) -> Entry:
        """Turn the folder `draft` into the entry of `meta.digest`."""
        ...

    def save_apart(self, draft: Path, meta: Meta, layers: tuple[Layer, ...]) -> Entry:
        """Turn the folder `draft` into an entry that `find` does not return."""
        ...

    def timing_cache(self, version: str, device: str) -> Path:
        """Return the path of the timing cache of a backend version and device."""
        ...

    def pin(self, digest: str, pinned: bool = True) -> None:
        """Protect an entry from pruning, or end its protection. Raises CacheError if it does not exist."""
        ...
