"""Find processes. Tests that pytest runs in a folder of their own import this module too."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path


def _stat(pid: int) -> tuple[str, int] | None:
    """Return a process's state and its parent (proc(5)); None if it no longer exists."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[1])


def descendants(pid: int) -> list[int]:
    """Return the processes that descend from `pid`, nearest first."""
    stats = {int(folder.name): _stat(int(folder.name)) for folder in Path("/proc").glob("[0-9]*")}
    found = [pid]
    for parent in found:
        found += [child for child, stat in stats.items() if stat is not None and stat[1] == parent]
    return found[1:]


def alive(pids: Iterable[int]) -> list[int]:
    """Return those processes that exist and have not ended."""
    return [pid for pid in pids if (stat := _stat(pid)) is not None and stat[0] != "Z"]


def has_ended(pid: int, within_s: float = 10.0) -> bool:
    """Return whether a process ends within so many seconds."""
    deadline = time.monotonic() + within_s
    while alive([pid]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive([pid])
