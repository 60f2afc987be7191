"""Keep what a test was compared with, for a report that draws both sides and the trend."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pytest_trt.core.records import Measurement, Result
from pytest_trt.judge.baselines.baseline import data_of, measurement_of
from pytest_trt.judge.regression.trend import trend
from pytest_trt.trial.comparison import Comparison
from pytest_trt.trial.measuring import ConfirmedRun

if TYPE_CHECKING:
    from pytest_trt.judge.baselines import BaselineFolder


def with_reference(
    result: Result, comparison: Comparison, found: ConfirmedRun, folder: BaselineFolder | None
) -> Result:
    """Return the result with the measurement that it was compared with, and with the test's earlier runs.

    Args:
        result: The result.
        comparison: How the engine was compared.
        found: The measurement. If both engines took turns, it has the samples and the layers of the other one.
        folder: The baselines, which may have the stored samples and layers.

    Raises:
        BaselineError: The stored samples cannot be read.
    """
    baseline = comparison.baseline
    if baseline is None:
        return result
    reference = measurement_of(baseline)
    if comparison.mode == "paired":
        profiles = found.again.profiles if found.again is not None and found.again.profiles else found.run.profiles
        profile = profiles[1] if len(profiles) > 1 else None
        reference = dataclasses.replace(reference, samples=found.run.sampling.sides[1], profile=profile)
    elif folder is not None and (data := folder.data(baseline)) is not None:
        reference = dataclasses.replace(reference, samples=data.samples, profile=data.profile)
    return dataclasses.replace(result, reference=_small(reference), history=trend(baseline.history, "ms"))


def _small(reference: Measurement) -> Measurement:
    data = data_of(reference)
    return dataclasses.replace(reference, samples=data.samples, profile=data.profile, outputs={})
