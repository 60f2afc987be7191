"""Choose how a test's engine is compared, and with what.

Both engines take turns if the baseline's plan can be loaded here. Otherwise the new engine is compared with the stored
figures. If the engines are identical, or nothing is stored, nothing is compared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core.records import Environment, Verdict
from pytest_trt.engine.cache.digest import file_sha256
from pytest_trt.engine.provide import ProvidedEngine
from pytest_trt.errors import CacheError, DeclarationError
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.judge.regression import stored
from pytest_trt.judge.regression.changes import spec_changes
from pytest_trt.measure.engine_probe import Subject
from pytest_trt.spec.description import description_digest, parse_pipeline
from pytest_trt.trial.against.revision import Revision, RevisionEngine
from pytest_trt.trial.comparison import Comparison, ComparisonTerms

if TYPE_CHECKING:
    from pytest_trt.engine.cache.base import EngineStore
    from pytest_trt.judge.baselines import BaselineFolder

_SAME_RUN = ("inputs", "batch", "dims", "seed", "input_ranges", "threads", "weight_streaming_budget")
"""The parts of the description that must be equal, or the baseline's plan cannot run beside the new one."""

_SAME_RUNTIME = ("backend", "backend_version", "driver")
"""The parts of the environment that must be equal: the cost of another driver would be the same on both sides of a
pair, so a pair could not see it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineUnderTest:
    """A frozen record of the engine that a test measures.

    Attributes:
        node_id: The test.
        model: The path of the model.
        engine: The plan.
        subject: The plan as a probe opens it.
        environment: The device and the software.
        description: What is built and run, as text by name.
    """

    node_id: str
    model: Path
    engine: ProvidedEngine
    subject: Subject
    environment: Environment
    description: Mapping[str, str]

    @property
    def spec_digest(self) -> str:
        """The digest of the description."""
        return description_digest(self.description)

    def is_identical_to(self, baseline: Baseline) -> bool:
        """Whether plan, software, device and pipeline are those of the baseline."""
        return stored.is_identical(
            baseline,
            self.environment,
            engine_digest=self.engine.digest,
            plan_sha256=self.engine.plan_sha256,
            spec_digest=self.spec_digest,
        )


def choose_baseline(
    folder: BaselineFolder | None,
    tested: EngineUnderTest,
    terms: ComparisonTerms,
    store: EngineStore,
    is_gone: Callable[[str], bool],
) -> Comparison:
    """Return the comparison with the test's stored baseline.

    A test without a baseline may have been renamed: if exactly one baseline of a test that is gone has the same spec,
    that one is the reference.

    Args:
        folder: The stored baselines; None if no comparison is requested.
        tested: The engine of the test.
        terms: What the comparison allows.
        store: The engine cache, where the baseline's plan may be.
        is_gone: Whether a test certainly no longer exists, by its node id.

    Raises:
        BaselineError: The baseline cannot be read.
    """
    from pytest_trt.judge.baselines import device_slug

    if folder is None:
        return Comparison(mode="off", terms=terms)
    device = device_slug(tested.environment)
    baseline = folder.load(tested.node_id, device)
    notes: tuple[str, ...] = ()
    if baseline is None:
        candidates = [one for one in folder.tests_of_spec(tested.spec_digest, device) if is_gone(one)]
        if len(candidates) > 1:
            return Comparison(mode="absent", terms=terms, absence=_ambiguous(candidates))
        if candidates:
            baseline, notes = folder.load(candidates[0], device), (_renamed(candidates[0], tested.node_id),)
    elif changed := spec_changes(baseline.spec, tested.description):
        notes = (f"compared with a baseline of another spec: {', '.join(changed)}",)
    if baseline is None:
        of_device = folder.has_any(device)
        others = () if of_device else folder.other_names()
        absence = stored.absence_verdict(folder.name, tested.environment.device, any_of_device=of_device, others=others)
        return Comparison(mode="absent", terms=terms, absence=absence)
    paired = terms.tolerance.paired
    if not paired and tested.is_identical_to(baseline):
        return Comparison(mode="identical", terms=terms, baseline=baseline, notes=notes)
    engine = tested.engine
    other = None if paired is False else _stored_engine(baseline, tested, store)
    return Comparison(
        mode="stored" if other is None else "paired",
        terms=terms,
        baseline=baseline,
        other=other,
        rebuilt=baseline.engine_digest == engine.digest and baseline.plan_sha256 != engine.plan_sha256,
        notes=notes,
    )


def _renamed(old: str, new: str) -> str:
    return (
        f"judged against the baseline of {old}, which has the same spec and no test any more: was it renamed? "
        f'pytest-trt baseline rename "{old}" "{new}"'
    )


def _ambiguous(candidates: Sequence[str]) -> Verdict:
    text = (
        f"this test has no baseline; was it renamed? {len(candidates)} baselines without a test have the same spec "
        f"({', '.join(sorted(candidates)[:5])}): name the right one with pytest-trt baseline rename OLD NEW, or remove "
        "them with pytest-trt baseline prune"
    )
    return Verdict("missing", "baseline", "", text)


def choose_revision(
    revision: Revision,
    tested: EngineUnderTest,
    terms: ComparisonTerms,
    locate: Callable[[RevisionEngine], RevisionEngine] = lambda engine: engine,
) -> Comparison:
    """Return the comparison with the engine that the test has at a git revision, run as that revision declares it.

    Args:
        revision: The revision.
        tested: The engine of the test.
        terms: What the comparison allows.
        locate: Returns the engine of the revision as the host of the test has it.

    Raises:
        CacheError: The revision's plan was removed or modified after the build.
        DeclarationError: The revision runs the test on another backend, or both sides read one model file outside the
            repository, whose old content git does not know.
    """
    absence = revision.absence_verdict(tested.node_id)
    if absence is not None:
        return Comparison(mode="absent", terms=terms, absence=absence)
    old = revision.outcome.engines[tested.node_id]
    if old.backend != tested.environment.backend:
        raise DeclarationError(
            f"at {revision.worktree.title} the test runs on {old.backend}, here on {tested.environment.backend}: "
            "engines of two backends are compared with: pytest-trt ab"
        )
    if old.model == str(tested.model.resolve()):
        raise DeclarationError(
            f"{tested.model} lies outside the repository, so that {revision.worktree.title} has no model of its own "
            "and this one would be compared with itself: keep it in the repository, or have each side's conftest make "
            "it there"
        )
    old = locate(old)
    baseline = revision.baseline(tested.node_id, old)
    if not terms.tolerance.paired and tested.is_identical_to(baseline):
        return Comparison(mode="identical", terms=terms, baseline=baseline)
    plan, is_here = Path(old.plan), not tested.environment.host_name
    if is_here and (not plan.is_file() or file_sha256(plan) != old.plan_sha256):
        raise CacheError(f"{plan}, the engine at {revision.worktree.title}, was removed or modified: run again")
    new = tested.subject
    other = Subject(plan, new.device, old.spec, old.shapes, old.pipeline, new.inputs)
    return Comparison(mode="paired", terms=terms, baseline=baseline, other=other, since=revision.worktree.name)


def _stored_engine(baseline: Baseline, tested: EngineUnderTest, store: EngineStore) -> Subject | None:
    """Return the baseline's plan from the cache, with its own pipeline; None if it cannot run beside the new one."""
    then, now = baseline.environment, tested.environment
    same_run = all(baseline.spec.get(name) == tested.description.get(name) for name in _SAME_RUN)
    same_runtime = all(getattr(then, name) == getattr(now, name) for name in _SAME_RUNTIME)
    pipeline = parse_pipeline(baseline.spec)
    if pipeline is None or not (same_run and same_runtime):
        return None
    with store.lock(baseline.engine_digest, lambda text: None):
        entry, _fault = store.find(baseline.engine_digest)
    if entry is None or entry.meta.files["plan"] != baseline.plan_sha256:
        return None
    return dataclasses.replace(tested.subject, plan=entry.plan, options=pipeline)
