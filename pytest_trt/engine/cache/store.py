"""The engine cache on disk.

Among many workers, one builds an engine and the others wait for it. Entries are always complete, and an entry whose
files were changed is not used.

    <folder>/<digest>/      plan, meta.json, layers.json, and the backend's own files
    <folder>/models/<sha>/  models and plans that functions returned
    <folder>/timing/        timing caches
    <folder>/tmp/           entries and models that are being written
    <folder>/locks/         lock files of builds and uses
    <folder>/CACHEDIR.TAG   marks the folder as this cache; pruning another folder would remove other people's files

An entry is written in tmp/, flushed to the disk, and renamed into place. A process that is killed leaves at most a
folder in tmp/, which `prune` removes.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_trt.core.records import Layer
from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.engine.cache import entry
from pytest_trt.engine.cache.digest import file_sha256, folder_sha256
from pytest_trt.engine.cache.entry import Entry, Meta
from pytest_trt.engine.cache.folder import KEY, cache_errors, create_folder
from pytest_trt.engine.cache.item import CachedItem, read_item
from pytest_trt.engine.cache.locks import Locks
from pytest_trt.errors import CacheError, RecordError

_LEFTOVER_S = 3600.0
"""The age at which a model in tmp/ is removed. It has no key whose lock could be tested, and normally stays there for
seconds."""


class Store:
    """The engine cache in one folder, which is created with mode 0700.

    No process prunes an entry that this store returned before `close` is called or this process ends.

    Args:
        folder: The folder of the cache.
        max_bytes: The size that the cache is pruned to after every build.

    Raises:
        CacheError: The folder belongs to another user or is writable by others, which is refused because a plan
            contains code; or it holds other files than a cache; or it cannot be used. Every method raises CacheError
            for errors of the file system.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder.absolute(), max_bytes
        with self._cache_errors():
            create_folder(self.folder)
        self._locks = Locks(self.folder / "locks")
        self._apart: list[Path] = []

    @classmethod
    def temporary(cls) -> Store:
        """Return a cache for this process alone, which is deleted when it is closed or the process ends."""
        store = _Temporary(ScratchFolder("cache"))
        atexit.register(store.close)
        return store

    @contextlib.contextmanager
    def lock(self, digest: str, report_waiting: Callable[[str], None]) -> Iterator[None]:
        """Ensure within the block that no other process looks for or builds `digest`.

        Args:
            digest: The engine's digest.
            report_waiting: Called with a line of text from time to time while another process holds the lock.
        """
        with contextlib.ExitStack() as stack:
            with self._cache_errors():
                stack.enter_context(self._locks.building(digest, report_waiting))
            yield

    def find(self, digest: str) -> tuple[Entry | None, str]:
        """Return the entry of an engine, or None, with a note if the entry exists but differs from what was saved.

        Call it within `lock`.
        """
        folder = self.folder / digest
        if not folder.exists():
            return None, ""
        with self._cache_errors():
            self._locks.use(digest)
        try:
            found = entry.read(folder)
        except (RecordError, OSError, ValueError) as error:
            return None, f"the cached engine {folder} is not what was saved ({error}): it was built again"
        with contextlib.suppress(OSError):  # without the time of its use the entry may be pruned early, which is safe
            os.utime(folder)
        return found, ""

    def calibration_file(self, name: str, calibration_key: str) -> Path | None:
        """Return the file `name` of any entry with this calibration key, or None if there is none.

        The file's SHA-256 is checked.
        """
        for item in self.list() if calibration_key else ():
            if item.meta is not None and item.meta.calibration == calibration_key and name in item.meta.files:
                with contextlib.suppress(OSError):  # another process may prune the entry at any moment
                    if file_sha256(item.folder / name) == item.meta.files[name]:
                        return item.folder / name
        return None

    @contextlib.contextmanager
    def draft(self, digest: str) -> Iterator[Path]:
        """Yield a new folder to build in.

        The folder is deleted afterwards, unless `save` turned it into an entry.
        """
        with self._cache_errors():
            self._locks.use(digest)
            folder = Path(tempfile.mkdtemp(prefix=f"{digest}.", dir=self.folder / "tmp"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def save(self, draft: Path, meta: Meta, layers: tuple[Layer, ...]) -> Entry:
        """Turn the folder `draft` into the entry of `meta.digest`, and prune the cache.

        An existing entry is replaced. `meta.files` and `meta.created` are filled in. Call it within `lock`.
        """
        with self._cache_errors():
            sealed = entry.seal(draft, meta, layers)
            self._move_into_place(draft, self.folder / meta.digest)
        self.prune()
        return dataclasses.replace(sealed, folder=self.folder / meta.digest)

    def save_apart(self, draft: Path, meta: Meta, layers: tuple[Layer, ...]) -> Entry:
        """Turn the folder `draft` into an entry that `find` does not return.

        The entry is deleted when this store is closed.
        """
        with self._cache_errors():
            folder = draft.rename(draft.with_name(f"{draft.name}.aside"))
            self._apart.append(folder)
            return entry.seal(folder, meta, layers)

    def save_model(self, name: str, write: Callable[[Path], object]) -> Path:
        """Save a model under the SHA-256 of its files, and return its path.

        Args:
            name: The model's file name.
            write: Writes the model, and files beside it, to the path that it is called with.
        """
        with self.model_draft() as draft:
            with self._cache_errors():
                write(draft / name)
            return self.keep_model(draft) / name

    @contextlib.contextmanager
    def model_draft(self) -> Iterator[Path]:
        """Yield a new folder for a model, which is deleted afterwards unless `keep_model` kept it."""
        with self._cache_errors():
            draft = Path(tempfile.mkdtemp(prefix="model.", dir=self.folder / "tmp"))
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def keep_model(self, draft: Path) -> Path:
        """Keep the folder `draft` under the SHA-256 of its files, and return where it is."""
        with self._cache_errors():
            key = folder_sha256(draft)
            folder = self.folder / "models" / key
            with self._locks.building(key, lambda text: None):
                if self.find_model(key) is None:
                    self._move_into_place(draft, folder)
        return folder

    def find_model(self, key: str) -> Path | None:
        """Return the folder of the model whose files have this SHA-256; None if it is not there."""
        folder = self.folder / "models" / key
        with self._cache_errors():
            self._locks.use(key)
            if not folder.is_dir() or folder_sha256(folder) != key:
                return None
            os.utime(folder)  # other processes may be reading it, so it is not replaced
        return folder

    def timing_cache(self, version: str, device: str) -> Path:
        """Return the path of the timing cache of a backend version and device, which need not exist.

        Write it atomically: other processes read it.
        """
        slug = re.sub(r"[^A-Za-z0-9._]+", "-", f"{version}-{device}").strip("-")
        return self.folder / "timing" / f"{slug}.cache"

    def pin(self, digest: str, pinned: bool = True) -> None:
        """Protect an entry from pruning, or end its protection.

        Raises:
            CacheError: The entry does not exist.
        """
        folder = self.folder / digest
        if not folder.is_dir():
            raise CacheError(
                f"engine cache {self.folder} has no engine {digest}: list its engines with pytest-trt cache list"
            )
        with self._cache_errors():
            (folder / "pinned").touch() if pinned else (folder / "pinned").unlink(missing_ok=True)

    def list(self) -> tuple[CachedItem, ...]:
        """Return everything in the cache, the least recently used first."""
        items = []
        for folder in (*self.folder.iterdir(), *(self.folder / "models").iterdir()):
            if KEY.fullmatch(folder.name):
                with contextlib.suppress(FileNotFoundError):  # another process pruned it in the meantime
                    items.append(read_item(folder))
        return tuple(sorted(items, key=lambda item: item.used))

    def prune(self, max_bytes: int | None = None, max_age_s: float | None = None) -> tuple[CachedItem, ...]:
        """Remove old items, then the least recently used ones until the cache is small enough.

        Pinned items, and items that a running process uses, stay. Temporary files of killed processes are removed too.

        Args:
            max_bytes: The size to prune to. By default that of the store.
            max_age_s: Remove everything that was not used for so many seconds.

        Returns:
            The items that were removed.
        """
        limit = self.max_bytes if max_bytes is None else max_bytes
        self._remove_leftovers()
        items = self.list()
        total, now, removed = sum(item.bytes for item in items), time.time(), []
        for item in items:
            too_old = max_age_s is not None and now - item.used > max_age_s
            if (too_old or total > limit) and not item.pinned and self._remove(item):
                total -= item.bytes
                removed.append(item)
        return tuple(removed)

    def clear(self) -> tuple[CachedItem, ...]:
        """Remove everything that no running process uses, pinned items and timing caches included.

        Returns:
            The items that were removed.
        """
        self._remove_leftovers()
        with self._cache_errors():
            for cache in (self.folder / "timing").iterdir():
                cache.unlink(missing_ok=True)
        return tuple(item for item in self.list() if self._remove(item))

    def close(self) -> None:
        """Release every entry that this store returned, so that other processes may prune it."""
        while self._apart:
            shutil.rmtree(self._apart.pop(), ignore_errors=True)
        self._locks.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _move_into_place(self, draft: Path, folder: Path) -> None:
        """Replace `folder` with a draft, whose files are first flushed to the disk."""
        entry.sync(*draft.iterdir(), draft)
        self._discard(folder)
        draft.rename(folder)
        entry.sync(folder.parent)

    def _remove(self, item: CachedItem) -> bool:
        """Remove an item and return True, unless a process uses it."""
        with self._cache_errors(), self._locks.idle(item.key) as idle:
            if idle:
                self._discard(item.folder)
            return idle

    def _discard(self, folder: Path) -> None:
        """Remove a folder at once: it is renamed before its files are deleted, so that no process sees half of it."""
        away = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=self.folder / "tmp"))
        with contextlib.suppress(FileNotFoundError):
            folder.rename(away)
        shutil.rmtree(away, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Remove the temporary files that killed processes left."""
        for left in (self.folder / "tmp").iterdir():
            key = left.name.partition(".")[0]
            if KEY.fullmatch(key):
                with self._cache_errors(), self._locks.idle(key) as idle:
                    if idle:
                        shutil.rmtree(left, ignore_errors=True)
            else:
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - left.stat().st_mtime > _LEFTOVER_S:
                        shutil.rmtree(left, ignore_errors=True)

    def _cache_errors(self) -> contextlib.AbstractContextManager[None]:
        return cache_errors(self.folder)


class _Temporary(Store):
    """A cache whose folder is deleted when it is closed."""

    def __init__(self, scratch: ScratchFolder) -> None:
        super().__init__(scratch.path, 2**63)
        self._scratch = scratch

    def close(self) -> None:
        super().close()
        self._scratch.close()
