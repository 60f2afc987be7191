"""Time the parts of a measurement, one after the other."""

from __future__ import annotations

import time


class Stopwatch:
    """A stopwatch whose laps have names.

    Attributes:
        seconds: The time of each part so far, in seconds, by its name.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, name: str) -> None:
        """Add the time since the last lap to this part."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now
