"""Test the clocks that may explain a slowdown."""

from __future__ import annotations

from pytest_trt.core.records import Block, Samples
from pytest_trt.trial.explain import median_clocks


def test_median_clocks_needs_the_clock_of_both_sides():
    def read(*mhz):
        return (Samples(tuple(Block({"ms": (1.0,)}, 0.01, {"sm_mhz": m} if m else {}) for m in mhz)),)

    assert median_clocks(read(1980.0, 1980.0, 1200.0), read(1200.0)) == {"sm_mhz": (1980.0, 1200.0)}
    assert median_clocks(read(1980.0), read(None)) == {}
    assert median_clocks((), read(1200.0)) == {}
