"""What becomes of a result beside its verdict: a renamed test is offered its baseline, and a measurement is stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING

from pytest_trt.core.records import Result, Verdict

if TYPE_CHECKING:
    from pytest_trt.engine.cache.store import Store
    from pytest_trt.judge.baselines import BaselineFolder
    from pytest_trt.spec.settings import Settings


def offered(result: Result, folder: BaselineFolder, tests: Collection[str]) -> Result:
    """A test that is new may be one that was renamed: its spec tells, and the way to keep its baseline is said.
    `tests` are all there are; none, where that is not known."""
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


def saved(result: Result, folder: BaselineFolder, settings: Settings, store: Store) -> Result:
    """Store the measurement as the test's baseline where that is asked for, and keep its plan in the cache."""
    if not settings.baseline_save or result.measurement is None:
        return result
    done = folder.save(
        result.measurement, result.status, force=settings.baseline_force, new_only=settings.baseline_new_only
    )
    if done.outcome in ("created", "moved"):
        store.pin(result.measurement.engine_digest)
    return dataclasses.replace(result, saved=done.text)
