"""Save the measurement to the baseline; suggest the baseline of a renamed test."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING

from pytest_trt.core.records import Result, Verdict

if TYPE_CHECKING:
    from pytest_trt.engine.cache.store import Store
    from pytest_trt.judge.baselines import BaselineFolder
    from pytest_trt.spec.settings import Settings


def suggest_renamed(result: Result, folder: BaselineFolder, tests: Collection[str]) -> Result:
    """Return the result; if its test is new, and a baseline of the same spec has no test, name the command to keep it.

    Args:
        result: The test's result.
        folder: The stored baselines.
        tests: The node ids of all tests; empty if not all were collected, and then nothing is suggested.
    """
    if result.measurement is None or not tests or not any(map(_is_new, result.verdicts)):
        return result
    old = folder.find_renamed(result.measurement, tests)
    if old is None:
        return result
    hint = f'was it renamed? pytest-trt baseline rename "{old}" "{result.node_id}"'
    verdicts = (dataclasses.replace(v, details=(*v.details, hint)) if _is_new(v) else v for v in result.verdicts)
    return dataclasses.replace(result, verdicts=tuple(verdicts))


def _is_new(verdict: Verdict) -> bool:
    return (verdict.basis, verdict.status) == ("baseline", "new")


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
    return dataclasses.replace(result, saved=done.text)
