"""Records of what tests declare at a git revision, and of the engines that were built for them there.

A pytest that runs in the revision's worktree writes them (`pytest_trt.plugin.revision_build`); the pytest that
compares reads them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from pytest_trt.core.records import Environment, Estimate, Verdict
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.spec.declaration import PipelineOptions, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class RevisionEngine:
    """A frozen record of a test's engine at a revision, and of how it is run there.

    Attributes:
        model: The file that the engine is built from.
        backend: The backend that runs it.
        environment: The device and the software.
        engine_digest: The digest of everything that the plan was built from.
        plan: The path of the plan, on the host that has built it.
        plan_sha256: The SHA-256 of the plan.
        spec: The build options, without functions.
        description: What is built and run, as text by name.
        spec_digest: The digest of the description.
        shapes: The shapes that are run, by input.
        pipeline: How the engine is run.
        run: The declared sizes of the dynamic dimensions.
        size_mb: The size of the plan with the data beside it, in MB.
    """

    model: str
    backend: str
    environment: Environment
    engine_digest: str
    plan: str
    plan_sha256: str
    spec: EngineSpec
    shapes: Mapping[str, Shape]
    pipeline: PipelineOptions
    description: Mapping[str, str]
    spec_digest: str
    run: RunShape
    size_mb: float


@dataclasses.dataclass(frozen=True)
class BuildOutcome:
    """A frozen record of the run in the worktree.

    Attributes:
        engines: The engines that were built, by node id.
        skipped: Why a test is skipped at the revision, by node id.
        failed: Why an engine cannot be built, by node id.
        problems: Reasons why no test can be compared with the revision.
    """

    engines: Mapping[str, RevisionEngine] = dataclasses.field(default_factory=dict)
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    failed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class BuildRequest:
    """A frozen record of what the run in the worktree receives.

    Attributes:
        checkout: The user's checkout, which the run must not load files from.
        tree: The revision's files.
        rootdir: The folder in `tree` that corresponds to the rootdir of the user's run.
        cache_dir: The engine cache.
        output: The file that the run writes its BuildOutcome to.
        node_ids: The tests whose engines are built.
        arguments: The arguments of pytest.
        hosts: The addresses of the hosts elsewhere that build.
    """

    checkout: str
    tree: str
    rootdir: str
    cache_dir: str
    output: str
    node_ids: tuple[str, ...]
    arguments: tuple[str, ...]
    hosts: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Worktree:
    """A frozen record of a revision that is checked out in a folder of its own.

    Attributes:
        name: The revision, as the user wrote it.
        commit: The full hash of its commit.
        time: The time of the commit, in ISO 8601.
        checkout: The top folder of the user's checkout.
        folder: A temporary folder: it contains the revision's files, the request, the outcome and the lock.
    """

    name: str
    commit: str
    time: str
    checkout: str
    folder: str

    @property
    def tree(self) -> Path:
        """The folder of the revision's files. Its name is that of the checkout, which may be a package."""
        return Path(self.folder) / "tree" / Path(self.checkout).name

    @property
    def title(self) -> str:
        """The revision's name and abbreviated hash, for messages."""
        return f"{self.name} ({self.short})"

    @property
    def short(self) -> str:
        """The abbreviated hash of the commit."""
        return self.commit[:7]


@dataclasses.dataclass(frozen=True)
class Revision:
    """A frozen record of a git revision and of the engines that its tests have there."""

    worktree: Worktree
    outcome: BuildOutcome

    def absence_verdict(self, node_id: str) -> Verdict | None:
        """Return the verdict if the test has no engine at the revision; None if it has one.

        A test that does not exist there, or is skipped there, is `new`. An engine that cannot be built there is an
        error: a comparison was requested, and it is impossible.
        """
        title = self.worktree.title
        if node_id in self.outcome.engines:
            return None
        if node_id in self.outcome.failed:
            why = self.outcome.failed[node_id]
            text = f"at {title} its engine cannot be built, so that nothing is compared: {why}"
            return Verdict("error", "baseline", "", text)
        skipped = self.outcome.skipped.get(node_id)
        text = f"at {title} it is skipped: {skipped}" if skipped is not None else f"{title} does not have this test"
        return Verdict("new", "baseline", "", text)

    def baseline(self, node_id: str, engine: RevisionEngine) -> Baseline:
        """Return the test's engine at the revision as a baseline whose only figure is the size of the engine."""
        return Baseline(
            node_id=node_id,
            environment=dataclasses.replace(engine.environment, commit=self.worktree.commit[:12]),
            spec=engine.description,
            spec_digest=engine.spec_digest,
            figures={"engine_mb": Estimate.exact(engine.size_mb)},
            engine_digest=engine.engine_digest,
            plan_sha256=engine.plan_sha256,
            proof={},
            time=self.worktree.time,
        )
