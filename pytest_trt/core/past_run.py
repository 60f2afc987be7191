"""The record of an earlier run of a test, as reports show its trend."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class PastRun:
    """A run in the history of a test's baseline.

    Attributes:
        time: When it was measured, in ISO 8601.
        commit: The commit that was measured; empty if it is not known.
        ms: Its latency.
        change: Whether a new level of the latency begins with it.
        moved: Whether it became the reference.
        reason: Why it was accepted as the reference.
    """

    time: str
    commit: str
    ms: float
    change: bool = False
    moved: bool = False
    reason: str = ""
