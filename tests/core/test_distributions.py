"""Quantiles of Student's t against published tables."""

import pytest

from pytest_trt.core.distributions import t_quantile


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
