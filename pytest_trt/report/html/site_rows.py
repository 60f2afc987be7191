"""Collect what the pages of a site show of a test: its changes, its budgets, and what it costs."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.past_run import PastRun
from pytest_trt.core.suite_history import CaseHistory

LEAST_CHANGE = 0.005
"""The smallest change that counts as worse or better, as a share."""


@dataclasses.dataclass(frozen=True)
class Change:
    """A change of a figure of a test.

    Attributes:
        node_id: The test's node id.
        device: The name of the device.
        figure: The name of the figure.
        run: The first run after the change.
        before: The level before it; of a drift, the measured value.
        after: The level after it; of a drift, the measured value.
    """

    node_id: str
    device: str
    figure: str
    run: PastRun
    before: float
    after: float

    @property
    def kind(self) -> str:
        """What changed, in a word or two."""
        if self.run.change == "machine":
            return "machine"
        return "accepted" if self.run.moved and self.run.reason else "new reference" if self.run.moved else "changed"

    @property
    def worse(self) -> float:
        """How much worse the figure became, as a share; below 0 if it is better."""
        return worse_by(self.figure, self.before, self.after)


@dataclasses.dataclass(frozen=True)
class Headroom:
    """A budget of a test, and how much of it the last run used: 1 is all of it."""

    node_id: str
    device: str
    figure: str
    run: PastRun

    @property
    def used(self) -> float:
        """The share of the budget that the figure uses."""
        limit = self.run.limit or 0.0
        if FIGURES[self.figure].higher_is_better:
            return limit / self.run.value
        return self.run.value / limit if limit else float("inf")


def worse_by(figure: str, before: float, after: float) -> float:
    """Return how much worse a figure became, as a share."""
    if not (before > 0 and after > 0):
        return 0.0
    return (before / after if FIGURES[figure].higher_is_better else after / before) - 1


def changes(history: CaseHistory) -> Iterator[Change]:
    """Yield the changes of every figure of a test, the oldest of each figure first."""
    for figure, points in history.trends.items():
        for level, starts in ((True, _level_starts(points)), (False, _starts(points, "machine"))):
            ends = [0, *starts, len(points)] if starts else []
            medians = [
                statistics.median([point.level if level else point.value for point in points[a:b]])
                for a, b in itertools.pairwise(ends)
            ]
            for at, (before, after) in zip(starts, itertools.pairwise(medians), strict=True):
                yield Change(history.node_id, history.device, figure, points[at], before, after)


def headrooms(history: CaseHistory) -> Iterator[Headroom]:
    """Yield the budgets that applied to the last run of a test."""
    for figure, points in history.trends.items():
        if points[-1].limit is not None:
            yield Headroom(history.node_id, history.device, figure, points[-1])


def net_change(history: CaseHistory, figure: str, since: str) -> tuple[float, float] | None:
    """Return the level of a figure at a time and its level now; None if the test has no such figure.

    Args:
        history: The test.
        figure: The name of the figure.
        since: The time, in ISO 8601. If there is no run before it, the first level counts.
    """
    points = history.trends.get(figure, ())
    if not points:
        return None
    starts = [0, *_level_starts(points), len(points)]
    medians = [statistics.median([point.level for point in points[a:b]]) for a, b in itertools.pairwise(starts)]
    first = max((n for n, start in enumerate(starts[:-1]) if points[start].time < since), default=0)
    return medians[first], medians[-1]


def days_before(time: str, days: int) -> str:
    """Return the time that is some days earlier, in ISO 8601."""
    try:
        then = datetime.datetime.fromisoformat(time.replace("Z", "+00:00")) - datetime.timedelta(days=days)
    except (ValueError, OverflowError):
        return ""
    return then.isoformat()


def columns(history: CaseHistory) -> Mapping[str, object]:
    """Return the trends of a test by column, for the script that draws them. Empty columns are left out."""
    times = sorted({point.time: point for points in history.trends.values() for point in points}.items())
    place = {time: number for number, (time, _) in enumerate(times)}
    return {
        "time": [time for time, _ in times],
        "commit": [point.commit for _, point in times],
        "author": {place[time]: point.author for time, point in times if point.author},
        "reason": {place[time]: point.reason for time, point in times if point.reason},
        "moved": [place[time] for time, point in times if point.moved],
        "figures": {name: _column(name, points, place) for name, points in history.trends.items()},
    }


def _column(name: str, points: Sequence[PastRun], place: Mapping[str, int]) -> Mapping[str, object]:
    found: dict[str, object] = {
        "title": FIGURES[name].title,
        "unit": FIGURES[name].unit,
        "at": [place[point.time] for point in points],
        "value": [_short(point.value) for point in points],
        "changes": [[n, point.change, point.cause] for n, point in enumerate(points) if point.change],
    }
    if any(point.level != point.value for point in points):
        found["level"] = [_short(point.level) for point in points]
    for field in ("ratio", "limit"):
        values = [getattr(point, field) for point in points]
        if any(value is not None for value in values):
            found[field] = [None if value is None else _short(value) for value in values]
    return found


@functools.lru_cache(1 << 12)  # Sizes and limits seldom change.
def _short(value: float) -> float:
    return float(f"{value:.5g}")


def _level_starts(points: Sequence[PastRun]) -> list[int]:
    """Return where a level begins: at a change, or at a new reference that was judged to differ from the one before."""
    return [
        number
        for number, point in enumerate(points)
        if number
        and (
            point.change == "level" or (point.moved and point.ratio is not None and abs(point.ratio - 1) > LEAST_CHANGE)
        )
    ]


def _starts(points: Sequence[PastRun], change: str) -> list[int]:
    return [number for number, point in enumerate(points) if number and point.change == change]
