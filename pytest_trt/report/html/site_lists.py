"""The tables of a site: what got worse, all changes, what was accepted, budgets, engines, and all tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from pytest_trt.core.figures import FIGURES, status_words
from pytest_trt.core.foreign_text import escape
from pytest_trt.core.past_run import PastRun
from pytest_trt.core.records import ALWAYS_FAIL
from pytest_trt.core.suite_history import CaseHistory
from pytest_trt.report.html.site_rows import (
    LEAST_CHANGE,
    Change,
    Headroom,
    changes,
    days_before,
    headrooms,
    net_change,
    worse_by,
)
from pytest_trt.report.numbers import format_figure, format_limit, format_percent, format_share, format_with_unit

SHOWN = 20
"""How many rows a table of the first page has that another page has in full."""

MOST_ROWS = 5000
"""How many rows a table has."""

_SPARK_POINTS = 40
_COSTS = ("engine_mb", "build_s", "memory_mb", "host_mb", "load_s")


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: Its text.
        link: The page that it links to, if any.
        kind: The class of a verdict, which colours it: `bad`, `good` or `other`.
        spark: The points of a small curve, as the attribute of an SVG polyline.
    """

    text: str
    link: str = ""
    kind: str = ""
    spark: str = ""


@dataclasses.dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        headings: The headings.
        numeric: The indices of the columns of numbers.
        rows: The rows.
        empty: What stands in place of a table without rows.
        rest: How many rows were left out.
    """

    headings: Sequence[str]
    numeric: frozenset[int]
    rows: Sequence[Sequence[Cell]]
    empty: str
    rest: int = 0

    def first(self, count: int) -> Grid:
        """Return the table with its first rows."""
        return dataclasses.replace(self, rows=self.rows[:count], rest=max(len(self.rows) - count, 0))

    def without(self, *headings: str) -> Grid:
        """Return the table without the columns of these headings."""
        kept = [index for index, heading in enumerate(self.headings) if heading not in headings]
        return dataclasses.replace(
            self,
            headings=[self.headings[index] for index in kept],
            numeric=frozenset(place for place, index in enumerate(kept) if index in self.numeric),
            rows=[[row[index] for index in kept] for row in self.rows],
        )


Cells = Sequence[Cell | str]
"""The cells of a row, some of which are only a text."""


def _grid(headings: str, numeric: Iterable[int], rows: Iterable[Cells], empty: str) -> Grid:
    """Return a table of cells or texts; `headings` are separated by bars."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    return Grid(headings.split("|"), frozenset(numeric), cells, empty).first(MOST_ROWS)


class SiteLists:
    """Collects the rows of all tests, without holding their runs.

    Args:
        last: The time of the last run of all, in ISO 8601.
        days: How many days are recent.

    Attributes:
        changes: The changes of all tests, each with the page of its test.
        devices: The names of the devices.
    """

    def __init__(self, last: str, days: int) -> None:
        self._last, self.days, self._since = last, days, days_before(last, days)
        self.changes: list[tuple[Change, str]] = []
        self.devices: set[str] = set()
        self._first, self._runs = last, 0
        self._worse: list[tuple[float, Cells]] = []
        self._budgets: list[tuple[float, Cells]] = []
        self._tests: list[Cells] = []
        self._engines: list[Cells] = []

    def add(self, history: CaseHistory, page: str) -> None:
        """Add a test on a device."""
        found = list(changes(history))
        self.changes += ((change, page) for change in found)
        self.devices.add(escape(history.device))
        name: Cells = [Cell(escape(history.node_id), page), escape(history.device)]
        budgets = sorted(headrooms(history), key=lambda one: one.used, reverse=True)
        self._budgets += ((one.used, [*name, *_budget_cells(one)]) for one in budgets)
        for figure in (figure for figure, about in FIGURES.items() if about.gated):
            self._add_worse(history, figure, name, found)
        self._tests.append([*name, *self._test_cells(history, budgets)])
        points = [history.trends[cost][-1] if cost in history.trends else None for cost in _COSTS]
        if any(points):
            values = (format_figure(cost, p.value) if p else "" for cost, p in zip(_COSTS, points, strict=True))
            since = self._change_cell(history, "engine_mb")
            self._engines.append([*name, *values, since, escape(history.software)])

    def _add_worse(self, history: CaseHistory, figure: str, name: Cells, found: list[Change]) -> None:
        net = net_change(history, figure, self._since)
        if net is None or (worse := worse_by(figure, *net)) <= LEAST_CHANGE:
            return
        if figure == "throughput" and self._worse and self._worse[-1][1][:2] == name:  # its latency is listed
            return
        recent = [c for c in found if c.figure == figure and c.run.time >= self._since and c.run.change != "machine"]
        why = "; ".join(dict.fromkeys(_why(change) for change in recent)) or "see the trend"
        since = min((change.run.time for change in recent), default="")[:10]
        change = f"{format_percent(net[1] / net[0])} %"
        before, after = (format_with_unit(figure, value) for value in net)
        self._worse.append((worse, [*name, FIGURES[figure].title, before, after, change, since, escape(why)]))

    def _test_cells(self, history: CaseHistory, budgets: Sequence[Headroom]) -> Iterator[Cell | str]:
        points = history.trends.get("ms", ())
        every = [point for trend in history.trends.values() for point in (trend[0], trend[-1])]
        self._first = min(self._first, *(point.time for point in every))
        self._runs += max(map(len, history.trends.values()))
        yield Cell("", spark=_spark(points))
        yield format_figure("ms", points[-1].value) if points else ""
        yield self._change_cell(history, "ms")
        yield f"{100 * budgets[0].used:.0f} %" if budgets else ""
        yield max(point.time for point in every)[:10]
        yield status_cell(history.status)

    def _change_cell(self, history: CaseHistory, figure: str) -> Cell:
        net = net_change(history, figure, self._since)
        if net is None:
            return Cell("")
        worse = worse_by(figure, *net)
        kind = "bad" if worse > LEAST_CHANGE else "good" if worse < -LEAST_CHANGE else ""
        return Cell(f"{format_percent(net[1] / net[0])} %" if kind else "0.0 %", kind=kind)

    def facts(self, sources: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield what the first page says about the suite, by name."""
        yield "tests on their devices", str(len(self._tests))
        yield "devices", ", ".join(sorted(self.devices)) or "none"
        yield "runs of tests", str(self._runs)
        yield "from, to", f"{self._first[:10]} to {self._last[:10]}" if self._last else "no run"
        yield "read from", "; ".join(map(escape, sources))

    def worse_grid(self) -> Grid:
        """Return the tests that are worse than some days ago, the worst first."""
        rows = [cells for _, cells in sorted(self._worse, key=lambda one: -one[0])]
        headings = f"test|device|figure|{self.days} days ago|now|change|since|why"
        return _grid(headings, (3, 4, 5), rows, "Nothing got worse.")

    def budgets_grid(self) -> Grid:
        """Return the budgets, the tightest first."""
        rows = [cells for _, cells in sorted(self._budgets, key=lambda one: -one[0])]
        empty = "No run has a budget. Baselines have the budgets of the runs that were saved to them."
        return _grid("test|device|figure|value|budget|used", (3, 4, 5), rows, empty)

    def tests_grid(self) -> Grid:
        """Return all tests."""
        headings = f"test|device|trend|ms|change in {self.days} days|budget used|last run|verdict"
        return _grid(headings, (3, 4, 5), self._tests, "There is no test.")

    def engines_grid(self) -> Grid:
        """Return what each engine costs beside its latency."""
        titles = "|".join(f"{FIGURES[cost].title}, {FIGURES[cost].unit}" for cost in _COSTS)
        headings = f"test|device|{titles}|engine size in {self.days} days|software"
        return _grid(headings, range(2, 3 + len(_COSTS)), self._engines, "No run has such figures.")


def changes_grid(found: Iterable[tuple[Change, str]]) -> Grid:
    """Return all changes, the latest first."""
    rows: list[Cells] = []
    for change, page in sorted(found, key=lambda one: one[0].run.time, reverse=True):
        kind = "other" if change.kind == "machine" else "bad" if change.worse > LEAST_CHANGE else "good"
        rows.append(
            [
                change.run.time[:10], Cell(escape(change.node_id), page), escape(change.device),
                FIGURES[change.figure].title, *_before_after(change), Cell(change.kind, kind=kind),
                escape(_why(change)), escape(change.run.commit[:10]),
            ]
        )  # fmt: skip
    return _grid("date|test|device|figure|before|after|change|kind|why|commit", (4, 5, 6), rows, "Nothing changed.")


def accepted_grid(found: Iterable[tuple[Change, str]]) -> Grid:
    """Return what became the reference and why, the latest first: one row for each test and run."""
    rows: dict[tuple[str, str, str], Cells] = {}
    for change, page in sorted(found, key=lambda one: (one[0].figure != "ms", one[0].run.time)):
        if change.run.moved:
            rows.setdefault(
                (change.run.time, change.node_id, change.device),
                [
                    change.run.time[:10], Cell(escape(change.node_id), page), escape(change.device),
                    escape(change.run.author), escape(change.run.reason), FIGURES[change.figure].title,
                    f"{format_percent(change.run.ratio)} %" if change.run.ratio is not None else "",
                    *_before_after(change), escape(change.run.commit[:10]),
                ],
            )  # fmt: skip
    headings = "date|test|device|committed by|reason|figure|judged|before|after|change|commit"
    return _grid(headings, (6, 7, 8, 9), [rows[key] for key in sorted(rows, reverse=True)], "No reference moved.")


def status_cell(status: str) -> Cell:
    """Return a verdict with its class; an empty cell if it is not known."""
    kind = "bad" if status in ALWAYS_FAIL else "good" if status in ("ok", "improved") else "other"
    return Cell(status_words(status), kind=kind) if status else Cell("")


def _before_after(change: Change) -> Iterator[str]:
    yield from (format_with_unit(change.figure, value) for value in (change.before, change.after))
    yield f"{format_percent(change.after / change.before)} %"


def _why(change: Change) -> str:
    """Return why a figure changed: the reason that was stated, and what differs between the runs."""
    accepted = f"accepted: {change.run.reason}" if change.run.reason else ""
    return ", ".join(filter(None, (accepted, change.run.cause))) or change.kind


def _budget_cells(one: Headroom) -> Iterator[Cell | str]:
    yield FIGURES[one.figure].title
    yield format_with_unit(one.figure, one.run.value)
    yield format_limit(one.run.limit or 0.0)
    kind = "bad" if one.used > 1 else "other" if one.used > 0.95 else ""
    yield Cell(format_share(one.used), kind=kind)


def _spark(points: Sequence[PastRun]) -> str:
    """Return the last levels as the points of a polyline in a box of 100 x 20."""
    levels = [point.level for point in points[-_SPARK_POINTS:]]
    if len(levels) < 2:
        return ""
    low, high = min(levels), max(levels)
    span = max(high - low, 0.02 * high) or 1.0
    middle = (low + high) / 2
    step = 100 / (len(levels) - 1)
    return " ".join(f"{n * step:.1f},{10 - 16 * (level - middle) / span:.1f}" for n, level in enumerate(levels))
