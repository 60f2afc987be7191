"""Test what pairs of probes show about the noise of an engine."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest

from pytest_trt.core.distributions import t_quantile
from pytest_trt.core.engine_noise import EngineNoise, PairedMedians, bounds, lone_pair


def learnt(scatter: float, comparisons: int, *, pairs: int = 2, place: float = 0.002, seed: int = 0) -> EngineNoise:
    """Return what is known after comparisons of two engines of which the new one is 1 % slower."""
    draw, noise = random.Random(seed), EngineNoise()
    for _ in range(comparisons):
        medians = [0.01 + (place, -place, -place)[turn] + draw.gauss(0, scatter) for turn in range(pairs)]
        noise = noise.with_pairs(PairedMedians(medians))
    return noise


def test_pairs_in_both_orders_show_the_order_effect_of_engines_that_differ() -> None:
    noise = learnt(0.0001, 12)
    assert noise.place == pytest.approx(0.002, abs=0.0002)
    assert (noise.weight, noise.freedom) == (24, 11)
    reversed_opening = EngineNoise().with_pairs(PairedMedians((0.012, 0.008), reversed_opening=True))
    assert reversed_opening.place == pytest.approx(-0.002)


def test_one_pair_of_two_engines_shows_nothing() -> None:
    assert EngineNoise().with_pairs(PairedMedians((0.01,))) == EngineNoise()
    assert EngineNoise().with_pairs(PairedMedians((0.01,), same_plan=True)).place == 0.01


def test_pairs_of_one_plan_show_the_scatter() -> None:
    draw = random.Random(0)
    medians = [(-0.002 if turn.bit_count() % 2 else 0.002) + draw.gauss(0, 0.001) for turn in range(40)]
    noise = EngineNoise().with_pairs(PairedMedians(medians, same_plan=True))
    assert noise.place == pytest.approx(0.002, abs=0.0005)
    assert (noise.squares / noise.freedom) ** 0.5 == pytest.approx(0.001, rel=0.3)


def test_an_engine_without_pairs_is_like_the_others_with_doubt() -> None:
    others = [learnt(0.0005, 10, seed=seed) for seed in range(8)]
    spread, effect, place = bounds(EngineNoise(), others, 0.01, 0.01)
    own_spread, own_effect, _ = bounds(others[0], others, 0.01, 0.01)
    assert own_spread < spread < 0.01
    assert own_effect < effect < 0.01
    assert place == pytest.approx(0.002, abs=0.0005)


def test_an_engine_that_scatters_more_than_the_others_is_known_by_its_own_pairs() -> None:
    others = [learnt(0.0002, 10, seed=seed) for seed in range(8)]
    noisy = learnt(0.002, 20, seed=9)
    assert bounds(noisy, [*others, noisy], 0.01, 0.01)[0] > 0.004 > bounds(others[0], others, 0.01, 0.01)[0]


def test_without_any_pair_the_defaults_hold() -> None:
    spread, effect, place = bounds(EngineNoise(), [], 0.01, 0.0)
    assert (effect, place) == (0.0, 0.0)
    assert spread > 0.01


@pytest.mark.parametrize(("freedom", "times"), [(0, 2), (4, 1.5), (12, 1.25), (36, 1.1)])
def test_a_lone_pair_counts_less_often_the_more_pairs_the_engine_had(freedom: int, times: float) -> None:
    assert lone_pair(EngineNoise(freedom=freedom)) == pytest.approx(times)


def test_old_pairs_count_less_than_new_ones() -> None:
    noise = learnt(0.0005, 100, pairs=3)
    assert noise.freedom < 70
    later = noise
    for comparison in range(40):
        draw = random.Random(comparison)
        later = later.with_pairs(PairedMedians([draw.gauss(0, 0.003) for _ in range(3)]))
    assert later.squares / later.freedom > 9 * noise.squares / noise.freedom


@pytest.mark.parametrize(
    "fields",
    [
        {"place": 10.0},
        {"place": -10.0},
        {"weight": -1e-9},
        {"weight": 1e6},
        {"squares": -1e-9},
        {"squares": 1e6},
        {"freedom": -1e-9},
        {"freedom": 1e6},
    ],
)
def test_impossible_values_are_errors(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="impossible"):
        EngineNoise(**fields)
    EngineNoise(**{name: value * 0.999 for name, value in fields.items() if value > 0})


def test_nothing_is_known_at_first() -> None:
    assert EngineNoise() == EngineNoise(place=0.0, weight=0.0, squares=0.0, freedom=0.0)


def test_pairs_in_both_orders_have_these_sums() -> None:
    """The orders of four pairs are (0.013, 0.012) and (0.007, 0.009); of three, (0.0135,) and (0.006, 0.007)."""
    noise = EngineNoise().with_pairs(PairedMedians((0.013, 0.007, 0.009, 0.012)))
    assert dataclasses.astuple(noise) == pytest.approx((0.00225, 4, 2 * 0.0005**2 + 2 * 0.001**2, 2))
    noise = noise.with_pairs(PairedMedians((0.0135, 0.006, 0.007)))
    between = (1 / 4 + 3 / 8) ** -1 * 0.00125**2  # the variance of a difference of two means
    squares = 2.5e-6 + 2 * 0.0005**2 + between
    assert dataclasses.astuple(noise) == pytest.approx((0.00275, 4 + 8 / 3, squares, 2 + 1 + 1))


def test_pairs_of_one_plan_have_these_sums() -> None:
    noise = EngineNoise().with_difference(0.004)
    assert dataclasses.astuple(noise) == pytest.approx((0.004, 1, 0, 0))
    assert dataclasses.astuple(noise.with_difference(0.002)) == pytest.approx((0.003, 2, 2 * 0.001**2, 1))


@pytest.mark.parametrize(("freedom", "kept"), [(64.0, 1.0), (64.5, 0.5)])
def test_the_older_half_is_forgotten_beyond_64_degrees(freedom: float, kept: float) -> None:
    noise = EngineNoise(0.001, 20.0, 4e-4, freedom).with_difference(0.001)
    assert dataclasses.astuple(noise) == pytest.approx((0.001, kept * 20 + 1, kept * 4e-4, kept * freedom + 1))


def test_bounds_pool_the_default_all_engines_and_the_engine() -> None:
    one, two, calibrated = (
        EngineNoise(0.002, 6, 3e-6, 5.5),
        EngineNoise(0.004, 4, 8e-6, 3),
        EngineNoise(0.0, 0.0, 1e-6, 2),
    )
    share, effect, place = bounds(one, (one, two, calibrated), 0.01, 0.006)
    default = t_quantile(0.001, 8)
    typical = np.average([(0.01 / default) ** 2, 12e-6 / 10.5], weights=[2, 10.5])
    variance = float(np.average([typical, 3e-6 / 5.5], weights=[4, 5.5]))
    quantile = t_quantile(0.001, 9)
    assert share == pytest.approx(quantile * math.sqrt(variance))
    between = float(np.average([(0.006 / default) ** 2, 2 * 0.001**2], weights=[2, 1]))
    weights = [6 / variance, 1 / between]
    assert place == pytest.approx(np.average([0.002, 0.003], weights=weights))
    assert effect == pytest.approx(place + quantile / math.sqrt(sum(weights)))
    assert quantile / math.sqrt(sum(weights)) < 0.006


def test_the_order_effect_of_a_single_engine_is_its_own() -> None:
    """The doubt about it is no more than the default."""
    one = EngineNoise(-0.003, 1, 4e-5, 1)
    share, effect, place = bounds(one, (one,), 0.01, 0.001)
    assert place == pytest.approx(-0.003)
    assert effect == pytest.approx(0.003 + 0.001)
    assert bounds(one, (one,), 0.01, 0.0) == (share, 0.0, 0.0)
    variance = (share / t_quantile(0.001, 5)) ** 2
    precision = 1 / variance + (t_quantile(0.001, 8) / 0.1) ** 2
    assert bounds(one, (one,), 0.01, 0.1)[1] == pytest.approx(0.003 + t_quantile(0.001, 5) / math.sqrt(precision))
    assert bounds(EngineNoise(), (), 0.01, 0.006)[2] == 0
    assert bounds(one, (one,), 0.01, 0.001, alpha=0.01)[0] < share
