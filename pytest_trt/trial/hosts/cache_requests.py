"""The requests of a session that concern the engine cache of this host, and the files that it receives."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.core import codec
from pytest_trt.core.records import Layer
from pytest_trt.engine.cache.entry import Entry, Meta
from pytest_trt.engine.cache.item import CachedItem
from pytest_trt.engine.cache.store import Store
from pytest_trt.errors import HostError

Items = list[dict[str, Any]]


class CacheRequests:
    """Serves these requests (see `agent.Agent`).

    Args:
        engines: Returns the engine cache.

    Attributes:
        by_name: The requests by their names.
    """

    def __init__(self, engines: Callable[[], Store]) -> None:
        self._engines = engines
        self._drafts: dict[str, contextlib.ExitStack] = {}
        names = (
            "find", "draft", "put", "remove", "save", "discard", "pin", "timing_cache", "calibration_file", "model",
            "save_model", "folder", "list", "prune", "clear",
        )  # fmt: skip
        self.by_name: dict[str, Callable[..., Any]] = {name: getattr(self, name) for name in names}

    def find(self, digest: str) -> list[Any]:
        """Return the entry of an engine, or None, and a note."""
        entry, note = self._engines().find(digest)
        return [None if entry is None else _encode(entry), note]

    def draft(self, digest: str) -> str:
        """Return a new folder to build an engine in; without a digest, to receive a model in."""
        stack, store = contextlib.ExitStack(), self._engines()
        folder = str(stack.enter_context(store.draft(digest) if digest else store.model_draft()))
        self._drafts[folder] = stack
        return folder

    def put(self, folder: str, name: str, payload: bytes = b"") -> None:
        """Append to a file in a draft."""
        path = self._path(folder, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(payload)
        except OSError as error:
            error.filename = str(path)  # for the message: writing does not name the file
            raise

    def remove(self, folder: str, names: Sequence[str]) -> None:
        """Remove files from a draft."""
        for name in names:
            self._path(folder, name).unlink(missing_ok=True)

    def _path(self, folder: str, name: str) -> Path:
        path = Path(folder, name)
        if folder not in self._drafts or not path.resolve().is_relative_to(Path(folder).resolve()):
            raise HostError(f"{path} is in no folder of this session")
        return path

    def save(self, folder: str, meta: dict[str, Any], layers: list[Any], apart: bool) -> dict[str, Any]:
        """Turn a draft into an entry of the cache, and return it."""
        store = self._engines()
        decoded = codec.decode(Meta, meta), codec.check(tuple[Layer, ...], layers, "layers")
        return _encode((store.save_apart if apart else store.save)(Path(folder), *decoded))

    def discard(self, folder: str) -> None:
        """Remove a draft, unless it was saved."""
        self._drafts.pop(folder).close()

    def pin(self, digest: str, pinned: bool) -> None:
        """Protect an engine from pruning, or end its protection."""
        self._engines().pin(digest, pinned)

    def timing_cache(self, version: str, device: str) -> str:
        """Return the path of a timing cache."""
        return str(self._engines().timing_cache(version, device))

    def calibration_file(self, name: str, key: str) -> tuple[bool, bytes]:
        """Return whether there is a calibration cache, and its content."""
        found = self._engines().calibration_file(name, key)
        return found is not None, found.read_bytes() if found is not None else b""

    def model(self, key: str) -> str | None:
        """Return the folder of a model in the cache; None if it is not there."""
        found = self._engines().find_model(key)
        return None if found is None else str(found)

    def save_model(self, folder: str) -> str:
        """Turn a draft into a model of the cache, and return its folder."""
        return str(self._engines().keep_model(Path(folder)))

    def folder(self) -> str:
        """Return the folder of the cache."""
        return str(self._engines().folder)

    def list(self) -> Items:
        """Return everything in the cache."""
        return _encode_items(self._engines().list())

    def prune(self, max_age_s: float | None) -> Items:
        """Remove old items, then the least recently used ones, and return what was removed."""
        return _encode_items(self._engines().prune(max_age_s=max_age_s))

    def clear(self) -> Items:
        """Remove everything that no running process uses, and return what was removed."""
        return _encode_items(self._engines().clear())


def _encode_items(items: Sequence[CachedItem]) -> Items:
    now = time.time()  # the clock of the session may differ
    return [
        {
            "key": item.key,
            "folder": str(item.folder),
            "bytes": item.bytes,
            "idle_s": now - item.used,
            "pinned": item.pinned,
            "meta": codec.encode(item.meta),
        }
        for item in items
    ]


def _encode(entry: Entry) -> dict[str, Any]:
    return {
        "folder": str(entry.folder),
        "meta": codec.encode(entry.meta),
        "layers": codec.encode(entry.layers),
        "plan_bytes": entry.plan_bytes,
    }
