"""The engine cache on disk: one build among many workers, nothing half-written, nothing trusted that was changed.

    <folder>/<digest>/      plan, meta.json, layers.json, and what the backend put beside the plan
    <folder>/models/<sha>/  models and plans that functions returned
    <folder>/timing/        timing caches
    <folder>/tmp/           what is being written
    <folder>/locks/         for each key, who builds it (.lock) and who uses it (.use)

An entry is written in tmp/, synced, and renamed into place: a process killed at any moment leaves at most something in
tmp/, which the next `prune` sweeps. Locks are the kernel's, so that they end with the process that holds them.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from pytest_trt import codec
from pytest_trt.engine.digest import file_sha256
from pytest_trt.errors import CacheError, RecordError
from pytest_trt.records import Environment, Layer
from pytest_trt.spec import from_json

SCHEMA = 1
WAIT_S = 10.0
"""How often a worker that waits for another one's build says so."""

_KEY = re.compile(r"[0-9a-f]{64}")
_META_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Meta:
    """What meta.json says of an entry. `files` maps each file's name to its SHA-256; `created` is UTC, ISO 8601."""

    digest: str
    files: Mapping[str, str]
    spec: Mapping[str, Any]
    environment: Environment
    build_s: float
    precisions: Mapping[str, float] = dataclasses.field(default_factory=dict)
    proved_by: str = ""
    notes: tuple[str, ...] = ()
    created: str = ""
    schema: int = SCHEMA


@dataclasses.dataclass(frozen=True)
class Entry:
    """An engine in the cache, its files checked."""

    folder: Path
    meta: Meta
    layers: tuple[Layer, ...]

    @property
    def plan(self) -> Path:
        return self.folder / "plan"


@dataclasses.dataclass(frozen=True)
class Kept:
    """An entry as `list` and `prune` see it. `used` is when it was last used, in seconds since the epoch."""

    key: str
    folder: Path
    bytes: int
    used: float
    pinned: bool
    meta: Meta | None


class Store:
    """The cache in `folder`, made with mode 0700 if it is not there.

    A plan runs code: raises CacheError where the folder is another user's or others can write to it, and wherever
    the disk does not let it work. Close it, or use it as a context manager: entries handed out until then are never
    pruned.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder.absolute(), max_bytes
        self._used: dict[str, int] = {}
        with self._explained():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _check_owner(self.folder)
            for part in ("models", "timing", "tmp", "locks"):
                (self.folder / part).mkdir(mode=0o700, exist_ok=True)

    @classmethod
    def temporary(cls) -> Store:
        """A cache for this process alone; it goes when it is closed, or when the process ends."""
        store = _Temporary(Path(tempfile.mkdtemp(prefix="pytest-trt-cache-")), 2**63)
        atexit.register(store.close)
        return store

    @contextlib.contextmanager
    def lock(self, digest: str, waiting: Callable[[str], None]) -> Iterator[None]:
        """Hold what one process at a time may hold for `digest`. `waiting` is told, every WAIT_S, who keeps it."""
        lock = filelock.FileLock(self._lock_path(digest, "lock"), thread_local=False)
        started = time.monotonic()
        with self._explained():
            while True:
                try:
                    lock.acquire(timeout=WAIT_S if time.monotonic() - started > 0.1 else 0.1)
                    break
                except filelock.Timeout:
                    seconds = time.monotonic() - started
                    waiting(f"another process builds this engine ({digest[:12]}); waited {seconds:.0f} s")
        try:
            yield
        finally:
            lock.release()

    def find(self, digest: str) -> tuple[Entry | None, str]:
        """The entry, its files' SHA-256 checked; None where there is none or it is not what was saved, then with what
        is wrong. Call it within `lock`."""
        folder = self.folder / digest
        if not folder.exists():
            return None, ""
        self._use(digest)
        try:
            entry = _read_entry(folder, digest)
        except (RecordError, OSError) as error:
            return None, f"the cached engine {folder} is not what was saved ({error}): it is built again"
        with contextlib.suppress(OSError):  # a time of last use that cannot be set costs an early prune, no more
            os.utime(folder)
        return entry, ""

    @contextlib.contextmanager
    def draft(self, digest: str) -> Iterator[Path]:
        """A new folder in tmp/ to build in; gone afterwards unless `save` made an entry of it."""
        with self._explained():
            self._use(digest)
            folder = Path(tempfile.mkdtemp(prefix=f"{digest}.", dir=self.folder / "tmp"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def save(self, draft: Path, meta: Meta, layers: tuple[Layer, ...], *, replace: bool = True) -> Entry:
        """Make an entry of what `draft` holds; `meta.files` is filled in here. With `replace=False` it lies beside the
        cached one and is gone when the store is closed. Call it within `lock`."""
        with self._explained():
            (draft / "layers.json").write_text(json.dumps(codec.encode(layers)))
            files = {file.name: file_sha256(file) for file in sorted(draft.iterdir())}
            meta = dataclasses.replace(meta, files=files, created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
            (draft / "meta.json").write_text(json.dumps(codec.encode(meta), sort_keys=True, indent=1))
            folder = self.folder / meta.digest if replace else self._aside(meta.digest)
            self._move(draft, folder)
        if replace:
            self.prune()
        return Entry(folder, meta, layers)

    def keep_model(self, name: str, write: Callable[[Path], object]) -> Path:
        """The path of a model that `write` writes to the path that it is given, kept under its content's SHA-256."""
        with self._explained():
            draft = Path(tempfile.mkdtemp(prefix="model.", dir=self.folder / "tmp"))
            try:
                write(draft / name)
                hashes = "".join(file_sha256(file) for file in sorted(draft.iterdir()))
                key = hashlib.sha256(hashes.encode()).hexdigest()
                with self.lock(key, lambda text: None):
                    self._use(key)
                    folder = self.folder / "models" / key
                    self._move(draft, folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        return folder / name

    def timing_cache(self, version: str, device: str) -> Path:
        """Where the timing cache of that backend version and device lies."""
        slug = re.sub(r"[^A-Za-z0-9._]+", "-", f"{version}-{device}").strip("-")
        return self.folder / "timing" / f"{slug}.cache"

    def pin(self, digest: str, pinned: bool = True) -> None:
        """Keep an entry from being pruned, or let it go again. Raises CacheError where it is not there."""
        with self._explained():
            if not (self.folder / digest).is_dir():
                raise CacheError(f"engine cache {self.folder} has no engine {digest}: pytest-trt cache list shows them")
            mark = self.folder / digest / "pinned"
            mark.touch() if pinned else mark.unlink(missing_ok=True)

    def list(self) -> tuple[Kept, ...]:
        """Every entry, the least recently used first."""
        folders = [*self.folder.iterdir(), *(self.folder / "models").iterdir()]
        kept = []
        for folder in folders:
            if _KEY.fullmatch(folder.name):
                with contextlib.suppress(FileNotFoundError):  # another process pruned it
                    kept.append(_kept(folder))
        return tuple(sorted(kept, key=lambda entry: entry.used))

    def prune(self, max_bytes: int | None = None, max_age_s: float | None = None) -> tuple[Kept, ...]:
        """Remove entries not used for `max_age_s`, then the least recently used until the cache has at most
        `max_bytes` (default: what the store was opened with). What is pinned or used by a living process stays. Also
        sweeps what killed processes left. Returns what was removed."""
        limit = self.max_bytes if max_bytes is None else max_bytes
        self._sweep()
        entries = self.list()
        total, now, removed = sum(entry.bytes for entry in entries), time.time(), []
        for entry in entries:
            too_old = max_age_s is not None and now - entry.used > max_age_s
            if (too_old or total > limit) and not entry.pinned and self._remove(entry.key, entry.folder):
                total -= entry.bytes
                removed.append(entry)
        return tuple(removed)

    def clear(self) -> tuple[Kept, ...]:
        """Remove every entry, pinned ones too, and the timing caches; what a living process uses stays."""
        self._sweep()
        removed = tuple(entry for entry in self.list() if self._remove(entry.key, entry.folder))
        for cache in (self.folder / "timing").iterdir():
            cache.unlink(missing_ok=True)
        return removed

    def close(self) -> None:
        """Let go of every entry that was handed out."""
        for digest, descriptor in self._used.items():
            for folder in (self.folder / "tmp").glob(f"{digest}.aside.{os.getpid()}.*"):
                shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)
        self._used.clear()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _lock_path(self, key: str, kind: str) -> Path:
        return self.folder / "locks" / f"{key}.{kind}"

    def _aside(self, digest: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{digest}.aside.{os.getpid()}.", dir=self.folder / "tmp"))

    def _use(self, key: str) -> None:
        """Mark an entry as used by this process: a shared lock, which ends with the process."""
        if key not in self._used:
            descriptor = os.open(self._lock_path(key, "use"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            self._used[key] = descriptor

    @contextlib.contextmanager
    def _alone(self, key: str) -> Iterator[bool]:
        """Whether nobody builds or uses `key`; while the block runs, nobody can begin to."""
        lock = filelock.FileLock(self._lock_path(key, "lock"), thread_local=False)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            yield False
            return
        try:
            descriptor = os.open(self._lock_path(key, "use"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
            finally:
                os.close(descriptor)
        finally:
            lock.release()

    def _remove(self, key: str, folder: Path) -> bool:
        with self._alone(key) as alone, self._explained():
            if alone:
                self._discard(folder)
            return alone

    def _discard(self, folder: Path) -> None:
        """Remove a folder so that no half of it is ever seen in its place."""
        with contextlib.suppress(FileNotFoundError):
            away = Path(tempfile.mkdtemp(prefix="gone.", dir=self.folder / "tmp"))
            folder.rename(away)
            shutil.rmtree(away, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what killed processes left in tmp/. What belongs to no key is only ever there for seconds."""
        for left in (self.folder / "tmp").iterdir():
            key = left.name.partition(".")[0]
            if _KEY.fullmatch(key):
                with self._alone(key) as alone:
                    if alone:
                        shutil.rmtree(left, ignore_errors=True)
            else:
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - left.stat().st_mtime > 3600:
                        shutil.rmtree(left, ignore_errors=True)

    def _move(self, draft: Path, folder: Path) -> None:
        """Sync a draft and put it in place of whatever is there."""
        for file in draft.iterdir():
            _sync(file)
        _sync(draft)
        if folder.exists():
            self._discard(folder)
        draft.rename(folder)
        _sync(folder.parent)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CacheError(f"engine cache {self.folder}: {_remedy(error, self.folder)}") from error


class _Temporary(Store):
    def close(self) -> None:
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _check_owner(folder: Path) -> None:
    state = folder.stat()
    remedy = "or name another with --trt-cache-dir"
    if state.st_uid != os.geteuid():
        raise CacheError(f"engine cache {folder} belongs to another user (uid {state.st_uid}): take it over, {remedy}")
    if state.st_mode & 0o022:
        mode = f"{state.st_mode & 0o7777:04o}"
        raise CacheError(f"engine cache {folder} is writable by others (mode {mode}): chmod 700 it, {remedy}")


def _remedy(error: OSError, folder: Path) -> str:
    elsewhere = "name another folder with --trt-cache-dir, or use --trt-no-cache"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free = shutil.disk_usage(folder).free / 1e6
        return (
            f"no space is left to save to ({error.strerror}; {free:.0f} MB free): pytest-trt cache prune makes some; "
            f"or {elsewhere}"
        )
    where = f" {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}: make it writable, {elsewhere}"


def _read_entry(folder: Path, digest: str) -> Entry:
    """Raises RecordError or OSError where anything is not as it was saved."""
    meta: Meta = from_json(Meta, _text(folder / "meta.json"))
    if meta.schema != SCHEMA or meta.digest != digest:
        raise RecordError(f"meta.json is of another engine or schema ({meta.digest[:12]}, {meta.schema})")
    if not {"plan", "layers.json"} <= meta.files.keys() or any("/" in name for name in meta.files):
        raise RecordError("meta.json does not list the plan and its layers")
    for name, sha256 in meta.files.items():
        if file_sha256(folder / name) != sha256:
            raise RecordError(f"the SHA-256 of {name} is another")
    try:
        layers = codec.check(tuple[Layer, ...], json.loads((folder / "layers.json").read_bytes()), "layers.json")
    except ValueError as error:
        raise RecordError(f"layers.json: {error}") from error
    return Entry(folder, meta, layers)


def _text(file: Path) -> str:
    if file.stat().st_size > _META_BYTES:
        raise RecordError(f"{file.name} is longer than {_META_BYTES} bytes")
    return file.read_text(errors="replace")


def _kept(folder: Path) -> Kept:
    size = sum(file.stat().st_size for file in folder.iterdir())
    try:
        meta = from_json(Meta, _text(folder / "meta.json"))
    except (RecordError, FileNotFoundError):
        meta = None
    return Kept(folder.name, folder, size, folder.stat().st_mtime, (folder / "pinned").exists(), meta)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
