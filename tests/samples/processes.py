"""Start, find and await processes. Tests that pytest runs in a folder of their own import this module too."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def accept_ctrl_c() -> None:
    """Let SIGINT end a child: the `preexec_fn` of a child that a test interrupts.

    A shell without job control starts background jobs, such as `nohup make test &`, with SIGINT ignored, and children
    inherit that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


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


def wait_until(condition: Callable[[], T], within_s: float = 120.0) -> T:
    """Wait until the condition returns something true, and return that. The limit suits a busy machine.

    Raises:
        AssertionError: The time is over.
    """
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"the condition did not hold within {within_s} s"
        time.sleep(0.05)
    return found


def has_ended(pid: int) -> bool:
    """Return whether a process ends soon."""
    return wait_until(lambda: not alive([pid]))
