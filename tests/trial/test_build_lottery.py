"""Test the build lottery on blocks with known differences."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from samples.records import H200, measurement

from pytest_trt.core.records import Block, Estimate, Samples, Verdict
from pytest_trt.judge.baselines.baseline import baseline_of
from pytest_trt.measure.run import MeasuredRun
from pytest_trt.measure.sampler import Sampling
from pytest_trt.spec.expectations import Tolerance
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.build_lottery import BuildLottery
from pytest_trt.trial.comparison import REBUILT, Comparison, ComparisonTerms
from pytest_trt.trial.probe_spread import ProbeSpread

COMPARISON = Comparison(
    mode="paired",
    terms=ComparisonTerms.of(Tolerance(), Settings(), ProbeSpread(0.0, 0.0), H200),
)


def sides(ratio: float, seed: int):
    """Return 24 blocks for each side around 1 ms, the new engine slower by `ratio`, with 0.1 % of noise."""
    random = np.random.default_rng(seed)

    def blocks(ms: float) -> tuple[Samples, ...]:
        return (Samples(tuple(Block({"ms": (ms * (1 + 0.001 * random.standard_normal()),)}, 0.01) for _ in range(24))),)

    return blocks(ratio), blocks(1.0)


def test_spread_is_between_the_fastest_and_the_slowest_build():
    lottery = BuildLottery.of(COMPARISON.question, [sides(1.0, 1), sides(1.02, 2), sides(1.01, 3)], judged=True)
    assert lottery.spread["ms"] == pytest.approx(0.02, abs=0.002)
    assert "3 builds differ by" in lottery.notes[0]


def test_first_build_counts_if_there_is_no_baseline():
    lottery = BuildLottery.of(COMPARISON.question, [sides(0.98, 1)], judged=False)
    assert lottery.spread["ms"] == pytest.approx(1 / 0.98 - 1, abs=0.002)
    assert lottery.verdict is None
    assert "2 builds differ" in lottery.notes[0]


def test_verdict_of_all_builds_replaces_that_of_the_first():
    lottery = BuildLottery.of(COMPARISON.question, [sides(1.2, seed) for seed in range(4)], judged=True)
    alone = Verdict("ok", "baseline", "ms", "one lucky build")
    budget = Verdict("ok", "budget", "ms", "within")
    replaced = lottery.replace_verdict([budget, alone])
    assert replaced[0] is budget
    assert replaced[1].status == "regressed"
    assert BuildLottery().replace_verdict([alone]) == (alone,)


def test_verdict_notes_another_build_of_the_same_model():
    same = dataclasses.replace(COMPARISON, baseline=baseline_of(measurement(), ()))
    run = MeasuredRun(Sampling(sides(1.0, 1), "done", True, 1.0), {"ms": Estimate(1.0, 0.999, 1.001)}, {})
    verdicts = [dataclasses.replace(same, rebuilt=rebuilt).verdicts(run)[0] for rebuilt in (True, False)]
    assert [REBUILT in verdict.details for verdict in verdicts] == [True, False]
    assert [verdict.status for verdict in verdicts] == ["ok", "ok"]
