"""Which way a test is compared, and with what.

Engine against engine where the baseline's plan can be loaded here; against what is stored where it cannot; not at all
where nothing differs, or nothing is stored.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core.records import Environment
from pytest_trt.engine.cache.digest import file_sha256
from pytest_trt.engine.provide import ProvidedEngine
from pytest_trt.errors import CacheError, DeclarationError
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.judge.regression import stored
from pytest_trt.measure.engine_probe import Subject
from pytest_trt.spec.description import parse_pipeline
from pytest_trt.spec.expectations import Tolerance
from pytest_trt.spec.settings import Settings
from pytest_trt.trial import probe_spread
from pytest_trt.trial.against.revision import Revision
from pytest_trt.trial.comparison import Comparison

if TYPE_CHECKING:
    from pytest_trt.engine.cache.store import Store
    from pytest_trt.judge.baselines import BaselineFolder


def choose(
    folder: BaselineFolder | None,
    node_id: str,
    new: Subject,
    engine: ProvidedEngine,
    environment: Environment,
    said: Mapping[str, str],
    spec_digest: str,
    tolerance: Tolerance,
    settings: Settings,
    store: Store,
) -> Comparison:
    """The way in which this engine is compared with its test's baseline. Raises BaselineError for one that cannot be
    read."""
    from pytest_trt.judge.baselines import device_slug

    made = _asking(tolerance, settings, store, environment)
    if folder is None:
        return made(way="off")
    device = device_slug(environment)
    baseline = folder.load(node_id, device)
    if baseline is None:
        any_of_device = folder.has_any(device)
        others = () if any_of_device else folder.other_names()
        absence = stored.absence_verdict(folder.name, environment.device, any_of_device=any_of_device, others=others)
        return made(way="absent", absence=absence)
    if not tolerance.paired and stored.is_identical(baseline, environment, engine.plan_sha256, spec_digest):
        return made(way="identical", baseline=baseline)
    other = None if tolerance.paired is False else _stored_engine(baseline, new, environment, said, store)
    rebuilt = baseline.engine_digest == engine.digest and baseline.plan_sha256 != engine.plan_sha256
    return made(way="stored" if other is None else "paired", baseline=baseline, other=other, rebuilt=rebuilt)


def choose_revision(
    revision: Revision,
    node_id: str,
    new: Subject,
    model: Path,
    engine: ProvidedEngine,
    environment: Environment,
    spec_digest: str,
    tolerance: Tolerance,
    settings: Settings,
    store: Store,
) -> Comparison:
    """The same, with the engine that the test has at a git revision, run as it is declared there. Raises CacheError
    where that is no longer what was built, DeclarationError where another backend runs it, or `model` is the very file
    that it was built from there: then git does not know what it was."""
    made = _asking(tolerance, settings, store, environment)
    absence = revision.absent(node_id)
    if absence is not None:
        return made(way="absent", absence=absence)
    built, baseline = revision.found.built[node_id], revision.baseline(node_id)
    if built.backend != environment.backend:
        raise DeclarationError(
            f"at {revision.worktree.title} the test runs on {built.backend}, here on {environment.backend}: engines of "
            "two backends are compared with: pytest-trt ab"
        )
    if built.model == str(model.absolute()):
        raise DeclarationError(
            f"{model} lies outside the repository, so that {revision.worktree.title} has no model of its own and this "
            "one would be compared with itself: keep it in the repository, or have each side's conftest make it there"
        )
    if not tolerance.paired and stored.is_identical(baseline, environment, engine.plan_sha256, spec_digest):
        return made(way="identical", baseline=baseline)
    plan = Path(built.plan)
    if not plan.is_file() or file_sha256(plan) != built.plan_sha256:
        raise CacheError(f"{plan}, the engine at {revision.worktree.title}, is gone or was changed: run again")
    other = Subject(plan, new.device, built.spec, built.shapes, built.pipeline, new.inputs)
    return made(way="paired", baseline=baseline, other=other, since=revision.worktree.name)


def _asking(
    tolerance: Tolerance, settings: Settings, store: Store, environment: Environment
) -> Callable[..., Comparison]:
    """Comparisons within the test's own tolerance, else that of the settings."""
    slowdown, growth = tolerance.max_slowdown, tolerance.max_memory_growth
    spread, open_order_effect = probe_spread.spread_of(store.folder, environment)
    return functools.partial(
        Comparison,
        spread=spread,
        open_order_effect=open_order_effect,
        slowdown=settings.max_slowdown if slowdown is None else slowdown,
        memory_growth=settings.max_memory_growth if growth is None else growth,
        tolerance=tolerance,
    )


_RUN = ("inputs", "batch", "dims", "seed", "input_ranges", "threads", "weight_streaming_budget")
"""What must be as it was for the baseline's plan to be run beside the new one."""
_RUNTIME = ("backend", "backend_version", "driver")
"""What both of two engines that take turns run on: what another one costs would not be seen."""


def _stored_engine(
    baseline: Baseline, new: Subject, environment: Environment, said: Mapping[str, str], store: Store
) -> Subject | None:
    """The baseline's engine out of the cache, to be run through its own pipeline; None where that cannot be."""
    same_run = all(baseline.spec.get(name) == said.get(name) for name in _RUN)
    then = baseline.environment
    same_runtime = all(getattr(then, name) == getattr(environment, name) for name in _RUNTIME)
    pipeline = parse_pipeline(baseline.spec)
    if pipeline is None or not (same_run and same_runtime):
        return None
    with store.lock(baseline.engine_digest, lambda text: None):
        entry, _fault = store.find(baseline.engine_digest)
    if entry is None or entry.meta.files["plan"] != baseline.plan_sha256:
        return None
    return dataclasses.replace(new, plan=entry.plan, options=pipeline)
