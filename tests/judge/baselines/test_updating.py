"""Test what is stored after a measurement, and when the reference moves."""

from __future__ import annotations

import dataclasses

import pytest
from samples.records import H200, measurement, stored

from pytest_trt.core.records import STATUSES, Estimate, Measurement, Status, Verdict
from pytest_trt.judge.baselines import file_format
from pytest_trt.judge.baselines.updating import RUNS, STORED, update_baseline


@pytest.mark.parametrize("status", ["missing", "new", "ok", "improved", "unenforced"])
def test_first_measurement_becomes_the_reference(status: Status) -> None:
    made, saved = update_baseline(None, measurement(), status)
    assert made is not None
    assert saved.outcome == "created"
    assert made.figures["ms"].value == 0.272
    assert [run.moved for run in made.history] == [True]


@pytest.mark.parametrize("status", [s for s in STATUSES if s not in {*STORED, "inconclusive"}])
def test_failing_measurement_is_saved_only_with_force(status: Status) -> None:
    made, saved = update_baseline(stored(), measurement(0.3), status)
    assert made is None
    assert saved.outcome == "refused"
    assert "--trt-baseline-force" in saved.text
    made, saved = update_baseline(stored(), measurement(0.3), status, force=True)
    assert made is not None
    assert saved.outcome == "moved"
    assert made.figures["ms"].value == 0.3


def test_ok_run_is_recorded_and_keeps_the_reference() -> None:
    made, saved = update_baseline(stored(), measurement(0.28, day=2), "ok")
    assert made is not None
    assert saved.outcome == "recorded"
    assert (made.time, made.figures["ms"].value) == ("2026-07-01T12:00:00+00:00", 0.272)
    assert [run.figures["ms"] for run in made.history] == [0.272, 0.28]


def test_history_keeps_the_judged_ratios_and_the_budgets_beside_the_values_of_the_day() -> None:
    verdicts = (
        Verdict("regressed", "baseline", "ms", "", ratio=Estimate(1.56, 1.55, 1.57)),
        Verdict("ok", "baseline", "memory_mb", "", ratio=Estimate.exact(1.0)),
        Verdict("ok", "baseline", "throughput", ""),
        Verdict("ok", "budget", "ms", "", limit=0.5),
        Verdict("ok", "accuracy", "logits", "", ratio=Estimate.exact(2.0)),
    )
    made, _ = update_baseline(stored(), measurement(0.248, day=2), "ok", verdicts=verdicts, force=True)
    assert made is not None
    assert made.history[0].ratios == {}
    last = file_format.parse(file_format.render(made), "b.json").history[-1]
    assert (last.figures["ms"], last.ratios, last.limits) == (0.248, {"ms": 1.56}, {"ms": 0.5})
    assert last.software == "tensorrt 8.6.0, driver 550.54.15"


@pytest.mark.parametrize("status", ["ok", "missing", "unenforced"])
def test_a_figure_that_the_reference_lacks_is_added_to_it(status: Status) -> None:
    old = stored(measurement(figures={"ms": Estimate(0.272, 0.271, 0.273)}))
    made, saved = update_baseline(old, measurement(0.28, day=2), status)
    assert made is not None
    assert saved.outcome == "amended"
    assert "except that it now has p99_ms, throughput" in saved.text
    assert made.figures["ms"] == old.figures["ms"]
    assert made.figures["engine_mb"] == measurement().figures["engine_mb"]
    assert made.time == old.time
    assert [run.moved for run in made.history] == [True, False]


def changed(ms: float = 0.272, day: int = 2, **values: float) -> Measurement:
    """Return a measurement with these values of other figures."""
    run = measurement(ms, day=day, plan=f"plan {day}")
    return dataclasses.replace(run, figures={**run.figures, **{n: Estimate.exact(v) for n, v in values.items()}})


def test_a_better_latency_moves_the_reference() -> None:
    run = changed(0.2, memory_mb=500.0)
    made, saved = update_baseline(stored(), run, "improved", improved=("ms",))
    assert made is not None
    assert (saved.outcome, made.plan_sha256, made.time) == ("moved", run.plan_sha256, run.time)
    assert made.figures == run.figures
    assert [run.moved for run in made.history] == [True, True]


def test_a_better_latency_keeps_the_better_value_of_every_other_figure() -> None:
    old, run = stored(), changed(0.2, memory_mb=650.0, throughput=3000.0, build_s=20.0)
    made, _ = update_baseline(old, run, "improved", improved=("ms",))
    assert made is not None
    assert {name: made.figures[name] for name in ("memory_mb", "throughput")} == {
        "memory_mb": old.figures["memory_mb"], "throughput": old.figures["throughput"]
    }  # fmt: skip
    assert made.figures["build_s"].value == 20.0


def test_a_smaller_size_leaves_the_reference_of_the_latency() -> None:
    old = stored()
    made, saved = update_baseline(old, changed(0.28, memory_mb=500.0), "improved", improved=("memory_mb",))
    assert made is not None
    assert saved.outcome == "amended"
    assert "unchanged, except that memory_mb moved to 500 MB (improved)" in saved.text
    assert made.figures == {**old.figures, "memory_mb": Estimate.exact(500.0)}
    assert (made.plan_sha256, made.time) == (old.plan_sha256, old.time)
    assert [run.moved for run in made.history] == [True, False]


def test_a_latency_does_not_creep_while_memory_improves_step_by_step() -> None:
    baseline = stored()
    for day in range(2, 12):
        run = changed(0.272 * 1.04 ** (day - 1), day, memory_mb=628.4 * 0.9 ** (day - 1))
        made, _ = update_baseline(baseline, run, "improved", improved=("memory_mb",))
        assert made is not None
        baseline = made
    assert baseline.figures["ms"].value == 0.272
    assert baseline.figures["memory_mb"].value == pytest.approx(628.4 * 0.9**10)


def test_only_an_improved_run_moves_the_reference() -> None:
    """Another verdict of the run may be `missing`, for example that of its outputs."""
    made, saved = update_baseline(stored(), changed(0.2), "missing", improved=("ms",))
    assert made is not None
    assert (saved.outcome, made.figures["ms"].value) == ("recorded", 0.272)


def test_force_moves_every_figure() -> None:
    run = changed(0.2, memory_mb=650.0)
    made, _ = update_baseline(stored(), run, "improved", improved=("ms",), force=True)
    assert made is not None
    assert made.figures == run.figures


def test_new_only_keeps_an_existing_baseline() -> None:
    made, saved = update_baseline(stored(), measurement(0.2), "improved", new_only=True)
    assert (made, saved.outcome) == (None, "unchanged")
    assert update_baseline(None, measurement(), "new", new_only=True)[1].outcome == "created"


def test_last_runs_are_kept_in_the_history() -> None:
    baseline = stored(None, *(measurement(0.272 + day / 10000, day=day) for day in range(2, 20)))
    assert len(baseline.history) == RUNS
    assert baseline.history[-1].time == "2026-07-19T12:00:00+00:00"


def test_an_inconclusive_run_is_added_to_the_history_and_leaves_the_reference() -> None:
    """With one stored run and a tolerance of 1 %, the verdict stayed inconclusive for ever."""
    old = stored()
    made, saved = update_baseline(old, measurement(0.28, day=2), "inconclusive")
    assert made is not None
    assert (saved.outcome, made.figures, len(made.history)) == ("recorded", old.figures, len(old.history) + 1)
    assert update_baseline(None, measurement(), "inconclusive")[1].outcome == "refused"


def test_a_card_that_seldom_runs_is_not_forgotten() -> None:
    seldom = measurement(environment=dataclasses.replace(H200, device_uuid="GPU-seldom"))
    baseline = stored(measurement(), seldom, *(measurement(day=2 + n) for n in range(20)))
    cards = [run.card for run in baseline.history]
    assert cards == ["GPU-seldom", *["GPU-5f2e"] * 9]
    raw = file_format.render(baseline)
    updated, _ = update_baseline(baseline, measurement(day=25), "ok")
    assert updated is not None
    assert file_format.append_run(raw, baseline, updated) == file_format.render(updated)


def test_runs_before_the_reference_moved_are_forgotten_first() -> None:
    seldom = measurement(environment=dataclasses.replace(H200, device_uuid="GPU-seldom"))
    baseline, _ = update_baseline(stored(seldom), measurement(day=2), "improved", improved=("ms",))
    for day in range(3, 13):
        assert baseline is not None
        baseline, _ = update_baseline(baseline, measurement(day=day), "ok")
    assert baseline is not None
    assert {run.card for run in baseline.history} == {"GPU-5f2e"}


def test_a_time_of_another_card_moves_only_with_the_latency() -> None:
    other = dataclasses.replace(H200, device_uuid="GPU-other")
    slow, fast = Estimate(3.0, 2.9, 3.1), Estimate(2.0, 1.9, 2.1)
    old = stored(measurement(figures={**measurement().figures, "load_s": fast}))
    run = measurement(0.2, figures={**measurement(0.2).figures, "load_s": slow}, environment=other)
    alone, saved = update_baseline(old, run, "improved", improved=("throughput",))
    assert alone is not None
    assert (saved.outcome, alone.figures["throughput"]) == ("recorded", old.figures["throughput"])
    moved, _ = update_baseline(old, run, "improved", improved=("ms",))
    assert moved is not None
    assert (moved.environment.card, moved.figures["load_s"]) == ("GPU-other", slow)
