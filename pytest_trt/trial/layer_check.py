"""Check the layers of a test's engine against `trt_layers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_trt.core.backends import label_of
from pytest_trt.core.records import LayerProfile, Verdict
from pytest_trt.judge.regression.layer_limits import judge_layers, judge_unchanged
from pytest_trt.judge.regression.placement_change import judge_placement
from pytest_trt.measure.run import MeasuredRun
from pytest_trt.spec.expectations import LayerLimits
from pytest_trt.trial.comparison import Comparison

if TYPE_CHECKING:
    from pytest_trt.judge.baselines import BaselineFolder


def layer_verdicts(
    limits: LayerLimits | None, run: MeasuredRun, comparison: Comparison, folder: BaselineFolder | None, backend: str
) -> tuple[Verdict, ...]:
    """Return the verdict of every requirement of `trt_layers`, and on nodes that run on the CPU since the baseline.

    Args:
        limits: The requirements; None if there are none.
        run: The measurement, with the layers of each side.
        comparison: How the engine is compared with its baseline.
        folder: The baselines, which may have the layers of the baseline's engine.
        backend: The name of the backend.

    Raises:
        BaselineError: The stored layers cannot be read.
    """
    old_proof = comparison.baseline.proof if comparison.baseline is not None else {}
    placement = tuple(map(comparison.quarantine, judge_placement(run.proof, old_proof)))
    if limits is None:
        return placement
    new = run.profiles[0] if run.profiles else LayerProfile(())
    found = (*placement, *judge_layers(limits, new.layers, label_of(backend)))
    if not limits.unchanged or not new.layers or comparison.baseline is None:
        return found  # Without a baseline, the comparison has a verdict of its own.
    if comparison.mode == "identical":
        return (*found, Verdict("ok", "layers", "unchanged", "layers ok: identical plan"))
    old = _baseline_layers(run, comparison, folder)
    if old is None:
        text = "the baseline has no layers to compare with: --trt-baseline-save adds them"
        return (*found, Verdict("missing", "layers", "unchanged", text))
    return (*found, comparison.quarantine(judge_unchanged(new, old)))


def _baseline_layers(run: MeasuredRun, comparison: Comparison, folder: BaselineFolder | None) -> LayerProfile | None:
    """Return the layers of the baseline's engine: those that were read in turn, else the stored ones."""
    if len(run.profiles) > 1:
        return run.profiles[1]
    data = folder.data(comparison.baseline) if folder is not None and comparison.baseline is not None else None
    return data.profile if data is not None and data.profile is not None and data.profile.layers else None
