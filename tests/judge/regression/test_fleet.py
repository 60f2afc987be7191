"""Test how the tests of one run show how fast their card is."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence

import pytest
from samples.records import H200, measurement, stored

from pytest_trt.core.records import Result
from pytest_trt.judge.regression.fleet import MIN_TESTS, is_pending, settle_cards, without_pending
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.judge.regression.stored import judge_stored

SLOWER = "this card is slower than GPU-5f2e, that of the baseline; taken out before tests are judged"
OTHER = dataclasses.replace(H200, device_uuid="GPU-other")


def results_of(ratios: Sequence[float], *, environment=OTHER, quarantine: str = "") -> list[Result]:
    """Return the results of tests with these ratios of new to old, on a card that no baseline knows."""
    found = []
    for number, ratio in enumerate(ratios):
        run = measurement(0.272 * ratio, f"test_{number}", environment=environment)
        verdict = judge_stored(RegressionQuestion(tolerance=0.02), run.figures["ms"], stored(), environment.card)
        assert verdict.cards is not None
        verdict = dataclasses.replace(verdict, cards=dataclasses.replace(verdict.cards, quarantine=quarantine))
        found.append(Result(run.node_id, (verdict,), run))
    return found


def scattered(count: int, ratio: float, seed: int = 0) -> list[float]:
    draw = random.Random(seed)
    return [ratio * math.exp(draw.gauss(0, 0.001)) for _ in range(count)]


def test_what_all_tests_share_is_one_finding_about_the_card() -> None:
    before = results_of([*scattered(20, 1.03), 1.03 * 1.05])
    assert all(is_pending(verdict) for result in before for verdict in result.verdicts)
    after, findings = settle_cards(before)
    assert [result.status for result in after] == ["ok"] * 20 + ["regressed"]
    assert findings == (f"all 21 tests +3.0 % on GPU-other: {SLOWER}",)
    (verdict,) = after[-1].verdicts
    assert verdict.ratio is not None
    assert verdict.ratio.value == pytest.approx(1.05, abs=0.003)
    assert not is_pending(verdict)


def test_few_tests_show_nothing_about_a_card() -> None:
    before = results_of(scattered(MIN_TESTS - 1, 1.03))
    assert settle_cards(before) == (tuple(before), ())


def test_tests_that_move_apart_stay_inconclusive() -> None:
    after, findings = settle_cards(results_of([0.96, 0.97, 0.99, 1.0, 1.01, 1.02, 1.04, 1.05, 1.06, 1.07]))
    assert {result.status for result in after} == {"inconclusive"}
    assert findings == ()


def test_more_than_cards_differ_is_not_taken_out() -> None:
    after, _ = settle_cards(results_of(scattered(12, 1.2)))
    assert {result.status for result in after} == {"regressed"}


def test_a_shift_on_the_card_of_the_baseline_is_reported_and_not_taken_out() -> None:
    after, findings = settle_cards(results_of(scattered(12, 1.06), environment=H200))
    assert {result.status for result in after} == {"regressed"}
    assert len(findings) == 1
    assert "the card of the baseline: what they share is slower" in findings[0]


def test_a_settled_verdict_keeps_the_quarantine_and_does_not_improve() -> None:
    after, _ = settle_cards(results_of([*scattered(20, 1.03), 1.1, 0.97], quarantine="quarantined until 2030-01-01"))
    assert [result.status for result in after[-2:]] == ["unenforced", "ok"]
    assert after[-2].verdicts[0].text.endswith("quarantined until 2030-01-01")


def test_a_test_does_not_fail_for_a_verdict_that_waits() -> None:
    (pending,) = results_of([1.03])
    assert without_pending(pending).verdicts == ()
    (failing,) = results_of([1.5])
    assert without_pending(failing) == failing
