"""Test a baseline: when it moves, what it records, and which values are invalid."""

from __future__ import annotations

import dataclasses
import math

import pytest
from samples.records import H200, TEST, measurement, stored

from pytest_trt.core.records import STATUSES, Block, Estimate, Samples, Status
from pytest_trt.judge.baselines.baseline import RUNS, STORED, Run, baseline_of, data_of, measurement_of, update_baseline


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


@pytest.mark.parametrize("status", ["ok", "missing", "unenforced"])
def test_a_figure_that_the_reference_lacks_is_added_to_it(status: Status) -> None:
    old = stored(measurement(figures={"ms": Estimate(0.272, 0.271, 0.273)}))
    made, saved = update_baseline(old, measurement(0.28, day=2), status)
    assert made is not None
    assert saved.outcome == "extended"
    assert "except that it now has p99_ms, throughput" in saved.text
    assert made.figures["ms"] == old.figures["ms"]
    assert made.figures["engine_mb"] == measurement().figures["engine_mb"]
    assert made.time == old.time
    assert [run.moved for run in made.history] == [True, False]


def test_improvement_moves_the_reference() -> None:
    made, saved = update_baseline(stored(), measurement(0.2, day=2), "improved")
    assert made is not None
    assert saved.outcome == "moved"
    assert made.figures["ms"].value == 0.2
    assert [run.moved for run in made.history] == [True, True]


def test_new_only_keeps_an_existing_baseline() -> None:
    made, saved = update_baseline(stored(), measurement(0.2), "improved", new_only=True)
    assert (made, saved.outcome) == (None, "unchanged")
    assert update_baseline(None, measurement(), "new", new_only=True)[1].outcome == "created"


def test_last_runs_are_kept_in_the_history() -> None:
    baseline = stored(None, *(measurement(0.272 + day / 10000, day=day) for day in range(2, 20)))
    assert len(baseline.history) == RUNS
    assert baseline.history[-1].time == "2026-07-19T12:00:00+00:00"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"figures": {}}, "figures is empty"),
        ({"figures": {"ms": Estimate(1.0, 1.1, 1.2)}}, "must lie in its interval"),
        ({"figures": {"ms": Estimate(-1.0, -1.1, 1.2)}}, "the interval between 0 and 1e\\+15"),
        ({"figures": {"ms": Estimate(1.0, 0.9, 1e16)}}, "the interval between 0 and 1e\\+15"),
        ({"figures": {"ms": Estimate(1.0, 0.9, math.inf)}}, "the interval between 0 and 1e\\+15"),
        ({"figures": {"milliseconds": Estimate.exact(1.0)}}, "no such figure"),
        ({"engine_digest": "../../etc"}, "engine_digest"),
        ({"plan_sha256": "XYZ"}, "plan_sha256"),
        ({"time": "yesterday"}, "time"),
        ({"environment": dataclasses.replace(H200, commit="a/../b")}, "environment.commit"),
    ],
)
def test_invalid_baselines(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(stored(), **changes)  # type: ignore[arg-type]


def test_figures_of_a_run_must_be_known_and_not_negative() -> None:
    with pytest.raises(ValueError, match="must be between 0 and"):
        Run("2026-07-01T12:00:00", None, {"ms": -1.0})
    with pytest.raises(ValueError, match="no such figure"):
        Run("2026-07-01T12:00:00", None, {"speed": 1.0})


def test_conversion_to_a_measurement_and_back() -> None:
    baseline = baseline_of(measurement())
    assert baseline_of(measurement_of(baseline)) == baseline
    assert data_of(measurement()).node_id == TEST


def test_many_blocks_are_reduced_to_their_medians() -> None:
    blocks = tuple(Block({"ms": (1.0, 1.00000049 + n, 5.0)}, 0.01, {"sm_mhz": 1980.0}) for n in range(100))
    few = dataclasses.replace(measurement(), samples=(Samples(blocks[:32]),))
    assert [len(block.times["ms"]) for block in data_of(few).samples[0].blocks] == [3] * 32
    (kept,) = data_of(dataclasses.replace(measurement(), samples=(Samples(blocks, probe=2),))).samples
    assert [len(block.times["ms"]) for block in kept.blocks] == [3, 1, 1, 1] * 25
    assert [sorted(block.times["ms"])[len(block.times["ms"]) // 2] for block in kept.blocks[:3]] == [1.0, 2.0, 3.0]
    assert (kept.probe, kept.blocks[1].seconds, kept.blocks[1].state) == (2, 0.01, {"sm_mhz": 1980.0})


def test_inspector_data_is_not_stored() -> None:
    made = measurement()
    assert made.profile is not None
    inspected = dataclasses.replace(made, profile=dataclasses.replace(made.profile, inspected={"Layers": ["conv"]}))
    assert data_of(inspected).profile == made.profile


def test_an_inconclusive_run_is_added_to_the_history_and_leaves_the_reference() -> None:
    """With one stored run and a tolerance of 1 %, the verdict stayed inconclusive for ever."""
    old = stored()
    made, saved = update_baseline(old, measurement(0.28, day=2), "inconclusive")
    assert made is not None
    assert (saved.outcome, made.figures, len(made.history)) == ("recorded", old.figures, len(old.history) + 1)
    assert update_baseline(None, measurement(), "inconclusive")[1].outcome == "refused"
