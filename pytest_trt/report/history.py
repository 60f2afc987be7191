"""A figure over commits, drawn in the terminal."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
from collections.abc import Iterator, Sequence

from pytest_trt.core.figures import FIGURES
from pytest_trt.report.numbers import format_count, format_figure, format_percent, format_with_unit
from pytest_trt.report.terminal import MAX_WIDTH, encodable

HEIGHT = 12
LEAST_RUNS = 4
"""With fewer no change of level can be told: it takes two runs on either side."""

_STEP = 4
_MOST_MOVED = 10


@dataclasses.dataclass(frozen=True)
class Point:
    """A stored run: its commit, its time (ISO 8601), its figure. `change`: from here on, the level is another.
    `moved`: from here on it is the reference."""

    commit: str
    time: str
    value: float
    change: bool = False
    moved: bool = False


def draw(points: Sequence[Point], name: str = "ms", *, width: int = MAX_WIDTH, encoding: str = "utf-8") -> str:
    """The figure `name` over `points`, oldest first: a dot a run, a line at each level, the changes of level marked by
    numbers, the runs to which the reference moved by R, and both told below with their commits. The chart is at most
    `width` columns wide, and never more than 100."""
    if not points:
        return f"No stored run has {name}.\n"
    width = min(width, MAX_WIDTH)
    values = [p.value for p in points]
    margin = max(0.05 * (max(values) - min(values)), 0.01 * max(map(abs, values))) or 1.0  # noise shall look small
    top, bottom = max(values) + margin, max(min(values) - margin, 0.0)
    labels = [format_figure(name, top + (bottom - top) * row / (HEIGHT - 1)) for row in range(HEIGHT)]
    gutter = max(map(len, labels))
    columns = max(1, min(width - gutter - 2, _STEP * len(points)))

    def row(value: float) -> int:
        return round((top - value) / (top - bottom) * (HEIGHT - 1))

    def column(index: int) -> int:
        return index * columns // len(points)

    grid, marks = [[" "] * columns for _ in range(HEIGHT)], [" "] * columns
    levels, moved = _levels(points), [i for i, p in enumerate(points) if p.moved and i]
    for index in moved:
        marks[column(index)] = "R"
    for number, (start, end, level) in enumerate(levels if len(points) >= LEAST_RUNS or len(levels) > 1 else ()):
        grid[row(level)][column(start) : column(end)] = "─" * (column(end) - column(start))
        if number:
            marks[column(start)] = str(number % 10)
    for index, value in enumerate(values):
        grid[row(value)][column(index)] = "●"
    lines = [f"{_title(name)}, {format_count(len(points), 'run')}, {points[0].time[:10]} to {points[-1].time[:10]}"]
    lines += [f"{label:>{gutter}} ┤{''.join(drawn)}".rstrip() for label, drawn in zip(labels, grid, strict=True)]
    lines += [f"{' ' * gutter} └{'─' * columns}"]
    lines += [f"{' ' * gutter}  {''.join(marks)}".rstrip()] if moved or len(levels) > 1 else []
    lines += _changes(points, levels, name)
    lines += _moves(points, moved, name)
    return encodable("\n".join(lines) + "\n", encoding)


def _levels(points: Sequence[Point]) -> list[tuple[int, int, float]]:
    """The first run, the run after the last, and the median of every stretch between changes."""
    starts = [0, *(i for i, p in enumerate(points) if p.change and i), len(points)]
    return [(a, b, statistics.median(p.value for p in points[a:b])) for a, b in itertools.pairwise(starts)]


def _changes(points: Sequence[Point], levels: Sequence[tuple[int, int, float]], name: str) -> Iterator[str]:
    for number, ((_, _, before), (start, _, after)) in enumerate(itertools.pairwise(levels), 1):
        yield f"{number}: {_transition(points[start], name, before, after)}"
    if len(points) < LEAST_RUNS:
        yield f"{format_count(len(points), 'run')}: too few to tell a change of level, which takes {LEAST_RUNS}"
    elif len(levels) == 1:
        yield f"no change of level, which takes two runs on either side: median {format_with_unit(name, levels[0][2])}"


def _moves(points: Sequence[Point], moved: Sequence[int], name: str) -> Iterator[str]:
    left_out = max(len(moved) - _MOST_MOVED, 0)
    if left_out:
        yield f"R: the reference moved {left_out} times before these"
    for before, index in list(itertools.pairwise([0, *moved]))[left_out:]:
        yield f"R: the reference moved: {_transition(points[index], name, points[before].value, points[index].value)}"


def _transition(point: Point, name: str, before: float, after: float) -> str:
    values = f"{format_figure(name, before)} to {format_with_unit(name, after)}"
    change = f", {format_percent(after / before)} %" if before else ""
    return f"{point.commit[:10]}, {point.time[:10]}: {values}{change}"


def _title(name: str) -> str:
    known = FIGURES.get(name)
    return f"{known.title} in {known.unit}" if known else name
