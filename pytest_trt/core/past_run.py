"""The record of an earlier run of a test, as reports show the trend of one of its figures."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class PastRun:
    """A run in the history of a test's baseline, with one of its figures.

    Attributes:
        time: When it was measured, in ISO 8601.
        commit: The commit that was measured; empty if it is not known.
        value: The value of the figure on that day, in its own unit.
        level: The value without the drift of the machine: the ratios to the references that were judged, times the
            value of the first reference.
        ratio: The ratio to the reference of that time that was judged; None if there was none.
        change: What changed with this run: the engine moved the level (`level`), or the machine moved the value while
            the engine kept its level (`machine`). Empty if nothing changed.
        cause: What differs from the run before, if `change` is not empty.
        moved: Whether it became the reference.
        reason: Why it was accepted as the reference.
        author: Who committed the baseline that it became the reference of; empty if that is not known.
        limit: The budget that applied; None if there was none.
    """

    time: str
    commit: str
    value: float
    level: float
    ratio: float | None = None
    change: Literal["", "level", "machine"] = ""
    cause: str = ""
    moved: bool = False
    reason: str = ""
    author: str = ""
    limit: float | None = None
