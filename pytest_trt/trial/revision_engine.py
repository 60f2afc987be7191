"""Find the engine of a git revision on the host of a test, or build it there if another host has built it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from pytest_trt.core.records import Environment
from pytest_trt.spec.declaration import Declaration
from pytest_trt.trial.against.revision import RevisionEngine
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case


def engine_on_host(bench: Bench, environment: Environment, node_id: str, old: RevisionEngine) -> RevisionEngine:
    """Return the engine of a revision with the paths that its files have on the host of a test.

    On this host, where the run of the revision has built it, that is the engine itself.

    Args:
        bench: The resources of the run.
        environment: The card and the host of the test.
        node_id: The test.
        old: The engine as the run of the revision has built it.

    Raises:
        BuildError: The host does not have the engine, and it cannot be built there without the functions of the
            revision.
    """
    host = bench.host(environment)
    if not host.name:
        return old
    with host.engines.lock(old.engine_digest, bench.say):
        entry, _fault = host.engines.find(old.engine_digest)
    if entry is not None:
        plan, sha256, digest = entry.plan, entry.meta.files["plan"], old.engine_digest
    else:
        model = Path(old.model)
        declaration = Declaration(
            spec=dataclasses.replace(old.spec, path=model.name), run=old.run, pipeline=old.pipeline
        )
        with Case(bench, node_id, declaration, [model.parent]) as case:
            engine = case.engine
        plan, sha256, digest = engine.plan, engine.plan_sha256, engine.digest
    return dataclasses.replace(
        old, plan=str(plan), plan_sha256=sha256, engine_digest=digest, spec=host.localise(old.spec)
    )
