"""The cards and hosts that have failed in a run, as all of its processes know them."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path


class LostPlaces:
    """The places that a run uses no more. Each is added once, by the process that finds out first.

    Args:
        path: The file that all processes of the run share; None for a run of one process.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path, self._size = path, 0
        self._reasons: dict[str, str] = {}

    def add(self, place: str, reason: str) -> bool:
        """Add a place with the reason why nothing runs there. Return whether it was not known before."""
        if self._path is None:
            is_new = place not in self._reasons
            self._reasons.setdefault(place, reason)
            return is_new
        with self._path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
            if self.reason(place):
                return False
            file.write(json.dumps([place, reason]).encode() + b"\n")
        return True

    def reason(self, place: str) -> str:
        """Return why nothing runs there; empty if something may."""
        if self._path is not None and self._path.exists() and self._path.stat().st_size != self._size:
            data = self._path.read_bytes()
            complete = data[: data.rfind(b"\n") + 1]  # another process may be writing a line
            self._reasons, self._size = dict(map(json.loads, complete.splitlines())), len(complete)
        return self._reasons.get(place, "")
