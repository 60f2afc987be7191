"""Test how the tests of one run show how fast their card is."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence

import pytest
from samples.records import H200, measurement, stored

from pytest_trt.core.distributions import t_quantile
from pytest_trt.core.records import Result
from pytest_trt.judge.regression.fleet import MIN_SHIFT, MIN_TESTS, Shift, is_pending, settle_cards, without_pending
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
    assert settle_cards(results_of([1.06] * 8, environment=H200))[1][0].startswith("all 8 tests +6.0 % on GPU-5f2e")


def test_a_settled_verdict_keeps_the_quarantine_and_does_not_improve() -> None:
    after, _ = settle_cards(results_of([*scattered(20, 1.03), 1.1, 0.97], quarantine="quarantined until 2030-01-01"))
    assert [result.status for result in after[-2:]] == ["unenforced", "ok"]
    assert after[-2].verdicts[0].text.endswith("quarantined until 2030-01-01")


def test_a_test_does_not_fail_for_a_verdict_that_waits() -> None:
    (pending,) = results_of([1.03])
    assert without_pending(pending).verdicts == ()
    (failing,) = results_of([1.5])
    assert without_pending(failing) == failing


@pytest.mark.parametrize("inner", [0.0001, 0.01])
def test_the_shift_has_the_larger_of_two_scatters(inner: float) -> None:
    """Of eleven values, the second and the tenth are the ends of the inner four fifths."""
    logs = [0.02, 0.03 - 0.005, *[0.03 - inner] * 3, 0.03, *[0.03 + inner] * 3, 0.03 + 0.005, 0.05]
    scatter = max(1.4826 * inner, 0.01 / (2 * 1.2816))
    shift = Shift.of(logs)
    assert (shift.log, shift.tests) == (pytest.approx(0.03), 11)
    assert shift.margin == pytest.approx(t_quantile(0.001, 10) * scatter * math.sqrt(1 + math.pi / 22))


def test_eight_tests_show_how_fast_a_card_is() -> None:
    after, _ = settle_cards(results_of(scattered(8, 1.03)))
    assert {result.status for result in after} == {"ok"}
    assert MIN_TESTS == 8


def test_the_margin_of_the_shift_adds_by_squares() -> None:
    before = results_of([1.028, 1.029, 1.03, 1.03, 1.03, 1.03, 1.031, 1.032])
    after, _ = settle_cards(before)
    cards, ratio = before[0].verdicts[0].cards, after[0].verdicts[0].ratio
    assert cards is not None
    assert ratio is not None
    shift = Shift.of([math.log(result.verdicts[0].cards.ratio.value) for result in before if result.verdicts[0].cards])
    center = cards.ratio.value / math.exp(shift.log)
    below = math.hypot(math.log(cards.ratio.value / cards.ratio.low), shift.margin)
    above = math.hypot(math.log(cards.ratio.high / cards.ratio.value), shift.margin)
    expected = (center, center * math.exp(-below), center * math.exp(above))
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx(expected)
    settled = after[0].verdicts[0]
    assert settled.cards == dataclasses.replace(cards, known=True)
    assert settled.details[:2] == (
        before[0].verdicts[0].details[0],
        "8 tests on GPU-other share +3.0 % against GPU-5f2e: taken out",
    )


@pytest.mark.parametrize(("ratio", "reported"), [(1.0029, False), (1.0031, True), (0.9969, True)])
def test_a_small_shift_is_not_reported(ratio: float, reported: bool) -> None:
    assert bool(settle_cards(results_of([ratio] * 8))[1]) is reported


@pytest.mark.parametrize(("share", "reported"), [(1.01, True), (0.99, False)])
def test_a_shift_within_its_doubt_is_not_reported(share: float, reported: bool) -> None:
    """The doubt about the median of 16 tests is a quarter of the margin of a single one."""
    logs = [0.003 * (-1) ** n for n in range(16)]
    doubt = Shift.of(logs).margin / 4
    assert doubt > MIN_SHIFT
    _, findings = settle_cards(results_of([math.exp(log + share * doubt) for log in logs]))
    assert bool(findings) is reported


def test_results_without_a_measurement_are_grouped_by_their_cards() -> None:
    before = [dataclasses.replace(result, measurement=None) for result in results_of(scattered(8, 1.03))]
    assert {result.status for result in settle_cards(before)[0]} == {"ok"}
    other = results_of(scattered(4, 1.03), environment=dataclasses.replace(OTHER, device="NVIDIA H100"))
    assert {r.status for r in settle_cards([*other, *results_of(scattered(4, 1.03))])[0]} == {"inconclusive"}
