"""Test how the level of a card and the spread on one card are read from stored runs."""

from __future__ import annotations

import dataclasses
import math

import pytest
from samples.records import H200, measurement

from pytest_trt.core.records import Estimate, Measurement
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.judge.baselines.updating import update_baseline
from pytest_trt.judge.regression.card_levels import CARD_SPREAD, card_spread, reference_on, run_spread, runs_by_card
from pytest_trt.judge.regression.estimates import judge_estimates
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.judge.regression.stored import judge_stored

QUESTION = RegressionQuestion(tolerance=0.02, run_spread=0.01)


def run_on(card: str, ms: float) -> Measurement:
    return measurement(ms, environment=dataclasses.replace(H200, device_uuid=f"GPU-{card}"))


def baseline_of(*runs: tuple[str, float]) -> Baseline:
    """Return the baseline of the first run; the further ones are in its history."""
    baseline, _ = update_baseline(None, run_on(*runs[0]), "missing")
    for run in runs[1:]:
        assert baseline is not None
        baseline, _ = update_baseline(baseline, run_on(*run), "ok")
    assert baseline is not None
    return baseline


def status(baseline: Baseline, card: str, ms: float) -> str:
    run = run_on(card, ms)
    return judge_stored(QUESTION, run.figures["ms"], baseline, run.environment.card).status


def test_the_level_of_a_known_card_is_taken_out() -> None:
    baseline = baseline_of(("a", 1.0), ("b", 1.05))
    verdict = judge_stored(QUESTION, run_on("b", 1.051).figures["ms"], baseline, "GPU-b")
    assert verdict.status == "ok"
    assert verdict.ratio is not None
    assert verdict.ratio.value == pytest.approx(1.051 / 1.05)
    assert "GPU-b differs from GPU-a, the reference's, by +5.00 % in 1 runs: taken out" in verdict.details
    assert verdict.cards is not None
    assert verdict.cards.known
    assert verdict.cards.ratio.value == pytest.approx(1.051)
    assert [status(baseline, "b", 1.05 * 1.04), status(baseline, "a", 1.04)] == ["regressed", "regressed"]
    assert status(baseline, "b", 1.0) == "improved"


def test_a_card_without_runs_is_not_judged_by_its_level() -> None:
    baseline = baseline_of(("a", 1.0), ("b", 1.05))
    verdict = judge_stored(QUESTION, run_on("c", 1.05).figures["ms"], baseline, "GPU-c")
    assert verdict.status == "inconclusive"
    assert verdict.text.endswith("first run on GPU-c: nothing shows yet how fast this card is")
    assert verdict.cards is not None
    assert not verdict.cards.known
    assert status(baseline, "c", 1.2) == "regressed"  # more than cards differ


def test_a_level_beyond_what_cards_explain_is_a_regression() -> None:
    baseline = baseline_of(("a", 1.0), ("b", 1.3))
    assert reference_on("GPU-b", QUESTION, baseline).estimate.value == pytest.approx(1 + CARD_SPREAD)
    assert status(baseline, "b", 1.3) == "regressed"


def test_a_creeping_slowdown_is_found_on_every_card() -> None:
    baseline, verdicts = baseline_of(("a", 1.0)), []
    for step in range(1, 30):
        run = run_on("b" if step % 2 else "a", 1.01**step)
        verdict = judge_stored(QUESTION, run.figures["ms"], baseline, run.environment.card)
        verdicts.append(verdict.status)
        baseline = update_baseline(baseline, run, verdict.status)[0] or baseline
    assert verdicts[-2:] == ["regressed", "regressed"]


def test_runs_without_a_card_count_as_the_references() -> None:
    """Files from before cards were recorded are judged as before."""
    old = baseline_of(("a", 1.0), ("a", 1.001), ("a", 1.0))
    old = dataclasses.replace(old, history=tuple(dataclasses.replace(run, card="") for run in old.history))
    assert list(runs_by_card(old, "ms")) == ["GPU-a"]
    assert len(runs_by_card(old, "ms")["GPU-a"]) == 3
    assert judge_stored(QUESTION, run_on("b", 1.001).figures["ms"], old).status == "ok"
    assert status(old, "b", 1.001) == "inconclusive"


def test_the_spread_between_runs_is_that_on_one_card() -> None:
    cards = [("a", 1.0), ("b", 1.05), ("c", 0.95), ("d", 1.02)]
    baseline = baseline_of(*cards, *((card, ms * 1.0005) for card, ms in cards))
    assert run_spread(baseline, "ms", 0.01) < 0.01
    assert card_spread(baseline, "ms") > 0.05


def test_how_far_cards_differ_comes_from_four_cards() -> None:
    alike = [("a", 1.0), ("b", 1.0005), ("c", 1.0), ("d", 1.0003), ("e", 1.0001)]
    assert card_spread(baseline_of(*alike[:3]), "ms") == CARD_SPREAD
    assert card_spread(baseline_of(*alike), "ms") < 0.02


def test_the_median_of_several_runs_narrows_the_interval() -> None:
    one = reference_on("GPU-b", QUESTION, baseline_of(("a", 1.0), ("b", 1.05)))
    many = reference_on("GPU-b", QUESTION, baseline_of(("a", 1.0), ("b", 1.05), ("b", 1.05)))
    assert one.between == pytest.approx(math.sqrt(2) * one.run_spread)
    assert many.between == pytest.approx(math.sqrt(1.5) * many.run_spread)


def test_verdict_keeps_what_the_cards_would_show_if_they_were_equal() -> None:
    """Two runs on different days differ by sqrt(2) times the spread between runs."""
    new, old = run_on("c", 1.03).figures["ms"], run_on("a", 1.0).figures["ms"]
    verdict = judge_stored(QUESTION, new, baseline_of(("a", 1.0)), "GPU-c")
    assert verdict.cards is not None
    expected = judge_estimates(QUESTION, new, old, math.sqrt(2) * 0.01).ratio
    assert verdict.cards.ratio == expected
    assert "runs differ by up to 1 %" in verdict.details[0]
    wider = dataclasses.replace(QUESTION, run_spread=0.01445)
    assert judge_stored(wider, new, baseline_of(("a", 1.0))).details[0].endswith("runs differ by up to 1.4 %")
    assert verdict.text.endswith("; first run on GPU-c: nothing shows yet how fast this card is")
    slower = judge_stored(QUESTION, run_on("c", 1.3).figures["ms"], baseline_of(("a", 1.0)), "GPU-c")
    assert (slower.status, "first run on" in slower.text) == ("regressed", False)
    own = judge_stored(QUESTION, run_on("a", 1.02).figures["ms"], baseline_of(("a", 1.0)), "GPU-a")
    assert (own.status, "first run on" in own.text) == ("inconclusive", False)


def test_without_a_card_or_a_ratio_nothing_is_known_of_cards() -> None:
    baseline = baseline_of(("a", 1.0))
    assert judge_stored(QUESTION, run_on("c", 1.03).figures["ms"], baseline).cards is None
    unreal = Estimate(1e-200, 1e-210, 1e200, 9)
    assert judge_stored(QUESTION, unreal, baseline, "GPU-c").cards is None
