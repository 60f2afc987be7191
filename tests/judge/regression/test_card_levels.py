"""Test how the level of a card and the spread on one card are read from stored runs."""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics

import pytest
from samples.records import H200, measurement

from pytest_trt.core.distributions import t_quantile
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
    found = reference_on("GPU-b", QUESTION, baseline)
    assert (found.estimate.value, found.limit) == (pytest.approx(1.09), 0.09)
    faster = baseline_of(("a", 2.0), ("b", 2.0))
    faster = dataclasses.replace(
        faster, history=(*faster.history[:1], dataclasses.replace(faster.history[1], figures={"ms": 1.0}))
    )
    assert reference_on("GPU-b", QUESTION, faster).estimate.value == pytest.approx(2 / 1.09)
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


def history_of(*values: float, cards: str = "a") -> Baseline:
    """Return a baseline of 1 ms on card a with these values in its history, on these cards in turn."""
    baseline = baseline_of(("a", 1.0))
    (first,) = baseline.history
    runs = [
        dataclasses.replace(first, figures={"ms": value}, card=f"GPU-{cards[n % len(cards)]}", moved=n == 0)
        for n, value in enumerate(values)
    ]
    return dataclasses.replace(baseline, history=tuple(runs))


STEADY = [math.exp(log) for log in (0.0, 0.002, 0.001, 0.004, 0.002)]
"""Their differences are 0.002, -0.001, 0.003 and -0.002; the median absolute deviation of these is 0.002."""

DEVIATION = 1.4826 * 0.002 / math.sqrt(2)


def pooled(differences: list[float], default: float) -> float:
    """Return the spread of runs with these differences: their variance is pooled with that of four more runs."""
    variance, prior = statistics.variance(differences) / 2, default / t_quantile(0.001, 8)
    known, freedom = 4 if default else 0, len(differences) - 1
    return t_quantile(0.001, known + freedom) * math.sqrt((known * prior**2 + freedom * variance) / (known + freedom))


@pytest.mark.parametrize("default", [0.0, 0.004, 0.01])
def test_the_spread_pools_the_default_and_the_history(default: float) -> None:
    differences = [0.002, -0.001, 0.003, -0.002]
    for runs in (3, 4, 5) if default else (4, 5):
        expected = pooled(differences[: runs - 1], default)
        assert run_spread(history_of(*STEADY[:runs]), "ms", default) == pytest.approx(expected)


def test_the_spread_of_fewer_than_three_runs_is_the_default() -> None:
    assert run_spread(history_of(1.0), "ms", 0.0) == 0.0
    assert run_spread(history_of(1.0), "ms") == 0.01
    assert run_spread(history_of(1.0, 1.05), "ms") == 0.01  # nothing went down
    assert run_spread(history_of(1.0, 1.05, 1.1), "ms", 0.0) == 0.0  # two differences without a default


def test_two_levels_have_at_least_the_spread_of_their_swing() -> None:
    assert run_spread(history_of(1, 1, 1, 1.05, 1, 1, 1), "ms", 0.001) >= math.log(1.05)
    quiet = [1.0] * 40
    assert run_spread(history_of(*quiet, 1.05, *quiet), "ms", 0.001) == pytest.approx(math.log(1.05))


def test_the_swing_is_the_smaller_of_the_largest_rise_and_fall() -> None:
    quiet = [1.0] * 40
    found = run_spread(history_of(*quiet, 1.03, *[1.01] * 40), "ms", 0.001)
    assert found == pytest.approx(math.log(1.03 / 1.01))
    only_up = run_spread(history_of(*quiet, 1.01, *[1.03] * 40), "ms", 0.001)
    only_down = run_spread(history_of(*[1.03] * 40, 1.01, *quiet), "ms", 0.001)
    assert max(only_up, only_down) < 0.01


def spread_after(differences: list[float], *plans: str) -> float:
    """Return the spread of runs that differ by these log ratios, with these plans in turn."""
    history = history_of(*(math.exp(log) for log in itertools.accumulate(differences, initial=0.0)))
    runs = (dataclasses.replace(run, plan=plans[n % len(plans)]) for n, run in enumerate(history.history))
    return run_spread(dataclasses.replace(history, history=tuple(runs)), "ms")


@pytest.mark.parametrize("size", [1, -1])
def test_one_step_that_the_other_differences_contradict_does_not_widen_the_spread(size: int) -> None:
    """The others scatter by `error`, which includes that of their mean; beyond its 99.9 % interval lies a step."""
    others = [0.001, -0.001, 0.002]
    error = statistics.stdev(others) * math.sqrt(1 + 1 / 3)
    limit = t_quantile(0.001, 2) * error
    for step, counts in ((0.999 * limit, True), (1.001 * limit, False)):
        difference = statistics.mean(others) + size * step
        expected = pooled([*others[:1], difference, *others[1:]] if counts else others, 0.01)
        every = [*others[:1], difference, *others[1:]]
        for plans in (("a1", "b2"), ("",)):
            assert spread_after(every, *plans) == pytest.approx(expected)
        assert spread_after(every, "a1") == pytest.approx(pooled(every, 0.01))  # the machine jumped
        assert spread_after(every, "a1", "a1", "b2", "b2", "b2") == pytest.approx(expected)  # the step is the engine's
        assert spread_after(every, "a1", "b2", "b2", "c3", "d4") == pytest.approx(pooled(every, 0.01))
    three = [0.0, 0.0, 0.05]
    assert spread_after(three, "a1", "b2") == pytest.approx(pooled(three, 0.01))


def test_neighbouring_runs_are_those_on_one_card() -> None:
    history = history_of(1.0, 2.0, 1.1, 2.2, 1.0, 2.0, cards="ab")
    assert run_spread(history, "ms") == pytest.approx(max(pooled([math.log(1.1), -math.log(1.1)] * 2, 0.01), 0.0))
    absent = (dataclasses.replace(history.history[1], figures={"ms": 0.0}), *history.history)
    assert run_spread(dataclasses.replace(history, history=absent), "ms") == run_spread(history, "ms")


def test_how_far_cards_differ_is_estimated_from_their_medians() -> None:
    """The medians of the cards are 0, 0.002, 0.001, 0.004 and 0.002."""
    history = history_of(*(value * math.exp(shift) for value in STEADY for shift in (0.001, 0, -0.001)))
    cards = tuple(dataclasses.replace(run, card=f"GPU-{n // 3}") for n, run in enumerate(history.history))
    found = card_spread(dataclasses.replace(history, history=cards), "ms")
    assert found == pytest.approx(math.sqrt(2) * t_quantile(0.001, 3) * DEVIATION)
    assert card_spread(history_of(*STEADY[:4], cards="abcd"), "ms") == pytest.approx(
        math.sqrt(2) * t_quantile(0.001, 2) * 1.4826 * 0.001 / math.sqrt(2)
    )
    assert card_spread(history_of(1.0, 1.2, 1.0, cards="abc"), "ms") == pytest.approx(math.log(1.2))
    two = card_spread(history_of(1, 1, 1, 1.05, 1, 1, 1, cards="abcdefg"), "ms")
    assert two == pytest.approx(math.sqrt(2) * math.log(1.05))


@pytest.mark.parametrize(("count", "factor"), [(1, 2.0), (2, 1.5), (3, 1 + math.pi / 6), (4, 1 + math.pi / 8)])
def test_a_median_of_runs_is_less_certain_than_their_mean(count: int, factor: float) -> None:
    history = history_of(1.0, *[2.0] * count, cards="a" + "b" * count)
    found = reference_on("GPU-b", QUESTION, dataclasses.replace(history, figures={"ms": Estimate(2.0, 1.9, 2.2, 9)}))
    assert found.between == pytest.approx(found.run_spread * math.sqrt(factor))
    assert (found.estimate.value, found.estimate.low, found.estimate.high) == pytest.approx((2.0, 1.9, 2.2))


def test_a_card_without_runs_has_the_margin_of_runs_and_of_cards() -> None:
    found = reference_on("GPU-z", QUESTION, history_of(1.0))
    assert found.between == pytest.approx(math.hypot(math.sqrt(2) * 0.01, 0.09))
    assert found.details == ("first run on GPU-z: it may differ from GPU-a, the reference's, by up to 9 %",)
    precise = reference_on("GPU-z", QUESTION, history_of(1.0, 1.1234, 1.0, cards="abc"))
    assert precise.details[0].endswith("by up to 12 %")


def test_an_interval_that_reaches_zero_has_no_level() -> None:
    history = history_of(1.0, 1.05, cards="ab")
    for low, known in ((0.0, False), (1e-9, True)):
        figures = {"ms": Estimate(1.0, low, 1.1, 9)}
        assert reference_on("GPU-b", QUESTION, dataclasses.replace(history, figures=figures)).known is known


def test_a_time_that_occurs_once_scatters_as_far_as_its_history_shows() -> None:
    baseline = history_of(1.0)
    once = dataclasses.replace(baseline, figures={"load_s": Estimate.exact(1.0)})
    assert reference_on("", dataclasses.replace(QUESTION, figure="load_s"), once).between == 0


def test_only_runs_since_the_reference_moved_count() -> None:
    history = history_of(1.0, 1.1, 1.2, 1.3).history
    moved = tuple(dataclasses.replace(run, moved=n in (0, 2)) for n, run in enumerate(history))
    for runs, expected in (
        (moved, (1.2, 1.3)),
        ([dataclasses.replace(r, moved=False) for r in moved], (1, 1.1, 1.2, 1.3)),
    ):
        baseline = dataclasses.replace(baseline_of(("a", 1.0)), history=tuple(runs))
        assert runs_by_card(baseline, "ms")["GPU-a"] == pytest.approx([math.log(value) for value in expected])
    absent = dataclasses.replace(history[1], figures={"p99_ms": 2.0})
    zero = dataclasses.replace(history[1], figures={"ms": 0.0})
    baseline = dataclasses.replace(baseline_of(("a", 1.0)), history=(history[0], absent, zero))
    assert runs_by_card(baseline, "ms") == {"GPU-a": [0.0]}


def repeated(*values: float, **changes: str) -> Baseline:
    """Return a baseline of 1 ms, whose history has these values of its plan; `changes` apply to the second run."""
    baseline = history_of(*values)
    first, second, *others = baseline.history
    return dataclasses.replace(baseline, history=(first, dataclasses.replace(second, **changes), *others))


@pytest.mark.parametrize(
    ("values", "level", "factor"),
    [
        ((1.0, 1.002), 1.001, math.sqrt(1.5)),
        ((1.0, 1.002, 1.004), 1.002, math.sqrt(1 + math.pi / 6)),
        ((1.0, 0.998, 0.996, 0.998), 0.998, math.sqrt(1 + math.pi / 8)),
    ],
)
def test_reference_is_the_level_of_all_runs_of_its_plan(values: tuple[float, ...], level: float, factor: float) -> None:
    """The run that became the reference was fast, or slow, by chance."""
    for card in ("", "GPU-a"):
        found = reference_on(card, QUESTION, repeated(*values))
        old = repeated(*values).figures["ms"]
        assert found.estimate.value == pytest.approx(level, abs=1e-5)
        assert found.estimate.high / old.high == pytest.approx(found.estimate.low / old.low)
        assert found.between == pytest.approx(factor * found.run_spread)
        assert found.details == (f"the reference is the level of {len(values)} runs of its plan",)


@pytest.mark.parametrize("changes", [{"plan": "0" * 16}, {"plan": ""}, {"software": "tensorrt 10.16"}])
def test_runs_of_another_plan_or_software_do_not_move_the_reference(changes: dict[str, str]) -> None:
    found = reference_on("", QUESTION, repeated(1.0, 1.004, **changes))
    assert (found.estimate.value, found.details) == (1.0, ())
    assert found.between == pytest.approx(math.sqrt(2) * found.run_spread)
    with_plan = dataclasses.replace(repeated(1.0, 1.004, plan=""), plan_sha256="")
    assert reference_on("", QUESTION, with_plan).estimate.value == 1.0
    absent = repeated(1.0, 1.004)
    absent = dataclasses.replace(
        absent, history=(absent.history[0], dataclasses.replace(absent.history[1], figures={"ms": 0.0}))
    )
    assert reference_on("", QUESTION, absent).estimate.value == 1.0
    other_card = dataclasses.replace(
        absent, history=(absent.history[0], dataclasses.replace(repeated(1.0, 1.004).history[1], card="GPU-b"))
    )
    assert reference_on("", QUESTION, other_card).estimate.value == 1.0


@pytest.mark.parametrize("factor", [1.1, 1 / 1.1])
def test_reference_moves_no_further_than_runs_differ(factor: float) -> None:
    """Its plan became slower, or faster, with the machine: that is reported, and not forgotten."""
    found = reference_on("", QUESTION, repeated(1.0, factor))
    assert math.log(found.estimate.value) == pytest.approx(math.copysign(0.01, math.log(factor)))


def test_a_figure_of_zero_and_a_build_have_no_level() -> None:
    baseline = repeated(1.0, 1.004)
    zero = dataclasses.replace(baseline, figures={"ms": Estimate.exact(0.0)})
    assert reference_on("", QUESTION, zero).estimate.value == 0.0
    runs = tuple(dataclasses.replace(run, figures={"build_s": 20.0 + n}) for n, run in enumerate(baseline.history))
    built = dataclasses.replace(baseline, figures={"build_s": Estimate.exact(20.0)}, history=runs)
    assert reference_on("", dataclasses.replace(QUESTION, figure="build_s"), built).estimate.value == 20.0
