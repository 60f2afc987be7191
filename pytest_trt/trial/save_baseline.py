"""Save the measurement of a test to its baseline."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pytest_trt.core.records import Result

if TYPE_CHECKING:
    from pytest_trt.engine.cache.store import Store
    from pytest_trt.judge.baselines import BaselineFolder
    from pytest_trt.spec.settings import Settings


def save_measurement(result: Result, folder: BaselineFolder, settings: Settings, store: Store) -> Result:
    """Store the measurement as the test's baseline if the settings request it, and pin its plan in the cache.

    Returns:
        The result, with a sentence that says what was saved.
    """
    if not settings.baseline_save or result.measurement is None:
        return result
    done = folder.save(
        result.measurement, result.status, force=settings.baseline_force, new_only=settings.baseline_new_only
    )
    if done.outcome in ("created", "moved"):
        store.pin(result.measurement.engine_digest)
    elif done.outcome != "refused" and any((v.basis, v.status) == ("layers", "missing") for v in result.verdicts):
        folder.add_layers(result.measurement)
    return dataclasses.replace(result, saved=done.text)
