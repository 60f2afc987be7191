"""Test how a measurement is judged against stored figures."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest
from samples.records import H200, digest, measurement, stored

from pytest_trt.core.records import MEASUREMENT_VERSION, Environment, Estimate
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.judge.baselines.updating import update_baseline
from pytest_trt.judge.regression.card_levels import run_spread
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.judge.regression.stored import absence_verdict, is_identical, judge_stored


def save_slowdowns(share: float, runs: int) -> tuple[list[str], Baseline]:
    """Judge and save a run a day, each slower by this share than the one before, and return the statuses."""
    baseline, ms, verdicts = stored(measurement(1.0)), 1.0, []
    for day in range(2, 2 + runs):
        ms *= 1 + share
        run = measurement(ms, day=day)
        verdict = judge_stored(RegressionQuestion(tolerance=0.05, run_spread=0.002), run.figures["ms"], baseline)
        verdicts.append(verdict.status)
        baseline = update_baseline(baseline, run, verdict.status)[0] or baseline
    return verdicts, baseline


def test_ten_slowdowns_of_four_percent_end_in_a_regression() -> None:
    """Neither the reference nor the spread between runs follows small slowdowns."""
    verdicts, baseline = save_slowdowns(0.04, runs=10)
    assert verdicts == ["ok", *["regressed"] * 9]
    assert baseline.figures["ms"].value == 1.0


def test_slowdowns_of_one_percent_per_run_end_in_a_regression() -> None:
    verdicts, _ = save_slowdowns(0.01, runs=20)
    assert verdicts[:2] == ["ok", "ok"]
    assert verdicts[-1] == "regressed"


def test_spread_between_runs_comes_from_the_history() -> None:
    draw = random.Random(0)
    quiet = stored(None, *(measurement(0.272 * draw.gauss(1, 0.0005), day=day) for day in range(2, 12)))
    noisy = stored(None, *(measurement(0.272 * draw.gauss(1, 0.03), day=day) for day in range(2, 12)))
    assert run_spread(quiet, "ms", 0.01) < 0.01
    assert run_spread(noisy, "ms", 0.01) > 0.03


def test_spread_between_few_runs_is_the_default() -> None:
    assert run_spread(stored(None, measurement(0.3, day=2)), "ms", 0.01) == 0.01
    assert run_spread(stored(), "host_mb", 0.07) == 0.07


def test_spread_ignores_runs_before_the_reference_moved() -> None:
    baseline = stored(None, *(measurement(0.272 * (1 + 0.1 * (day % 2)), day=day) for day in range(2, 9)))
    moved, _ = update_baseline(baseline, measurement(0.272, day=9), "improved", improved=("ms",))
    assert moved is not None
    assert run_spread(moved, "ms", 0.01) == 0.01


def test_one_step_in_the_history_does_not_widen_the_spread() -> None:
    level = [0.272] * 5 + [0.283] * 5
    runs = (measurement(ms, day=2 + i, plan_sha256=digest(f"plan {ms}")) for i, ms in enumerate(level))
    baseline = stored(None, *runs)
    assert run_spread(baseline, "ms", 0.01) < 0.011


def test_judged_against_stored_figures() -> None:
    question = RegressionQuestion(tolerance=0.05, run_spread=0.01)
    assert judge_stored(question, measurement(0.2725).figures["ms"], stored()).status == "ok"
    verdict = judge_stored(question, measurement(0.306).figures["ms"], stored())
    assert verdict.status == "regressed"
    assert verdict.ratio is not None
    assert verdict.ratio.value == pytest.approx(1.125)
    assert verdict.ratio.low == pytest.approx(1.11, abs=0.005)
    assert "not engine against engine" in verdict.details[0]
    assert judge_stored(question, measurement(0.2).figures["ms"], stored()).status == "improved"


def test_tolerance_within_the_spread_is_inconclusive() -> None:
    verdict = judge_stored(
        RegressionQuestion(tolerance=0.01, run_spread=0.01), measurement(0.274).figures["ms"], stored()
    )
    assert verdict.status == "inconclusive"


@pytest.mark.parametrize("scatter", [0.001, 0.01, 0.03])
def test_false_alarms_against_stored_runs_are_rare(scatter: float) -> None:
    """The engine does not change and the tolerance is 0; the history is long enough to show the spread."""
    question, draw, alarms = RegressionQuestion(tolerance=0.0), random.Random(0), 0
    for _ in range(600):
        runs = [measurement(math.exp(draw.gauss(0, scatter)), samples=()) for _ in range(9)]
        alarms += judge_stored(question, runs[0].figures["ms"], stored(*runs[1:])).status == "regressed"
    assert alarms <= 12  # of 600 at 1 %: more in 1 of 300 series


@pytest.mark.parametrize("count", [2, 5, 8])
def test_runs_that_alternate_between_two_levels_have_a_wide_spread(count: int) -> None:
    """Half of all neighbouring runs are equal, so that a median deviation would be 0.

    With that, an earlier version judged one in eight such runs as regressed.
    """
    levels = [0.272, *(0.272 * (1.03 if n in (1, 2, 5) else 1.0) for n in range(1, count))]
    runs = [measurement(ms, day=2 + n) for n, ms in enumerate((*levels, 0.272))]
    baseline = stored(*runs)
    assert run_spread(baseline, "ms", 0.01) >= math.log(1.03) - 1e-9
    verdict = judge_stored(RegressionQuestion(tolerance=0.0), measurement(0.272 * 1.03).figures["ms"], baseline)
    assert verdict.status == "inconclusive"


def test_slow_increase_hardly_widens_the_spread() -> None:
    runs = [measurement(0.272 * 1.005**n, day=2 + n) for n in range(8)]
    assert run_spread(stored(*runs), "ms", 0.01) < 0.011
    in_steps = [measurement(0.272 * 1.02**n, day=2 + n) for n in (0, 0, 0, 1, 1, 2, 2, 2)]
    assert 0.011 < run_spread(stored(*in_steps), "ms", 0.01) < 0.03


def test_one_stored_run_uses_the_default_spread() -> None:
    verdict = judge_stored(
        RegressionQuestion(tolerance=0.005), measurement(0.2747).figures["ms"], stored(measurement(0.272))
    )
    assert verdict.status == "inconclusive"
    assert verdict.resolution is not None
    assert verdict.resolution > 0.01


def test_throughput_regresses_downwards() -> None:
    question = RegressionQuestion(figure="throughput", tolerance=0.05)
    assert judge_stored(question, measurement(0.306).figures["throughput"], stored()).status == "regressed"
    assert judge_stored(question, measurement(0.2).figures["throughput"], stored()).status == "improved"


def test_sizes_are_compared_exactly() -> None:
    question = RegressionQuestion(figure="memory_mb", tolerance=0.05)
    assert judge_stored(question, Estimate.exact(640.0), stored()).status == "ok"
    assert judge_stored(question, Estimate.exact(700.0), stored()).status == "regressed"


def test_times_that_occur_once_scatter_as_far_as_the_history_shows() -> None:
    question = RegressionQuestion(figure="build_s", tolerance=0.5)

    def with_build_s(*seconds: float) -> Baseline:
        figures = [{**measurement().figures, "build_s": Estimate.exact(value)} for value in seconds]
        return stored(*(measurement(day=day, figures=one) for day, one in enumerate(figures, 1)))

    def status(seconds: float, baseline: Baseline) -> str:
        return judge_stored(question, Estimate.exact(seconds), baseline).status

    unknown, scattered = with_build_s(20.0), with_build_s(20.0, 30.0, 18.0, 27.0, 21.0, 31.0)
    assert [status(seconds, unknown) for seconds in (20.0, 29.0, 31.0)] == ["ok", "ok", "regressed"]
    assert [status(seconds, scattered) for seconds in (20.0, 31.0, 2000.0)] == [
        "inconclusive", "inconclusive", "regressed"
    ]  # fmt: skip


def test_missing_figure_is_added_when_saving() -> None:
    verdict = judge_stored(RegressionQuestion(figure="host_mb"), Estimate.exact(10.0), stored())
    assert verdict.status == "missing"
    assert "--trt-baseline-save adds it" in verdict.text
    old, run = stored(), measurement(0.28)
    without = dataclasses.replace(old, figures={n: e for n, e in old.figures.items() if n != "ms"})
    made, saved = update_baseline(without, run, "missing")
    assert made is not None
    assert (saved.outcome, made.figures["ms"].value) == ("amended", 0.28)
    made, saved = update_baseline(old, run, "missing")  # such as the verdict on outputs: the reference stays
    assert made is not None
    assert (saved.outcome, made.figures["ms"].value) == ("recorded", 0.272)


def test_latency_of_zero_is_inconclusive() -> None:
    assert judge_stored(RegressionQuestion(), Estimate(0.1, 0.0, 0.2), stored()).status == "inconclusive"


ENGINE = digest("engine")


def test_identical_plan() -> None:
    baseline, now = stored(), measurement(0.5)
    assert is_identical(baseline, H200, engine_digest=ENGINE, plan_sha256=now.plan_sha256, spec_digest=now.spec_digest)


@pytest.mark.parametrize(
    "changed",
    [
        {"device": "NVIDIA H100"}, {"mig_profile": "1g.18gb"}, {"backend": "tensorrt_lean"}, {"driver": "560.1"},
        {"backend_version": "10.16"}, {"measurement": MEASUREMENT_VERSION + 1},
        {"host_cpu": "AMD EPYC"}, {"threads": 4}, {"device_uuid": "GPU-other"},
    ],
)  # fmt: skip
def test_other_environment_is_not_identical(changed: dict[str, object]) -> None:
    now = measurement()
    environment = dataclasses.replace(H200, **changed)  # type: ignore[arg-type]
    assert not is_identical(
        stored(), environment, engine_digest=ENGINE, plan_sha256=now.plan_sha256, spec_digest=now.spec_digest
    )


def test_other_plan_or_pipeline_is_not_identical() -> None:
    now = measurement()
    assert not is_identical(
        stored(), H200, engine_digest=digest("other weights"), plan_sha256=now.plan_sha256, spec_digest=now.spec_digest
    )
    assert not is_identical(
        stored(), H200, engine_digest=ENGINE, plan_sha256=digest("other plan"), spec_digest=now.spec_digest
    )
    assert not is_identical(
        stored(), H200, engine_digest=ENGINE, plan_sha256=now.plan_sha256, spec_digest=digest("other pipeline")
    )
    assert not is_identical(
        stored(measurement(plan_sha256="")), H200, engine_digest=ENGINE, plan_sha256="", spec_digest=now.spec_digest
    )


def test_no_baseline_is_missing_or_new() -> None:
    assert absence_verdict("main", "NVIDIA H200", any_of_device=False).status == "missing"
    assert absence_verdict("main", "NVIDIA H200", any_of_device=True).status == "new"


def with_history(*latencies: float) -> Baseline:
    return stored(*(measurement(ms, day=1 + n) for n, ms in enumerate(latencies)))


def test_three_runs_show_a_spread_and_two_do_not() -> None:
    latencies = [1.0, 1.1, 1.21]
    assert run_spread(with_history(*latencies[:2]), "ms", 0.01) == 0.01
    assert run_spread(with_history(*latencies), "ms", 0.01) != 0.01


def test_the_margins_of_both_sides_add_by_their_squares() -> None:
    question = RegressionQuestion(tolerance=0.05, run_spread=0.02)
    old = dataclasses.replace(stored().figures["ms"], value=1.0, low=0.98, high=1.03)
    baseline = dataclasses.replace(stored(), figures={"ms": old})
    new = Estimate(1.2, 1.14, 1.21, 400)
    ratio = judge_stored(question, new, baseline).ratio
    assert ratio is not None
    between = math.sqrt(2) * 0.02
    below = math.hypot(math.log(1.2 / 1.14), math.log(1.03), between)
    above = math.hypot(math.log(1.21 / 1.2), math.log(1 / 0.98), between)
    assert ratio.value == pytest.approx(1.2)
    assert (ratio.low, ratio.high) == pytest.approx((1.2 * math.exp(-below), 1.2 * math.exp(above)))


def test_one_exact_side_is_not_compared_exactly() -> None:
    question = RegressionQuestion(tolerance=0.05, run_spread=0.02)
    exact = dataclasses.replace(stored(), figures={"ms": Estimate.exact(1.0)})
    assert judge_stored(question, Estimate(1.06, 1.05, 1.07, 400), exact).status == "inconclusive"
    assert judge_stored(question, Estimate.exact(1.06), exact).status == "regressed"


CPU = dataclasses.replace(H200, kind="cpu", device_uuid=None)


@pytest.mark.parametrize(
    ("then", "now", "identical"),
    [
        (dataclasses.replace(H200, host="a"), dataclasses.replace(H200, host="a"), True),
        (dataclasses.replace(H200, host="a"), dataclasses.replace(H200, host="b"), False),
        (H200, dataclasses.replace(H200, host="b"), True),  # from before hosts were recorded, on the same GPU
        (CPU, dataclasses.replace(CPU, host="b"), False),
        (dataclasses.replace(CPU, host="b"), dataclasses.replace(CPU, host="b"), True),
    ],
)
def test_another_host_is_not_identical(then: Environment, now: Environment, identical: bool) -> None:
    run = measurement(environment=then)
    found = is_identical(
        stored(run), now, engine_digest=ENGINE, plan_sha256=run.plan_sha256, spec_digest=run.spec_digest
    )
    assert found == identical
