"""Test the difference of an output from its reference."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_trt.judge.accuracy import difference, norms
from pytest_trt.judge.accuracy.allowed_error import DEFAULTS, AccuracyLimits
from pytest_trt.judge.accuracy.difference import absolute_tolerance, compare

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


def test_the_five_worst_elements_are_those_furthest_beyond_the_limits() -> None:
    """The limit is 0.1 and a tenth of the reference, so the largest error is not the worst."""
    reference = np.array([[1.0, 10.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])
    errors = np.array([[0.3, 1.15, 0.9, 0.8], [0.7, 0.6, 0.2, 0.1]])
    found = compare(reference + errors, reference, AccuracyLimits(0.1, 0.1, None, atol_scaled=False))
    assert [index for index, _, _ in found.worst] == [(0, 2), (0, 3), (1, 0), (1, 1), (0, 0)]
    assert found.worst[0][1:] == pytest.approx((1.9, 1.0))
    assert found.beyond == 6
    assert found.worst_ratio == pytest.approx(0.9 / 0.2)


def test_an_error_of_exactly_the_limit_is_allowed() -> None:
    reference = np.array([2.0, 4.0])
    assert compare(reference + 0.5, reference, AccuracyLimits(0.0, 0.5, None, atol_scaled=False)).beyond == 0
    assert compare(reference + 0.5, reference, EXACT).worst_ratio == math.inf


def test_large_integers_that_are_equal_as_floats_differ() -> None:
    reference = np.array([2**53, 2**53, 7], dtype=np.int64)
    found = compare(reference + np.array([0, 1, 0]), reference, EXACT)
    assert (found.beyond, found.max_abs, found.worst[0][0]) == (1, 1.0, (1,))
    mixed = compare(reference.astype(np.float64), reference + np.array([0, 1, 0]), EXACT)
    assert mixed.beyond == 0  # floats are compared as floats


def test_means_of_nothing_are_zero() -> None:
    nothing = np.array([np.nan, np.inf])
    found = compare(nothing, nothing, EXACT)
    assert (found.mean_abs, found.mean_relative, found.max_relative, found.cosine) == (0, 0, 0, 1.0)
    zeros = np.zeros(3)
    assert compare(np.array([0.0, 1.0, 0.0]), zeros, EXACT).mean_relative == 0
    assert compare(np.array([0.0, 1.0, 0.0]), zeros, EXACT).cosine == 0
    assert compare(zeros, np.array([0.0, 1.0, 0.0]), EXACT).cosine == 0
    assert compare(zeros, zeros, EXACT).cosine == 1
    assert compare(zeros, zeros, EXACT).psnr_db == math.inf
    assert compare(zeros + 1, zeros, EXACT).psnr_db == -math.inf  # the peak is 0


def test_peak_to_noise_beyond_a_float_is_none() -> None:
    reference = np.array([0.0, 1e200])
    assert compare(np.array([1e-10, 1e200]), reference, EXACT).psnr_db == -math.inf


def test_column_error_is_the_median_of_the_other_elements() -> None:
    """Column 1 is wrong by 10, 20 and 30 %, and its worst element, which does not count, by 900 %."""
    reference = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 1.0], [1.0, 1.0], [1.0, np.inf], [1.0, 2.0**-21]])
    output = reference.copy()
    output[:4, 1] = 10.0, 2.2, 1.2, 1.3
    output[5, 1] = 1.0
    limits = AccuracyLimits(0.0, 5.0, None, atol_scaled=False, least_normal=2.0**-14)
    found = compare(output, reference, limits)
    assert [index for index, _, _ in found.worst] == [(0, 1)]
    assert found.column_relative == pytest.approx(0.2)
    tiny = np.array([[1.0], [2.0**-20]])
    twice = compare(tiny * np.array([[10.0], [1.5]]), tiny, limits)
    assert twice.column_relative == pytest.approx(0.5)  # a 64th of the least normal number still counts
    unknown = AccuracyLimits(0.0, 5.0, None, atol_scaled=False)
    rest = np.array([[1.0], [0.0]])
    assert compare(rest * 10, rest, unknown).column_relative == 0.0
    assert compare(np.array(9.0), np.array(1.0), limits).column_relative == 0.0
    assert (twice.worst_ratio, compare(tiny, tiny, limits).column_relative) == (pytest.approx(9 / 5), 0.0)


def test_absolute_tolerance_is_a_share_of_the_root_mean_square() -> None:
    flat = np.array([3.0, -3.0, 3.0, 3.0])
    assert absolute_tolerance(AccuracyLimits(0.0, 0.5, None), flat) == pytest.approx(1.5)
    assert absolute_tolerance(AccuracyLimits(0.0, 0.5, None, atol_scaled=False), flat) == 0.5
    assert absolute_tolerance(AccuracyLimits(0.0, 0.5, None), np.array([np.inf, 1e300])) in (0.0, 0.5e300)


@pytest.mark.parametrize(("shape", "count", "rows"), [((3, 2), 1, True), ((3, 1), 1, False), ((10,), 5, True)])
def test_rows_are_at_least_twice_as_long_as_the_top(shape: tuple[int, ...], count: int, rows: bool) -> None:
    assert difference.has_rows(np.zeros(shape), count) is rows
    assert not difference.has_rows(np.zeros(shape, dtype=bool), count)
    assert not difference.has_rows(np.zeros((0, *shape)), count)
    assert not difference.has_rows(np.float64(1.0), count)


def test_top_of_a_single_row_and_of_equal_elements() -> None:
    row = np.arange(10.0)
    assert compare(row, row, EXACT).top5 == 1.0
    assert compare(-row, row, EXACT).top5 == 0.0
    assert compare(np.array([5.0, 5.0]), np.array([5.0, 4.0]), EXACT).top1 == 1.0


def test_a_single_element_has_its_own_means() -> None:
    found = compare(np.array([1.5]), np.array([2.0]), EXACT)
    assert (found.mean_abs, found.max_relative, found.mean_relative) == (0.5, 0.25, 0.25)
    found = compare(np.array([1.0, 5.0]), np.array([1.0, 4.0]), AccuracyLimits(0.0, 0.0, None, atol_scaled=False))
    assert found.worst_ratio == math.inf  # equal elements have no ratio
    assert compare(np.array([[0.0, 3.0]]), np.array([[0.0, 2.0]]), EXACT).psnr_db == pytest.approx(
        10 * math.log10(4 / 0.5)
    )


def test_errors_that_were_not_measured_are_zero() -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(difference.Difference)}
    assert (defaults["worst_ratio"], defaults["column_relative"]) == (0.0, 0.0)
