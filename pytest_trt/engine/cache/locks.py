"""Locks on cached engines while they are built or used. The kernel releases them when their process ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from pytest_trt.core.lock_holder import acquire

WAIT_S = 10.0
"""How often a process that waits for another process's build reports it."""


class Locks:
    """The locks in one folder. Each key has two lock files.

    The process that builds the engine locks `.lock`. All processes that use the engine share `.use`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used: dict[str, int] = {}

    @contextlib.contextmanager
    def building(self, key: str, report_waiting: Callable[[str], None]) -> Iterator[None]:
        """Hold the build lock of `key` within the block.

        Args:
            key: The engine's digest, or the model's.
            report_waiting: Called with a line of text every WAIT_S while another process holds the lock.

        Raises:
            CacheError: The lock file cannot be locked, or a stopped process holds the lock.
        """
        lock = self._lock(key)
        waiting = f"waiting for engine {key[:12]}: another process builds it"
        acquire(lock, waiting, report_waiting, every_s=WAIT_S)
        try:
            yield
        finally:
            lock.release()

    def use(self, key: str) -> None:
        """Mark `key` as used by this process, until `release` is called.

        Raises:
            OSError: The lock file cannot be opened.
        """
        if key not in self._used:
            descriptor = self._open(key)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            self._used[key] = descriptor

    def release(self) -> None:
        """Release every key that this process uses."""
        while self._used:
            os.close(self._used.popitem()[1])

    @contextlib.contextmanager
    def idle(self, key: str) -> Iterator[bool]:
        """Yield whether no process, this one included, builds or uses `key`.

        If so, no process can start to build or use it within the block.
        """
        lock = self._lock(key)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            yield False
            return
        try:
            descriptor = self._open(key)
            try:
                yield _lock_exclusively(descriptor)
            finally:
                os.close(descriptor)
        finally:
            lock.release()

    def _lock(self, key: str) -> filelock.FileLock:
        return filelock.FileLock(self._folder / f"{key}.lock", thread_local=False)

    def _open(self, key: str) -> int:
        return os.open(self._folder / f"{key}.use", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _lock_exclusively(descriptor: int) -> bool:
    """Return whether the file could be locked at once, because no other descriptor holds a lock on it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
