"""Save the measurement of a test to its baseline."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Result, Verdict

if TYPE_CHECKING:
    from pytest_trt.engine.cache.base import EngineStore
    from pytest_trt.judge.baselines import BaselineFolder
    from pytest_trt.spec.settings import Settings


def save_measurement(result: Result, folder: BaselineFolder, settings: Settings, store: EngineStore) -> Result:
    """Store the measurement as the test's baseline if the settings request it, and pin its plan in the cache.

    Returns:
        The result, with a sentence that says what was saved.
    """
    if not settings.baseline_save or result.measurement is None:
        return result
    judged = [verdict for verdict in result.verdicts if verdict.basis == "baseline"]
    improved = {verdict.figure for verdict in judged if verdict.status == "improved"}
    worse = [FIGURES[verdict.figure].title for verdict in judged if _is_worse(verdict)] if "ms" in improved else []
    done = folder.save(
        result.measurement,
        result.status,
        improved=improved - {"ms"} if worse else improved,
        verdicts=result.verdicts,
        force=settings.baseline_force,
        new_only=settings.baseline_new_only,
    )
    if done.outcome in ("created", "moved"):
        store.pin(result.measurement.engine_digest)
    elif done.outcome != "refused" and any((v.basis, v.status) == ("layers", "missing") for v in result.verdicts):
        folder.add_layers(result.measurement)
    kept = f"; the better latency does not move it, because of a worse {' and '.join(worse)}" if worse else ""
    return dataclasses.replace(result, saved=done.text + (kept if done.outcome in ("recorded", "amended") else ""))


def _is_worse(verdict: Verdict) -> bool:
    """Return whether a figure that scatters is surely worse than the baseline's, even if within its tolerance.

    Such figures are compared engine against engine. If the engine became the reference, they would be judged against
    its worse figures from then on.
    """
    ratio = verdict.ratio
    if ratio is None or ratio.low == ratio.high:
        return False
    return ratio.high < 1 if FIGURES[verdict.figure].higher_is_better else ratio.low > 1
