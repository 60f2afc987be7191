"""Test the comparison of windows of energy that were measured in turn."""

from __future__ import annotations

import dataclasses
import math

import pytest

from pytest_trt.core import noise_levels
from pytest_trt.core.records import Block
from pytest_trt.core.repeats import ASSUMED_SPREAD, MOST_VALUES
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.judge.regression.windows import WindowRule, compare_windows, judge_windows

QUESTION = RegressionQuestion(figure="energy_mj", tolerance=0.05, alpha=0.001, beta=0.002, spread=0.003)


def windows(*values: float) -> list[Block]:
    return [Block({"energy_mj": (value,), "power_w": (100.0,)}, 3.0) for value in values]


def test_the_interval_is_that_of_the_ratios_of_each_turn() -> None:
    """The power of both sides drifts by 10 %, which cancels."""
    found = compare_windows(QUESTION, windows(1.1, 1.155, 1.21), windows(1.0, 1.05, 1.10))
    assert found.center == pytest.approx(math.log(1.1))
    ratios = [math.log(1.1)] * 3
    below, above = (
        noise_levels.level_margin(ratios, ASSUMED_SPREAD["energy_mj"], error / MOST_VALUES) for error in (0.001, 0.002)
    )
    assert found.low == pytest.approx(math.log(1.1) - below - 0.003)
    assert found.high == pytest.approx(math.log(1.1) + above + 0.003)


def test_each_window_has_a_counterpart() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compare_windows(QUESTION, windows(1.0, 1.0), windows(1.0))


def test_windows_that_scatter_widen_the_interval() -> None:
    narrow = compare_windows(QUESTION, windows(1.0, 1.0, 1.0, 1.0), windows(1.0, 1.0, 1.0, 1.0))
    wide = compare_windows(QUESTION, windows(1.0, 1.1, 1.0, 1.1), windows(1.1, 1.0, 1.1, 1.0))
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


@pytest.mark.parametrize(
    ("share", "status"), [(1.0, "ok"), (1.05, "inconclusive"), (1.2, "regressed"), (0.8, "improved")]
)
def test_the_verdict_follows_the_interval(share: float, status: str) -> None:
    new, old = windows(*[share] * 4), windows(*[1.0] * 4)
    verdict = judge_windows(QUESTION, new, old)
    assert (verdict.status, verdict.figure, verdict.basis) == (status, "energy_mj", "baseline")
    assert verdict.details[0] == "judged engine against engine: 4 windows each, in turns"
    rule = WindowRule(QUESTION)
    for one, other in zip(new, old, strict=True):
        rule.add(1, 0, other)
        rule.add(0, 0, one)
    assert rule.finished() == ("" if status == "inconclusive" else f"decided: {status}")
    assert not rule.wants_probe()
    rule.start(2)
    rule.add(0, 0, windows(2.0)[0])
    rule.add(1, 0, windows(1.0)[0])
    assert rule.finished() == "decided: regressed"


def test_figures_without_a_ratio_end_the_windows() -> None:
    rule = WindowRule(dataclasses.replace(QUESTION, figure="net_energy_mj"))
    rule.add(0, 0, Block({"net_energy_mj": (-0.1,)}, 3.0))
    rule.add(1, 0, Block({"net_energy_mj": (0.1,)}, 3.0))
    assert rule.finished() == "not comparable"
    idle = WindowRule(dataclasses.replace(QUESTION, figure="idle_w"))
    idle.add(0, 0, windows(1.0)[0])
    idle.add(1, 0, windows(1.0)[0])
    assert idle.finished() == "not comparable"
