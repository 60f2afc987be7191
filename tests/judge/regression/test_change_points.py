"""Test changes of level in a series of runs."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from pytest_trt.core.distributions import t_quantile
from pytest_trt.judge.regression.change_points import (
    ALPHA,
    LEAST_CHANGE,
    LONGEST,
    _candidate,
    _differ,
    _drop_weak,
    change_points,
)


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


def test_the_documented_limits() -> None:
    assert (ALPHA, LEAST_CHANGE, LONGEST) == (0.001, 0.005, 2000)
    assert change_points([1.0] * LONGEST) == ()


def energy(left: list[float], right: list[float]) -> float:
    """Return E-divisive's statistic with exponent 1, from its definition."""
    m, n = len(left), len(right)
    between = sum(abs(a - b) for a in left for b in right)
    within = [sum(abs(a - b) for a, b in itertools.combinations(part, 2)) for part in (left, right)]
    return m * n / (m + n) * (2 * between / (m * n) - 2 * within[0] / (m * (m - 1)) - 2 * within[1] / (n * (n - 1)))


@pytest.mark.parametrize("seed", range(40))
def test_the_candidate_has_the_largest_energy(seed: int) -> None:
    draw = random.Random(seed)
    values = [draw.gauss(0.3 * (number > 4), 0.5) for number in range(draw.randint(4, 13))]
    splits = {at: energy(values[:at], values[at:]) for at in range(2, len(values) - 1)}
    best = max(splits, key=lambda at: splits[at])
    assert _candidate(np.array(values)) == (best if splits[best] > 0 else None)


@pytest.mark.parametrize(("left", "right"), [(2, 2), (3, 8), (10, 10)])
def test_levels_differ_beyond_students_t(left: int, right: int) -> None:
    """Two groups whose t is just below and just above the quantile."""
    freedom = left + right - 2
    one = np.array([(-1.0) ** n for n in range(left)])
    other = np.array([(-1.0) ** n for n in range(right)])
    one, other = one - one.mean(), other - other.mean()
    scatter = math.sqrt((one @ one + other @ other) / freedom * (1 / left + 1 / right))
    gap = t_quantile(0.0005, freedom) * scatter
    assert not _differ(one, other + 0.999 * gap, 0.0005)
    assert _differ(one, other + 1.001 * gap, 0.0005)
    assert _differ(one, other - 1.001 * gap, 0.0005)


def test_three_runs_never_differ_and_four_may() -> None:
    assert not _differ(np.zeros(1), np.array([5.0, 5.0]), 0.0005)
    assert _differ(np.zeros(2), np.array([5.0, 5.0]), 0.0005)
    assert change_points([1.0, 1.0, 2.0, 2.0]) == (2,)


def test_the_error_of_a_test_is_shared_by_its_two_sides() -> None:
    """Ten runs whose t statistic lies between the quantiles of a half and of the whole error."""
    base = np.array([-1.0, 1.0, -1.0, 1.0, 0.0])
    error = math.sqrt(2 * float(base @ base) / 8 * (2 / 5))
    within, beyond = (
        [math.exp(0.01 * v) for v in (*base, *(base + t * error))]
        for t in ((t_quantile(0.001, 8) + t_quantile(0.0005, 8)) / 2, t_quantile(0.0005, 8) * 1.05)
    )
    assert change_points(within) == ()
    assert change_points(beyond) == (5,)


def test_a_change_of_exactly_the_least_size_is_reported() -> None:
    values = [1.0] * 6 + [1.25] * 6
    assert change_points(values, least=0.2499999) == (6,)
    assert change_points(values, least=0.2500001) == ()


def test_the_weakest_point_is_dropped_first() -> None:
    levels = np.repeat([0.5, 0.52, -0.5], 5)
    assert _drop_weak(levels, [5, 10], 0.0005, 0.05) == [10]
    alike = np.tile([-1.0, 1.0], 6)
    assert _drop_weak(alike, [6], 0.0005, 0.005) == []
    exactly = np.repeat([0.0, np.log1p(0.25)], 4)
    assert _drop_weak(exactly, [4], 0.0005, 0.25) == [4]
