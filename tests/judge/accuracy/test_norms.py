"""Test norms of large arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_trt.judge.accuracy import norms


def test_root_mean_square_is_of_the_finite_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.array([3.0, math.inf, 4.0, math.nan, -5.0], np.float32)
    expected = pytest.approx(math.sqrt(50 / 3))
    assert norms.root_mean_square(values) == expected
    monkeypatch.setattr(norms, "CHUNK", 2)
    assert norms.root_mean_square(values) == expected


def test_root_mean_square_of_nothing_is_0() -> None:
    assert norms.root_mean_square(np.zeros(0)) == 0.0
    assert norms.root_mean_square(np.full(3, math.nan)) == 0.0
