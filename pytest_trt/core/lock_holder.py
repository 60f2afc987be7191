"""Wait for a file lock, and name the process that holds it."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.errors import CacheError

if TYPE_CHECKING:
    import filelock

STOPPED_LIMIT_S = 60.0
"""How long a lock may be held by a stopped process, such as one after Ctrl-Z, before waiting for it is an error."""


@dataclasses.dataclass(frozen=True)
class LockHolder:
    """A frozen record of the process that holds a lock: its id, and whether it is stopped."""

    pid: int
    is_stopped: bool

    def __str__(self) -> str:
        stopped = f", which is stopped: kill -CONT {self.pid} continues it" if self.is_stopped else ""
        return f"process {self.pid}{stopped}"


def lock_holder(path: Path, locks: Path = Path("/proc/locks")) -> LockHolder | None:
    """Return the process that holds a lock on the file, as the kernel lists it; None if it is not listed.

    A process outside this container is not listed.
    """
    try:
        file, lines = path.stat(), locks.read_text().splitlines()
    except OSError:
        return None
    wanted = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    for fields in map(str.split, lines):
        if len(fields) >= 6 and fields[1] != "->" and fields[5] == wanted and fields[4].isdecimal() and int(fields[4]):
            return LockHolder(int(fields[4]), _is_stopped(int(fields[4])))
    return None


def _is_stopped(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state in ("T", "t")


def acquire(
    lock: filelock.BaseFileLock,
    waiting: str,
    report_waiting: Callable[[str], None],
    *,
    every_s: float,
    stopped_limit_s: float = STOPPED_LIMIT_S,
) -> bool:
    """Acquire a lock, however long that takes, and report who holds it while waiting.

    Args:
        lock: The lock.
        waiting: What a line of progress and an error begin with.
        report_waiting: Called with a line of text every `every_s` seconds.
        every_s: How often to report.
        stopped_limit_s: How long a stopped process may hold the lock.

    Returns:
        Whether it had to wait.

    Raises:
        CacheError: The file system has no locks, the lock file cannot be opened, or a stopped process holds the lock.
    """
    import filelock

    path, started, stopped_since, waited = Path(lock.lock_file), time.monotonic(), None, False
    while True:
        try:
            lock.acquire(timeout=every_s if waited else min(every_s, 0.1))
        except filelock.Timeout:
            holder, now = lock_holder(path), time.monotonic()
            stopped_since = (stopped_since or now) if holder is not None and holder.is_stopped else None
            if stopped_since is not None and now - stopped_since >= stopped_limit_s:
                raise CacheError(f"{waiting}: {path} is locked by {holder}, or kill {holder.pid} ends it") from None  # type: ignore[union-attr]
            who = holder or "another process"
            report_waiting(f"{waiting} ({who}), {now - started:.0f} s")
            waited = True
        except (OSError, NotImplementedError) as error:
            message = f"{waiting}: {path} cannot be locked ({error}): use a local folder on a file system with locks"
            raise CacheError(message) from error
        else:
            return waited
