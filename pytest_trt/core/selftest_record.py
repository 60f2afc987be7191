"""The stored result of a self-test: what a device and its settings would have caught."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class SlowdownCount:
    """What became of one known slowdown.

    Attributes:
        share: The slowdown that was injected, as a share: 1.0 is twice as slow.
        measured: The median of the slowdowns that the comparisons measured; None if no interval was found.
        slower: In how many comparisons the new side was slowed down.
        caught: How many of them said `regressed`.
        faster: In how many comparisons the old side was slowed down, so that the new one was faster.
        inverted: How many comparisons, of either kind, named the wrong side as the slower one.
        inconclusive: How many comparisons, of either kind, could not decide.
    """

    share: float
    measured: float | None
    slower: int
    caught: int
    faster: int
    inverted: int
    inconclusive: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelftestRecord:
    """A self-test of one device.

    Attributes:
        device: The device's own name.
        model: The name of the model's file.
        time: When it ended, in ISO 8601.
        tolerance: How much slower an engine may be, as a share.
        max_time_s: The most seconds of a measurement.
        same: In how many comparisons both sides were the same.
        false_alarms: How many of them said `regressed` or `improved`.
        same_inconclusive: How many of them could not decide.
        slowdowns: What became of each slowdown.
        tests: How many tests the last run had; 0 if there was none.
        unable: The tests of the last run that could not have failed, each with the reason.
    """

    device: str
    model: str
    time: str
    tolerance: float
    max_time_s: float
    same: int
    false_alarms: int
    same_inconclusive: int
    slowdowns: tuple[SlowdownCount, ...]
    tests: int = 0
    unable: tuple[tuple[str, str], ...] = ()
