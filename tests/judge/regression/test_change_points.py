"""Test changes of level in a series of runs."""

from __future__ import annotations

import random

import pytest

from pytest_trt.judge.regression.change_points import LONGEST, change_points


def series(*levels: tuple[float, int], scatter: float = 0.005, seed: int = 0) -> list[float]:
    draw = random.Random(seed)
    return [level * draw.gauss(1, scatter) for level, count in levels for _ in range(count)]


def test_no_change() -> None:
    assert change_points(series((1.0, 40))) == ()


def test_false_alarms_are_rare() -> None:
    assert sum(bool(change_points(series((1.0, 30), seed=seed))) for seed in range(200)) <= 6


def test_one_change() -> None:
    assert change_points(series((1.0, 10), (1.1, 10))) == (10,)
    assert change_points(series((1.0, 10), (0.9, 10))) == (10,)


def test_changes_near_the_ends() -> None:
    assert change_points(series((1.0, 3), (1.1, 8))) == (3,)
    assert change_points(series((1.0, 8), (1.1, 3))) == (8,)


def test_several_changes() -> None:
    assert change_points(series((1.0, 20), (1.03, 20), (1.0, 15), (1.2, 30))) == (20, 40, 55)


def test_outlier_is_no_change() -> None:
    values = series((1.0, 30))
    values[15] = 3.0
    assert change_points(values) == ()


def test_small_change_is_ignored() -> None:
    quiet = series((1.0, 100), (1.003, 100), scatter=0.0005)
    assert change_points(quiet) == ()
    assert change_points(quiet, least=0.001) == (100,)


def test_series_without_noise() -> None:
    assert change_points([1.0] * 5 + [2.0] * 5) == (5,)
    assert change_points([1.0] * 10) == ()


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [1.0, 1.0, 2.0]])
def test_too_few_runs(values: list[float]) -> None:
    assert change_points(values) == ()


def test_unit_does_not_matter() -> None:
    values = series((1.0, 10), (1.1, 10))
    assert change_points([1000 * value for value in values]) == change_points(values)


def test_too_many_runs() -> None:
    with pytest.raises(ValueError, match="at most 2000"):
        change_points([1.0] * (LONGEST + 1))
