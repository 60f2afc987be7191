"""Test the chart of a figure over commits."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_trt.core.past_run import PastRun
from pytest_trt.report.history import HEIGHT, draw


def points(*values: float, changes: tuple[int, ...] = ()) -> list[PastRun]:
    return [
        PastRun(f"2026-07-{i % 28 + 1:02d}T12:00:00", f"{i:03d}" * 13, v, v, change="level" if i in changes else "")
        for i, v in enumerate(values)
    ]


def test_dots_are_at_their_values_and_changes_are_listed() -> None:
    title, *rows = draw(points(1.0, 1.0, 1.0, 2.0, 2.0, 2.0, changes=(3,)), width=40).splitlines()
    assert title == "latency in ms, 6 runs, 2026-07-01 to 2026-07-06"
    dots = {y: row.count("●") for y, row in enumerate(rows[:HEIGHT]) if "●" in row}
    assert list(dots.values()) == [3, 3]
    high, low = (rows[y] for y in dots)
    assert low.index("●") < high.index("●")
    marks = rows[HEIGHT + 1]
    assert marks.strip() == "1"
    assert marks.index("1") == high.index("●")
    assert rows[-1] == "1: 0030030030, 2026-07-04: 1.000 to 2.000 ms, +100.0 %"


def test_level_between_changes_is_their_median() -> None:
    chart = draw(points(1.0, 1.0, 9.0, 1.0, 1.0))
    [level] = [row for row in chart.splitlines()[1 : HEIGHT + 1] if "─" in row]
    assert level.count("●") == 4
    assert chart.splitlines()[-1] == "no level change (it needs two runs on either side): median 1.000 ms"


def test_too_few_runs_have_no_change_and_no_level() -> None:
    *rows, last = draw(points(0.029, 0.0756)).splitlines()
    assert last == "2 runs: too few to detect a level change, which needs 4"
    assert not any("─" in row for row in rows[1 : HEIGHT + 1])


def test_moves_of_the_reference_are_marked() -> None:
    runs = points(0.029, *[0.0756] * 5)
    moved = [dataclasses.replace(run, moved=i in (0, 1, 4)) for i, run in enumerate(runs)]
    *_, marks, level, first, second = draw(moved).splitlines()
    assert marks.split() == ["R", "R"]
    assert level.startswith("no level change (it needs two runs on either side)")
    assert first == "R: 0010010010, 2026-07-02: the reference moved: 0.0290 to 0.0756 ms, +160.7 %"
    assert second.startswith("R: 0040040040, 2026-07-05: the reference moved: 0.0756 to 0.0756 ms")
    many = draw([dataclasses.replace(run, moved=True) for run in points(*range(1, 31))]).splitlines()
    assert many[-11] == "R: the reference moved 19 times before those listed below"


def test_ratio_that_was_judged_stands_beside_the_values_of_the_day() -> None:
    runs = points(0.306, *[0.248] * 5)
    runs[1] = dataclasses.replace(runs[1], level=0.477, ratio=1.56, moved=True, reason="deeper head")
    assert draw(runs).splitlines()[-1] == (
        "R: 0010010010, 2026-07-02: the reference moved: judged +56.0 %, "
        "measured 0.306 to 0.248 ms, -19.0 % (deeper head)"
    )


def test_drift_of_the_machine_leaves_the_level() -> None:
    runs = [dataclasses.replace(run, level=1.0) for run in points(*[1.0] * 4, *[1.2] * 4)]
    runs[4] = dataclasses.replace(runs[4], change="machine", cause="same plan: the machine, not the commit")
    *rows, marks, level, drift = draw(runs).splitlines()
    assert marks.split() == ["M"]
    assert level == "no level change (it needs two runs on either side): median 1.000 ms"
    assert drift == "M: 0040040040, 2026-07-05: 1.000 to 1.200 ms, +20.0 % (same plan: the machine, not the commit)"
    assert len([row for row in rows[1 : HEIGHT + 1] if "─" in row]) == 1


def test_noise_looks_small() -> None:
    rows = [row for row in draw(points(1.0, 1.0005, 0.9995, 1.0002)).splitlines() if "●" in row]
    assert len(rows) <= 2


@pytest.mark.parametrize("count", [1, 2, 24, 25, 100, 1000])
@pytest.mark.parametrize("width", [30, 80, 300])
def test_never_wider_than_the_terminal(count: int, width: int) -> None:
    chart = draw(points(*(i % 7 + 1.0 for i in range(count)), changes=(count // 2,)), "throughput", width=width)
    plot = chart.splitlines()[1 : HEIGHT + 2]
    assert max(map(len, plot)) <= width
    assert "●" in chart


@pytest.mark.parametrize("values", [(0.0,), (0.0, 0.0), (5.0,), (1e-6, 1e6)])
def test_unusual_values_are_drawn(values: tuple[float, ...]) -> None:
    chart = draw(points(*values))
    assert "●" in chart
    assert len(chart.splitlines()) == HEIGHT + 3


def test_history_without_runs_or_unicode() -> None:
    assert draw([], "gpu_ms") == "No stored run has gpu_ms.\n"
    chart = draw(points(1.0, 2000.0), "throughput", encoding="ascii")
    assert chart.isascii()
    assert "o" in chart.splitlines()[1] + chart.splitlines()[2]
    assert draw(points(1.0), "custom").startswith("custom, 1 run")
