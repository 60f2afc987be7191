"""Draw a figure over commits as a chart in the terminal."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Iterator, Sequence

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.foreign_text import escape
from pytest_trt.report.console import PIPED_WIDTH, encodable
from pytest_trt.report.numbers import format_count, format_figure, format_percent, format_with_unit

HEIGHT = 12
"""The height of the chart in lines."""

MIN_RUNS = 4
"""With fewer runs no level change can be detected, since one needs two runs on either side."""

_COLUMNS_PER_RUN = 4
_MAX_MOVES_LISTED = 10


@dataclasses.dataclass(frozen=True)
class Point:
    """A stored run in the chart.

    Attributes:
        commit: The commit that was measured.
        time: When it was measured, in ISO 8601.
        value: The value of the figure, in its own unit.
        change: Whether a new level begins with this run.
        moved: Whether this run became the reference.
    """

    commit: str
    time: str
    value: float
    change: bool = False
    moved: bool = False


def draw(points: Sequence[Point], name: str = "ms", *, width: int = PIPED_WIDTH, encoding: str = "utf-8") -> str:
    """Return a chart of the figure `name` over `points`.

    The chart has a dot for each run and a line for each level. Below it, level changes are marked by numbers and runs
    that became the reference by `R`; both are listed with their commits.

    Args:
        points: The runs, the oldest first.
        name: The name of the figure, such as `ms`.
        width: The width of the terminal in columns.
        encoding: The encoding of the output. A character that it lacks is replaced by a plain one.
    """
    if not points:
        return f"No stored run has {name}.\n"
    values = [p.value for p in points]
    # The margin is at least 1 % of the value, so that noise looks small.
    margin = max(0.05 * (max(values) - min(values)), 0.01 * max(map(abs, values))) or 1.0
    top, bottom = max(values) + margin, max(min(values) - margin, 0.0)
    labels = [format_figure(name, top + (bottom - top) * row / (HEIGHT - 1)) for row in range(HEIGHT)]
    gutter = max(map(len, labels))
    columns = max(1, min(width - gutter - 2, _COLUMNS_PER_RUN * len(points)))

    def row(value: float) -> int:
        return round((top - value) / (top - bottom) * (HEIGHT - 1))

    def column(index: int) -> int:
        return index * columns // len(points)

    grid, marks = [[" "] * columns for _ in range(HEIGHT)], [" "] * columns
    levels, moved = _levels(points), [i for i, p in enumerate(points) if p.moved and i]
    for index in moved:
        marks[column(index)] = "R"
    for number, (start, end, level) in enumerate(levels if len(points) >= MIN_RUNS or len(levels) > 1 else ()):
        grid[row(level)][column(start) : column(end)] = "─" * (column(end) - column(start))
        if number:
            marks[column(start)] = str(number % 10)
    for index, value in enumerate(values):
        grid[row(value)][column(index)] = "●"
    lines = [f"{_title(name)}, {format_count(len(points), 'run')}, {points[0].time[:10]} to {points[-1].time[:10]}"]
    lines += [f"{label:>{gutter}} ┤{''.join(cells)}".rstrip() for label, cells in zip(labels, grid, strict=True)]
    lines += [f"{' ' * gutter} └{'─' * columns}"]
    lines += [f"{' ' * gutter}  {''.join(marks)}".rstrip()] if moved or len(levels) > 1 else []
    lines += _describe_changes(points, levels, name)
    lines += _describe_moves(points, moved, name)
    return encodable("\n".join(map(escape, lines)) + "\n", encoding)


def _levels(points: Sequence[Point]) -> list[tuple[int, int, float]]:
    """Return each level as the index of its first run, the index after its last run, and the median of its runs."""
    starts = [0, *(i for i, p in enumerate(points) if p.change and i), len(points)]
    return [(a, b, statistics.median(p.value for p in points[a:b])) for a, b in itertools.pairwise(starts)]


def _describe_changes(points: Sequence[Point], levels: Sequence[tuple[int, int, float]], name: str) -> Iterator[str]:
    for number, ((_, _, before), (start, _, after)) in enumerate(itertools.pairwise(levels), 1):
        yield f"{number}: {_transition(points[start], name, before, after)}"
    if len(points) < MIN_RUNS:
        yield f"{format_count(len(points), 'run')}: too few to detect a level change, which needs {MIN_RUNS}"
    elif len(levels) == 1:
        yield f"no level change (it needs two runs on either side): median {format_with_unit(name, levels[0][2])}"


def _describe_moves(points: Sequence[Point], moved: Sequence[int], name: str) -> Iterator[str]:
    unlisted = max(len(moved) - _MAX_MOVES_LISTED, 0)
    if unlisted:
        yield f"R: the reference moved {unlisted} times before those listed below"
    for before, index in list(itertools.pairwise([0, *moved]))[unlisted:]:
        yield f"R: the reference moved: {_transition(points[index], name, points[before].value, points[index].value)}"


def _transition(point: Point, name: str, before: float, after: float) -> str:
    values = f"{format_figure(name, before)} to {format_with_unit(name, after)}"
    change = f", {format_percent(after / before)} %" if before else ""
    return f"{point.commit[:10]}, {point.time[:10]}: {values}{change}"


def _title(name: str) -> str:
    known = FIGURES.get(name)
    return f"{known.title} in {known.unit}" if known else name
