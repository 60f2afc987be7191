"""Draw a figure over commits as a chart in the terminal."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.foreign_text import escape
from pytest_trt.core.past_run import PastRun
from pytest_trt.report.console import PIPED_WIDTH, encodable
from pytest_trt.report.numbers import format_count, format_figure, format_percent, format_with_unit

HEIGHT = 12
"""The height of the chart in lines."""

MIN_RUNS = 4
"""With fewer runs no level change can be detected, since one needs two runs on either side."""

_COLUMNS_PER_RUN = 4
_MAX_MOVES_LISTED = 10


def draw(points: Sequence[PastRun], name: str = "ms", *, width: int = PIPED_WIDTH, encoding: str = "utf-8") -> str:
    """Return a chart of the figure `name` over `points`.

    The chart has a dot for each value and a line for each level, which leaves out the drift of the machine. Below it,
    level changes are marked by numbers, drifts of the machine by `M`, and runs that became the reference by `R`. All of
    them are listed with their commits.

    Args:
        points: The runs, the oldest first.
        name: The name of the figure, such as `ms`.
        width: The width of the terminal in columns.
        encoding: The encoding of the output. A character that it lacks is replaced by a plain one.
    """
    if not points:
        return f"No stored run has {name}.\n"
    values, levels = [p.value for p in points], _levels(points)
    shown = [*values, *(level for *_, level in levels)]
    # The margin is at least 1 % of the value, so that noise looks small.
    margin = max(0.05 * (max(shown) - min(shown)), 0.01 * max(map(abs, shown))) or 1.0
    top, bottom = max(shown) + margin, max(min(shown) - margin, 0.0)
    labels = [format_figure(name, top + (bottom - top) * row / (HEIGHT - 1)) for row in range(HEIGHT)]
    gutter = max(map(len, labels))
    columns = max(1, min(width - gutter - 2, _COLUMNS_PER_RUN * len(points)))

    def row(value: float) -> int:
        return round((top - value) / (top - bottom) * (HEIGHT - 1))

    def column(index: int) -> int:
        return index * columns // len(points)

    grid, marks = [[" "] * columns for _ in range(HEIGHT)], [" "] * columns
    moved, drifted = ([i for i, p in enumerate(points) if i and is_marked(p)] for is_marked in (_moved, _drifted))
    for indices, mark in ((drifted, "M"), (moved, "R")):
        for index in indices:
            marks[column(index)] = mark
    for number, (start, end, level) in enumerate(levels if len(points) >= MIN_RUNS or len(levels) > 1 else ()):
        grid[row(level)][column(start) : column(end)] = "─" * (column(end) - column(start))
        if number:
            marks[column(start)] = str(number % 10)
    for index, value in enumerate(values):
        grid[row(value)][column(index)] = "●"
    lines = [f"{_title(name)}, {format_count(len(points), 'run')}, {points[0].time[:10]} to {points[-1].time[:10]}"]
    lines += [f"{label:>{gutter}} ┤{''.join(cells)}".rstrip() for label, cells in zip(labels, grid, strict=True)]
    lines += [f"{' ' * gutter} └{'─' * columns}"]
    lines += [f"{' ' * gutter}  {''.join(marks)}".rstrip()] if moved or drifted or len(levels) > 1 else []
    lines += _describe_changes(points, levels, name)
    lines += _describe_drifts(points, drifted, name)
    lines += _describe_moves(points, moved, name)
    return encodable("\n".join(map(escape, lines)) + "\n", encoding)


def _moved(point: PastRun) -> bool:
    return point.moved


def _drifted(point: PastRun) -> bool:
    return point.change == "machine"


def _levels(points: Sequence[PastRun]) -> list[tuple[int, int, float]]:
    """Return each level as the index of its first run, the index after its last run, and the median of its runs."""
    starts = [0, *(i for i, p in enumerate(points) if p.change == "level" and i), len(points)]
    return [(a, b, statistics.median(p.level for p in points[a:b])) for a, b in itertools.pairwise(starts)]


def _describe_changes(points: Sequence[PastRun], levels: Sequence[tuple[int, int, float]], name: str) -> Iterator[str]:
    for number, ((_, _, before), (start, _, after)) in enumerate(itertools.pairwise(levels), 1):
        yield f"{number}: {_transition(points[start], name, before, after)}{_because(points[start].cause)}"
    if len(points) < MIN_RUNS:
        yield f"{format_count(len(points), 'run')}: too few to detect a level change, which needs {MIN_RUNS}"
    elif len(levels) == 1:
        yield f"no level change (it needs two runs on either side): median {format_with_unit(name, levels[0][2])}"


def _describe_drifts(points: Sequence[PastRun], drifted: Sequence[int], name: str) -> Iterator[str]:
    starts = [0, *drifted, len(points)]
    for start, at, end in zip(starts, drifted, starts[2:], strict=False):
        before, after = (statistics.median(p.value for p in points[a:b]) for a, b in ((start, at), (at, end)))
        yield f"M: {_transition(points[at], name, before, after)}{_because(points[at].cause)}"


def _describe_moves(points: Sequence[PastRun], moved: Sequence[int], name: str) -> Iterator[str]:
    unlisted = max(len(moved) - _MAX_MOVES_LISTED, 0)
    if unlisted:
        yield f"R: the reference moved {unlisted} times before those listed below"
    for before, index in list(itertools.pairwise([0, *moved]))[unlisted:]:
        point = points[index]
        judged = f"judged {format_percent(point.ratio)} %, measured " if point.ratio is not None else ""
        measured = _values(name, points[before].value, point.value)
        yield f"R: {_commit(point)}: the reference moved: {judged}{measured}{_because(point.reason)}"


def _because(cause: str) -> str:
    return f" ({cause})" if cause else ""


def _transition(point: PastRun, name: str, before: float, after: float) -> str:
    return f"{_commit(point)}: {_values(name, before, after)}"


def _commit(point: PastRun) -> str:
    return f"{point.commit[:10] or 'no commit'}, {point.time[:10]}"


def _values(name: str, before: float, after: float) -> str:
    change = f", {format_percent(after / before)} %" if before else ""
    return f"{format_figure(name, before)} to {format_with_unit(name, after)}{change}"


def _title(name: str) -> str:
    known = FIGURES.get(name)
    return f"{known.title} in {known.unit}" if known else name
