"""The engine cache on disk: one build among many workers, nothing half-written, nothing trusted that was changed.

    <folder>/<digest>/      plan, meta.json, layers.json, and what the backend put beside the plan
    <folder>/models/<sha>/  models and plans that functions returned
    <folder>/timing/        timing caches
    <folder>/tmp/           what is being written
    <folder>/locks/         who builds and who uses what
    <folder>/CACHEDIR.TAG   says that the folder is this cache: in any other one, pruning would remove what is not ours

An entry is written in tmp/, synced, and renamed into place: a process killed at any moment leaves at most something in
tmp/, which `prune` sweeps.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pytest_trt.core.records import Layer
from pytest_trt.engine.cache import entry
from pytest_trt.engine.cache.digest import file_sha256
from pytest_trt.engine.cache.entry import Entry, Meta
from pytest_trt.engine.cache.locks import Locks
from pytest_trt.errors import CacheError, RecordError

_KEY = re.compile(r"[0-9a-f]{64}")
_PARTS = ("models", "timing", "tmp", "locks")
_TAG = """Signature: 8a477f597d28d172789f06886806bc55
# The engine cache of pytest-trt; backup programs leave it out: https://bford.info/cachedir/
"""
_STRAY_S = 3600.0
"""How old a model in tmp/ must be to be swept: it has no key yet, and is only ever there for seconds."""


@dataclasses.dataclass(frozen=True)
class CachedItem:
    """What the cache keeps under `key`. `used` is when it was last used, in seconds since the epoch; `meta` is None for
    a model, and for an engine whose meta.json cannot be read."""

    key: str
    folder: Path
    bytes: int
    used: float
    pinned: bool
    meta: Meta | None


class Store:
    """The cache in `folder`, made with mode 0700 if it is not there; `max_bytes` bounds it after every build.

    A plan runs code: raises CacheError where the folder is another user's or others can write to it, where it holds
    something else than a cache, and wherever the disk does not let it work. What it hands out is not pruned by any
    process before `close`, or the end of this one.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder.absolute(), max_bytes
        with self._cache_errors():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_owner(self.folder)
            _tag(self.folder)
            for part in _PARTS:
                (self.folder / part).mkdir(mode=0o700, exist_ok=True)
        self._locks = Locks(self.folder / "locks")
        self._aside: list[Path] = []

    @classmethod
    def temporary(cls) -> Store:
        """A cache for this process alone; it goes when it is closed, or when the process ends."""
        store = _Temporary(Path(tempfile.mkdtemp(prefix="pytest-trt-cache-")), 2**63)
        atexit.register(store.close)
        return store

    @contextlib.contextmanager
    def lock(self, digest: str, waiting: Callable[[str], None]) -> Iterator[None]:
        """Be the only process that looks for or builds `digest`; `waiting` is told while another one is."""
        with contextlib.ExitStack() as held:
            with self._cache_errors():
                held.enter_context(self._locks.building(digest, waiting))
            yield

    def find(self, digest: str) -> tuple[Entry | None, str]:
        """The entry; or None, with what is wrong where there is one that is not what was saved. Call it in `lock`."""
        folder = self.folder / digest
        if not folder.exists():
            return None, ""
        with self._cache_errors():
            self._locks.use(digest)
        try:
            found = entry.read(folder)
        except (RecordError, OSError, ValueError) as error:
            return None, f"the cached engine {folder} is not what was saved ({error}): it was built again"
        with contextlib.suppress(OSError):  # what is not noted as used may be pruned early, no more
            os.utime(folder)
        return found, ""

    def calibration_file(self, name: str, calibration_key: str) -> Path | None:
        """The file of that name in an entry of that calibration, its SHA-256 checked; None where there is none."""
        for kept in self.list() if calibration_key else ():
            if kept.meta is not None and kept.meta.calibration == calibration_key and name in kept.meta.files:
                with contextlib.suppress(OSError):  # it may be pruned at any moment
                    if file_sha256(kept.folder / name) == kept.meta.files[name]:
                        return kept.folder / name
        return None

    @contextlib.contextmanager
    def draft(self, digest: str) -> Iterator[Path]:
        """A new folder to build in. What is in it is gone afterwards, unless `save` made an entry of it."""
        with self._cache_errors():
            self._locks.use(digest)
            folder = Path(tempfile.mkdtemp(prefix=f"{digest}.", dir=self.folder / "tmp"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def save(self, draft: Path, meta: Meta, layers: tuple[Layer, ...]) -> Entry:
        """Make the entry of `meta.digest` of what `draft` holds, in place of what is there; `meta.files` and
        `meta.created` are filled in here. Call it in `lock`."""
        with self._cache_errors():
            sealed = entry.seal(draft, meta, layers)
            self._move_into_place(draft, self.folder / meta.digest)
        self.prune()
        return dataclasses.replace(sealed, folder=self.folder / meta.digest)

    def save_apart(self, draft: Path, meta: Meta, layers: tuple[Layer, ...]) -> Entry:
        """Like `save`, beside what is cached: nobody else finds it, and it is gone when this store is closed."""
        with self._cache_errors():
            folder = draft.rename(draft.with_name(f"{draft.name}.aside"))
            self._aside.append(folder)
            return entry.seal(folder, meta, layers)

    def save_model(self, name: str, write: Callable[[Path], object]) -> Path:
        """The path of a model that `write` writes to the path it is given: kept under the SHA-256 of what it wrote."""
        with self._cache_errors():
            draft = Path(tempfile.mkdtemp(prefix="model.", dir=self.folder / "tmp"))
            try:
                write(draft / name)
                key = _folder_sha256(draft)
                folder = self.folder / "models" / key
                with self._locks.building(key, lambda text: None):
                    self._locks.use(key)
                    if folder.is_dir() and _folder_sha256(folder) == key:
                        os.utime(folder)  # others may be reading it: it stays where it is
                    else:
                        self._move_into_place(draft, folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        return folder / name

    def timing_cache(self, version: str, device: str) -> Path:
        """Where the timing cache of that backend version and device lies. Whoever writes it writes it whole."""
        slug = re.sub(r"[^A-Za-z0-9._]+", "-", f"{version}-{device}").strip("-")
        return self.folder / "timing" / f"{slug}.cache"

    def pin(self, digest: str, pinned: bool = True) -> None:
        """Keep an entry from being pruned, or let it go again. Raises CacheError where it is not there."""
        folder = self.folder / digest
        if not folder.is_dir():
            raise CacheError(f"engine cache {self.folder} has no engine {digest}: pytest-trt cache list shows them")
        with self._cache_errors():
            (folder / "pinned").touch() if pinned else (folder / "pinned").unlink(missing_ok=True)

    def list(self) -> tuple[CachedItem, ...]:
        """Everything that is kept, the least recently used first."""
        kept = []
        for folder in (*self.folder.iterdir(), *(self.folder / "models").iterdir()):
            if _KEY.fullmatch(folder.name):
                with contextlib.suppress(FileNotFoundError):  # another process pruned it meanwhile
                    kept.append(_read_item(folder))
        return tuple(sorted(kept, key=lambda one: one.used))

    def prune(self, max_bytes: int | None = None, max_age_s: float | None = None) -> tuple[CachedItem, ...]:
        """Remove what was not used for `max_age_s`, then the least recently used until at most `max_bytes` (default:
        the store's own) are kept, and sweep what killed processes left. What is pinned, or used by a living process,
        stays. Returns what was removed."""
        limit = self.max_bytes if max_bytes is None else max_bytes
        self._remove_leftovers()
        kept = self.list()
        total, now, removed = sum(one.bytes for one in kept), time.time(), []
        for one in kept:
            too_old = max_age_s is not None and now - one.used > max_age_s
            if (too_old or total > limit) and not one.pinned and self._remove(one):
                total -= one.bytes
                removed.append(one)
        return tuple(removed)

    def clear(self) -> tuple[CachedItem, ...]:
        """Remove everything, what is pinned and the timing caches too; only what a living process uses stays. Returns
        what was removed."""
        self._remove_leftovers()
        with self._cache_errors():
            for cache in (self.folder / "timing").iterdir():
                cache.unlink(missing_ok=True)
        return tuple(one for one in self.list() if self._remove(one))

    def close(self) -> None:
        """Let go of everything that was handed out."""
        while self._aside:
            shutil.rmtree(self._aside.pop(), ignore_errors=True)
        self._locks.release()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _move_into_place(self, draft: Path, folder: Path) -> None:
        """Put a draft in place of whatever is there, on the disk before anybody sees it."""
        entry.sync(*draft.iterdir(), draft)
        self._discard(folder)
        draft.rename(folder)
        entry.sync(folder.parent)

    def _remove(self, one: CachedItem) -> bool:
        with self._cache_errors(), self._locks.idle(one.key) as idle:
            if idle:
                self._discard(one.folder)
            return idle

    def _discard(self, folder: Path) -> None:
        """Remove a folder so that nobody ever sees half of it."""
        away = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=self.folder / "tmp"))
        with contextlib.suppress(FileNotFoundError):
            folder.rename(away)
        shutil.rmtree(away, ignore_errors=True)

    def _remove_leftovers(self) -> None:
        for left in (self.folder / "tmp").iterdir():
            key = left.name.partition(".")[0]
            if _KEY.fullmatch(key):
                with self._cache_errors(), self._locks.idle(key) as idle:
                    if idle:
                        shutil.rmtree(left, ignore_errors=True)
            else:
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - left.stat().st_mtime > _STRAY_S:
                        shutil.rmtree(left, ignore_errors=True)

    @contextlib.contextmanager
    def _cache_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CacheError(f"engine cache {self.folder}{_remedy(error, self.folder)}") from error


class _Temporary(Store):
    def close(self) -> None:
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _check_owner(folder: Path) -> None:
    state, elsewhere = folder.stat(), "or name another with --trt-cache-dir"
    if state.st_uid != os.geteuid():
        raise CacheError(f"engine cache {folder} belongs to another user (uid {state.st_uid}): chown it, {elsewhere}")
    if state.st_mode & 0o022:
        mode = f"{state.st_mode & 0o7777:04o}"
        raise CacheError(f"engine cache {folder} is writable by others (mode {mode}): chmod 700 it, {elsewhere}")


def _tag(folder: Path) -> None:
    """Mark a folder that is new, or holds nothing but a cache. Raises CacheError for one that others use."""
    tag = folder / "CACHEDIR.TAG"
    if tag.is_file() and tag.read_bytes() == _TAG.encode():
        return
    ours = (*_PARTS, "calibration", tag.name, "lost+found")  # the last is what a volume mounted here comes with
    other = sorted(path.name for path in folder.iterdir() if path.name not in ours and not _KEY.fullmatch(path.name))
    if other:
        raise CacheError(
            f"{folder} is no engine cache: it holds {', '.join(other[:3])}{', ...' if len(other) > 3 else ''}, and a "
            "cache removes what it does not know: name a new or empty folder with --trt-cache-dir"
        )
    tag.write_text(_TAG)


def _remedy(error: OSError, folder: Path) -> str:
    """What happened, and what to do, as the end of a message."""
    elsewhere = "name another with --trt-cache-dir, or use --trt-no-cache"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free_mb = shutil.disk_usage(folder).free / 1e6
        return f" has no space ({error.strerror}, {free_mb:.0f} MB free): pytest-trt cache prune, {elsewhere}"
    where = f" {error.filename}" if error.filename else ""
    return f" cannot be used ({error.strerror or error}{where}): make it a folder you can write to, {elsewhere}"


def _folder_sha256(folder: Path) -> str:
    """The SHA-256 of all files of a folder and their names."""
    hashes = [f"{file.name} {file_sha256(file)}" for file in sorted(folder.iterdir())]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _read_item(folder: Path) -> CachedItem:
    size = sum(file.stat().st_size for file in folder.iterdir())
    try:
        meta = entry.read_meta(folder)
    except (RecordError, FileNotFoundError):
        meta = None
    return CachedItem(folder.name, folder, size, folder.stat().st_mtime, (folder / "pinned").exists(), meta)
