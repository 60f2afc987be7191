"""Quantiles of Student's t, and ranks of order statistics, against published tables and exact sums."""

import math

import pytest

from pytest_trt.core.distributions import quantile_ranks, t_quantile


@pytest.mark.parametrize(
    ("tail", "freedom", "t"),
    [
        (0.025, 1, 12.706),
        (0.025, 2, 4.3027),
        (0.025, 3, 3.1824),
        (0.005, 10, 3.1693),
        (0.001, 4, 7.1732),
        (0.001, 31, 3.3749),
    ],
)
def test_t_quantiles_match_published_tables(tail, freedom, t):
    assert t_quantile(tail, freedom) == pytest.approx(t, rel=1e-4)


@pytest.mark.parametrize("tail", [0.4, 0.25, 0.1, 0.001, 1e-6])
def test_t_quantiles_of_one_and_two_degrees_have_a_closed_form(tail):
    assert t_quantile(tail, 1) == pytest.approx(1 / math.tan(math.pi * tail), rel=1e-9)
    assert t_quantile(tail, 2) == pytest.approx((1 - 2 * tail) / math.sqrt(2 * tail * (1 - tail)), rel=1e-9)


@pytest.mark.parametrize("share", [0.5, 0.3])
@pytest.mark.parametrize("count", [1, 5, 6, 10, 40])
@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.05])
def test_ranks_enclose_a_quantile_by_the_binomial_distribution(count, share, alpha):
    low, high = quantile_ranks(count, share, alpha)

    def at_most(most):
        return sum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(most + 1))

    fitting = [rank for rank in range(count) if at_most(rank) <= alpha]
    assert low == (fitting[-1] if fitting else None)
    fitting = [rank for rank in range(count) if 1 - at_most(rank) <= alpha]
    assert high == (fitting[0] if fitting else None)


def test_first_and_last_sample_may_be_the_ends():
    """The median of six samples is below the smallest with a probability of 1/64, of five with 1/32."""
    assert quantile_ranks(6, 0.5, 0.02) == (0, 5)
    assert quantile_ranks(5, 0.5, 0.02) == (None, None)
