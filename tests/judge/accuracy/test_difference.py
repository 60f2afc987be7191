"""The difference of an output from its reference, on plain arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_trt.judge.accuracy import difference, norms
from pytest_trt.judge.accuracy.allowed_error import DEFAULTS, AccuracyLimits
from pytest_trt.judge.accuracy.difference import compare

EXACT = AccuracyLimits(0.0, 0.0, None, atol_scaled=False)


def noise(shape: tuple[int, ...] = (4, 50), seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_figures_are_those_of_numpy_on_the_whole_array() -> None:
    wanted = noise((3, 40))
    got = wanted + 0.01 * noise((3, 40), 1)
    found = compare(got, wanted, EXACT)
    a, b = got.astype(np.float64).ravel(), wanted.astype(np.float64).ravel()
    assert found.max_abs == pytest.approx(np.abs(a - b).max())
    assert found.mean_abs == pytest.approx(np.abs(a - b).mean())
    assert found.max_relative == pytest.approx((np.abs(a - b) / np.abs(b)).max())
    assert found.mean_relative == pytest.approx((np.abs(a - b) / np.abs(b)).mean())
    assert found.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert found.psnr_db == pytest.approx(10 * np.log10((b.max() - b.min()) ** 2 / ((a - b) ** 2).mean()))
    assert (found.elements, found.beyond, found.nan, found.inf) == (120, 120, (0, 0), (0, 0))


def test_comparing_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = noise((7, 30))
    got = wanted + 0.1 * noise((7, 30), 1)
    whole = compare(got, wanted, DEFAULTS["fp16"])
    for module in (difference, norms):
        monkeypatch.setattr(module, "CHUNK", 64)
    parts = compare(got, wanted, DEFAULTS["fp16"])
    assert parts.worst == whole.worst
    assert (parts.beyond, parts.max_abs, parts.top1, parts.top5) == (
        whole.beyond, whole.max_abs, whole.top1, whole.top5,
    )  # fmt: skip
    assert parts.cosine == pytest.approx(whole.cosine, rel=1e-12)
    assert parts.psnr_db == pytest.approx(whole.psnr_db, rel=1e-12)


def test_what_is_no_number_on_both_sides_agrees() -> None:
    same = noise()
    same[0, :3] = np.nan, np.inf, -np.inf
    found = compare(same, same.copy(), EXACT)
    assert (found.beyond, found.nan, found.inf, found.max_abs) == (0, (1, 1), (2, 2), 0.0)
    opposite = same.copy()
    opposite[0, 1] = -np.inf
    assert compare(same, opposite, EXACT).beyond == 1


def test_agreement_of_the_largest_counts_rows() -> None:
    wanted = np.tile(np.arange(20, dtype=np.float32), (4, 1))
    got = wanted.copy()
    got[0, 3] = 100.0  # pushes 15 out of the five largest, and is the largest itself
    found = compare(got, wanted, EXACT)
    assert found.top1 == pytest.approx(3 / 4)
    assert found.top5 == pytest.approx((4 / 5 + 3) / 4)
    short = compare(got[:, :9], wanted[:, :9], EXACT)
    assert (short.top1, short.top5) == (3 / 4, None)
    assert compare(got[:, :1], wanted[:, :1], EXACT).top1 is None


def test_the_worst_element_is_told_as_a_share_of_what_is_allowed() -> None:
    wanted = np.array([1.0, 10.0, 0.0])
    limits = AccuracyLimits(0.1, 0.1, None, atol_scaled=False)
    assert compare(wanted + np.array([0.1, 0.55, 0.05]), wanted, limits).worst_ratio == pytest.approx(0.5)
    assert compare(wanted, wanted, EXACT).worst_ratio == 0
    assert compare(wanted + np.array([0, np.inf, 0]), wanted, limits).worst_ratio == math.inf
