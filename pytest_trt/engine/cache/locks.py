"""Who builds an engine, and who uses it: locks of the kernel's, which end with the process that holds them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

WAIT_S = 10.0
"""How often a process that waits for another one's build says so."""


class Locks:
    """Two lock files a key in `folder`: `.lock`, held by the one that builds, and `.use`, shared by all that use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used: dict[str, int] = {}

    @contextlib.contextmanager
    def building(self, key: str, waiting: Callable[[str], None]) -> Iterator[None]:
        """Hold `key` alone; `waiting` is told, every WAIT_S, that another process has it. Raises OSError."""
        lock = self._lock(key)
        started = time.monotonic()
        patience_s = 0.1
        while True:
            try:
                lock.acquire(timeout=patience_s)
                break
            except filelock.Timeout:
                seconds, patience_s = time.monotonic() - started, WAIT_S
                waiting(f"another process builds this engine ({key[:12]}): waiting for it, {seconds:.0f} s")
        try:
            yield
        finally:
            lock.release()

    def use(self, key: str) -> None:
        """Mark `key` as used by this process until `release`. Raises OSError."""
        if key not in self._used:
            descriptor = self._open(key)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            self._used[key] = descriptor

    def release(self) -> None:
        """Use nothing any more."""
        while self._used:
            os.close(self._used.popitem()[1])

    @contextlib.contextmanager
    def idle(self, key: str) -> Iterator[bool]:
        """Whether nobody builds or uses `key`, this process included; if so, nobody begins to within the block."""
        lock = self._lock(key)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            yield False
            return
        try:
            descriptor = self._open(key)
            try:
                yield _taken(descriptor)
            finally:
                os.close(descriptor)
        finally:
            lock.release()

    def _lock(self, key: str) -> filelock.FileLock:
        return filelock.FileLock(self._folder / f"{key}.lock", thread_local=False)

    def _open(self, key: str) -> int:
        return os.open(self._folder / f"{key}.use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
