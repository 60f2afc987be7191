"""Test the trend of a figure: what was judged, and what only the machine did."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_trt.judge.baselines.run import Run
from pytest_trt.judge.regression.trend import trend


def run(day: int, ms: float, ratio: float = 0.0, *, plan: str = "a", moved: bool = False, **fields: str) -> Run:
    """Return a run of that day; without a ratio, nothing was judged."""
    ratios = {"ms": ratio} if ratio else {}
    return Run(f"2026-07-{day:02}T12:00:00", "abc", {"ms": ms}, plan, moved, ratios=ratios, **fields)


def test_accepted_ratio_moves_the_level_although_the_machine_became_faster() -> None:
    points = trend([run(1, 0.306, moved=True), run(2, 0.248, 1.56, plan="b", moved=True), run(3, 0.25, plan="b")], "ms")
    assert [point.level for point in points] == pytest.approx([0.306, 0.306 * 1.56, 0.306 * 1.56])
    assert [point.value for point in points] == [0.306, 0.248, 0.25]
    assert [point.ratio for point in points] == [None, 1.56, None]


def test_same_plan_has_the_same_level_unless_its_software_changed() -> None:
    first = run(1, 1.0, moved=True, software="onnxruntime 1.31")
    points = trend([first, run(2, 1.2, software="onnxruntime 1.31"), run(3, 1.3, software="onnxruntime 1.32")], "ms")
    assert [point.level for point in points] == pytest.approx([1.0, 1.0, 1.3])


def test_runs_without_ratios_follow_their_values() -> None:
    """Files of earlier versions have no ratios."""
    points = trend([run(1, 1.0, moved=True), run(2, 1.1, plan="b", moved=True), run(3, 1.32, plan="c")], "ms")
    assert [point.level for point in points] == pytest.approx([1.0, 1.1, 1.32])


def test_runs_without_the_figure_are_left_out() -> None:
    absent, zero = run(2, 1.0), run(3, 0.0)
    absent = dataclasses.replace(absent, figures={"p99_ms": 2.0})
    assert [point.value for point in trend([run(1, 1.0, moved=True), absent, zero, run(4, 1.5)], "ms")] == [1.0, 1.5]


def test_point_has_the_commit_of_its_run() -> None:
    without = dataclasses.replace(run(2, 1.0), commit=None)
    assert [point.commit for point in trend([run(1, 1.0, moved=True), without], "ms")] == ["abc", ""]


def test_change_of_the_machine_is_that_of_values_apart_from_levels() -> None:
    """The engine became slower by 20 % on the seventh day, and the machine by 10 % on the thirteenth."""
    days = [(1.0, 0.0, "a")] * 6 + [(1.2, 1.2, "b")] + [(1.2, 1.0, "b")] * 5 + [(1.32, 1.0, "b")] * 6
    runs = [
        run(day, ms * (1 + day / 1e4), ratio, plan=plan, moved=day in (1, 7))
        for day, (ms, ratio, plan) in enumerate(days, 1)
    ]
    found = [(number, point.change) for number, point in enumerate(trend(runs, "ms")) if point.change]
    assert found == [(6, "level"), (12, "machine")]
    assert not any(point.change for point in trend(runs, "ms", with_changes=False))


def test_history_whose_reference_was_dropped_starts_at_the_value_of_its_oldest_run() -> None:
    points = trend([run(1, 1.1, 1.1, plan="b"), run(2, 1.5, 1.2, plan="c")], "ms")
    assert [point.level for point in points] == pytest.approx([1.1, 1.2])


@pytest.mark.parametrize(
    ("second", "level"), [(run(2, 0.85, 0.9, plan="c"), 0.9), (run(2, 1.5, plan="c"), 1.5), (run(2, 0.85, 1.0), 1.0)]
)
def test_level_after_a_dropped_reference_follows_the_ratio_or_else_the_value(second: Run, level: float) -> None:
    """The value of the dropped reference was 1, whether or not the oldest run was slower."""
    for first in (run(1, 1.1, 1.1, plan="b"), run(1, 0.9, 0.9, plan="b")):
        points = trend([first, second], "ms")
        assert [point.level for point in points] == pytest.approx([first.figures["ms"], level])


def test_cause_of_a_change_is_what_differs_from_the_run_before() -> None:
    cards = ["GPU-0"] * 5 + ["GPU-1"] + ["GPU-2"] * 6
    runs = [
        run(day, (1.0 if day < 7 else 1.2) + day / 1e4, moved=day == 1, card=card) for day, card in enumerate(cards, 1)
    ]
    assert [point.cause for point in trend(runs, "ms") if point.change] == ["same plan, card GPU-1 to GPU-2"]


def test_change_between_unknown_plans_has_no_cause() -> None:
    """Files of earlier versions have no plans."""
    before = [run(day, 1.0 + day / 1e4, 1.0 + day / 1e5, plan="") for day in range(1, 7)]
    after = [run(day, 1.2 + day / 1e4, 1.2 + day / 1e5, plan="b") for day in range(7, 13)]
    assert [(point.change, point.cause) for point in trend([*before, *after], "ms") if point.change] == [("level", "")]


def test_size_has_no_drift() -> None:
    runs = [Run(f"2026-07-{day:02}T12:00:00", None, {"host_mb": 10.0 * day}, "a", day == 1) for day in (1, 2)]
    assert [point.level for point in trend(runs, "host_mb")] == [10.0, 20.0]


@pytest.mark.parametrize(
    ("plan", "ratio", "fields", "change", "cause"),
    [
        ("a", 0.0, {}, "machine", "same plan: the machine, not the commit"),
        ("b", 1.0, {}, "machine", "the judged ratio kept its level: the machine, not the commit"),
        ("a", 0.0, {"card": "GPU-2"}, "machine", "same plan, card GPU-1 to GPU-2"),
        ("b", 1.2, {}, "level", "another plan"),
        ("b", 1.2, {"software": "tensorrt 10"}, "level", "another plan, software tensorrt 8 to tensorrt 10"),
        ("a", 1.2, {"software": "tensorrt 10"}, "level", "same plan, software tensorrt 8 to tensorrt 10"),
        ("a", 1.2, {}, "level", "same plan: its options or the machine"),
    ],
)
def test_change_has_its_cause(plan: str, ratio: float, fields: dict[str, str], change: str, cause: str) -> None:
    same = {"card": "GPU-1", "software": "tensorrt 8"}
    before = [run(day, 1.0 + day / 1e4, moved=day == 1, **same) for day in range(1, 7)]
    after = [
        run(day, 1.2 + day / 1e4, ratio and ratio + day / 1e5, plan=plan, **{**same, **fields}) for day in range(7, 13)
    ]
    found = [
        (number, point.change, point.cause)
        for number, point in enumerate(trend([*before, *after], "ms"))
        if point.change
    ]
    assert found == [(6, change, cause)]
