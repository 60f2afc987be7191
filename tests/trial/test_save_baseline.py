"""Test which improvements of a run move the reference when it is saved."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from samples.records import TEST, measurement

from pytest_trt.core.records import Estimate, Result, Verdict
from pytest_trt.judge.baselines import BaselineFolder, device_slug, open_baselines
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.save_baseline import save_measurement

FASTER = Verdict("improved", "baseline", "ms", "latency improved", ratio=Estimate(0.8, 0.79, 0.81))


@pytest.fixture
def folder(tmp_path: Path) -> BaselineFolder:
    folder = open_baselines(str(tmp_path / "baselines"), "main", revision=None, rootdir=tmp_path)
    folder.save(measurement(), "new")
    return folder


class Pins:
    """An engine cache that only records which engines are pinned."""

    def __init__(self) -> None:
        self.digests: list[str] = []

    def pin(self, digest: str) -> None:
        self.digests.append(digest)


def save(folder: BaselineFolder, *verdicts: Verdict) -> tuple[str, dict[str, float]]:
    """Save a faster run that needs less memory; return what was said, and the reference's latency and device memory."""
    run = measurement(0.22, day=2)
    run = dataclasses.replace(run, figures={**run.figures, "memory_mb": Estimate.exact(500.0)})
    pins = Pins()
    settings = Settings(baseline_save=True)
    result = save_measurement(Result(TEST, verdicts, run), folder, settings, pins)  # type: ignore[arg-type]
    baseline = folder.load(TEST, device_slug(run.environment))
    assert baseline is not None
    assert pins.digests == [run.engine_digest] * (baseline.time == run.time)  # only the reference's engine is kept
    return result.saved, {name: baseline.figures[name].value for name in ("ms", "memory_mb")}


def test_a_better_latency_moves_the_reference(folder: BaselineFolder) -> None:
    slightly_worse = Verdict("ok", "baseline", "throughput", "", ratio=Estimate(0.99, 0.97, 1.01))
    saved, reference = save(folder, FASTER, slightly_worse)
    assert saved == "baseline moved (improved)"
    assert reference == {"ms": 0.22, "memory_mb": 500.0}


@pytest.mark.parametrize(
    ("figure", "title", "ratio"),
    [
        ("throughput", "throughput", Estimate(0.85, 0.84, 0.86)),
        ("p99_ms", "p99 latency", Estimate(1.08, 1.07, 1.09)),
    ],
)
def test_a_better_latency_does_not_move_it_with_another_figure_that_is_worse(
    folder: BaselineFolder, figure: str, title: str, ratio: Estimate
) -> None:
    """Figures that are compared engine against engine would follow the engine of the reference, step by step."""
    smaller = Verdict("improved", "baseline", "memory_mb", "device memory improved", ratio=Estimate.exact(0.8))
    worse = Verdict("ok", "baseline", figure, "", ratio=ratio)
    saved, reference = save(folder, FASTER, worse, smaller)
    assert saved.endswith(f"; the better latency does not move it, because of a worse {title}")
    assert reference == {"ms": 0.272, "memory_mb": 500.0}


def test_a_larger_size_keeps_its_own_reference(folder: BaselineFolder) -> None:
    larger = Verdict("ok", "baseline", "engine_mb", "", ratio=Estimate.exact(1.04))
    assert save(folder, FASTER, larger)[0] == "baseline moved (improved)"
