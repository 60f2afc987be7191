"""What tests declare at a git revision, and the engines that were built of it there: what --trt-against compares with.

The pytest that runs in the revision's worktree (declaring) writes it, the one that runs here reads it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from pytest_trt.core.records import Environment, Estimate, Verdict
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.shape_ranges import Shape


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    """A frozen record of a test's engine at a revision, and of how it is run there.

    Attributes:
        model: The file that the engine is built from.
        backend: The backend that runs it.
        environment: The device and the software.
        engine_digest: What the plan was built from.
        plan: The path of the plan.
        plan_sha256: The SHA-256 of the plan.
        spec: The build options, without functions.
        description: What is built and run, as text by name.
        spec_digest: The digest of the description.
        shapes: The shapes that are run, by input.
        pipeline: How the engine is run.
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


@dataclasses.dataclass(frozen=True)
class Found:
    """What the run in the worktree found, by node id: engines, why a test is skipped there, why an engine cannot be
    built. `problems` make the whole comparison meaningless."""

    built: Mapping[str, Built] = dataclasses.field(default_factory=dict)
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    faults: Mapping[str, str] = dataclasses.field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Request:
    """What that run is told: the checkout that it must not load from, its worktree and rootdir there, where engines and
    what it finds go, the tests that matter, and pytest's arguments."""

    checkout: str
    tree: str
    rootdir: str
    cache_dir: str
    found: str
    wanted: tuple[str, ...]
    arguments: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Worktree:
    """A revision, checked out beside the `checkout`. `name` is what the user calls it, `time` the commit's; `folder`
    also holds what is written on the way."""

    name: str
    commit: str
    time: str
    checkout: str
    folder: str

    @property
    def tree(self) -> Path:
        return Path(self.folder) / "tree"

    @property
    def title(self) -> str:
        return f"{self.name} ({self.short})"

    @property
    def short(self) -> str:
        return self.commit[:7]


@dataclasses.dataclass(frozen=True)
class Revision:
    """The tests' engines at a revision."""

    worktree: Worktree
    found: Found

    def absent(self, node_id: str) -> Verdict | None:
        """Why this test has nothing there to be compared with; None where it has. What cannot be built is an error: a
        comparison was asked for, and there is none."""
        title = self.worktree.title
        if node_id in self.found.built:
            return None
        if node_id in self.found.faults:
            why = self.found.faults[node_id]
            text = f"at {title} its engine cannot be built, so that nothing is compared: {why}"
            return Verdict("error", "baseline", "", text)
        skipped = self.found.skipped.get(node_id)
        text = f"at {title} it is skipped: {skipped}" if skipped is not None else f"{title} does not have this test"
        return Verdict("new", "baseline", "", text)

    def baseline(self, node_id: str) -> Baseline:
        """That engine as a reference, of which nothing is measured yet but its size."""
        built = self.found.built[node_id]
        size = Path(built.plan).stat().st_size
        return Baseline(
            node_id=node_id,
            environment=dataclasses.replace(built.environment, commit=self.worktree.commit[:12]),
            spec=built.description,
            spec_digest=built.spec_digest,
            figures={"engine_mb": Estimate.exact(size / 1e6)},
            engine_digest=built.engine_digest,
            plan_sha256=built.plan_sha256,
            proof={},
            time=self.worktree.time,
        )
