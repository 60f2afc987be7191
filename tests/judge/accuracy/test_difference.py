"""Test the difference of an output from its reference."""

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


def test_figures_equal_those_of_numpy() -> None:
    reference = noise((3, 40))
    output = reference + 0.01 * noise((3, 40), 1)
    found = compare(output, reference, EXACT)
    a, b = output.astype(np.float64).ravel(), reference.astype(np.float64).ravel()
    assert found.max_abs == pytest.approx(np.abs(a - b).max())
    assert found.mean_abs == pytest.approx(np.abs(a - b).mean())
    assert found.max_relative == pytest.approx((np.abs(a - b) / np.abs(b)).max())
    assert found.mean_relative == pytest.approx((np.abs(a - b) / np.abs(b)).mean())
    assert found.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert found.psnr_db == pytest.approx(10 * np.log10((b.max() - b.min()) ** 2 / ((a - b) ** 2).mean()))
    assert (found.elements, found.beyond, found.nan, found.inf) == (120, 120, (0, 0), (0, 0))


def test_comparing_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = noise((7, 30))
    output = reference + 0.1 * noise((7, 30), 1)
    whole = compare(output, reference, DEFAULTS["fp16"])
    for module in (difference, norms):
        monkeypatch.setattr(module, "CHUNK", 64)
    parts = compare(output, reference, DEFAULTS["fp16"])
    assert parts.worst == whole.worst
    assert (parts.beyond, parts.max_abs, parts.top1, parts.top5) == (
        whole.beyond, whole.max_abs, whole.top1, whole.top5,
    )  # fmt: skip
    assert parts.cosine == pytest.approx(whole.cosine, rel=1e-12)
    assert parts.psnr_db == pytest.approx(whole.psnr_db, rel=1e-12)


def test_equal_nan_and_infinities_agree() -> None:
    same = noise()
    same[0, :3] = np.nan, np.inf, -np.inf
    found = compare(same, same.copy(), EXACT)
    assert (found.beyond, found.nan, found.inf, found.max_abs) == (0, (1, 1), (2, 2), 0.0)
    opposite = same.copy()
    opposite[0, 1] = -np.inf
    assert compare(same, opposite, EXACT).beyond == 1


def test_top_agreement_counts_rows() -> None:
    reference = np.tile(np.arange(20, dtype=np.float32), (4, 1))
    output = reference.copy()
    output[0, 3] = 100.0  # the largest; 15 is no longer among the five largest
    found = compare(output, reference, EXACT)
    assert found.top1 == pytest.approx(3 / 4)
    assert found.top5 == pytest.approx((4 / 5 + 3) / 4)
    short = compare(output[:, :9], reference[:, :9], EXACT)
    assert (short.top1, short.top5) == (3 / 4, None)
    assert compare(output[:, :1], reference[:, :1], EXACT).top1 is None


def test_worst_ratio_is_a_share_of_the_limit() -> None:
    reference = np.array([1.0, 10.0, 0.0])
    limits = AccuracyLimits(0.1, 0.1, None, atol_scaled=False)
    assert compare(reference + np.array([0.1, 0.55, 0.05]), reference, limits).worst_ratio == pytest.approx(0.5)
    assert compare(reference, reference, EXACT).worst_ratio == 0
    assert compare(reference + np.array([0, np.inf, 0]), reference, limits).worst_ratio == math.inf
