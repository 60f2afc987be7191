"""Test a baseline: when it moves, what it records, and which values are invalid."""

from __future__ import annotations

import dataclasses
import math

import pytest
from samples.records import H200, TEST, measurement, stored

from pytest_trt.core.records import Block, Estimate, Samples
from pytest_trt.judge.baselines.baseline import Run, baseline_of, data_of, measurement_of


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
    for name in ("ratios", "limits"):
        with pytest.raises(ValueError, match=f"{name}.ms is -1: it must be between 0 and"):
            Run("2026-07-01T12:00:00", None, {"ms": 1.0}, **{name: {"ms": -1.0}})


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
