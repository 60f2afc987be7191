"""Test the engine of a git revision as a baseline."""

from __future__ import annotations

from pathlib import Path

from samples.records import H200, TEST, digest

from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.trial.against.revision import BuildOutcome, Revision, RevisionEngine, Worktree


def test_size_of_an_engine_includes_the_data_beside_its_plan(tmp_path: Path) -> None:
    plan = tmp_path / "plan"
    plan.write_bytes(bytes(1000))
    (tmp_path / "plan.data").write_bytes(bytes(2_000_000))
    (tmp_path / "meta.json").write_bytes(bytes(500))
    engine = RevisionEngine(
        model="m.onnx", backend="tensorrt", environment=H200, engine_digest=digest("engine"), plan=str(plan),
        plan_sha256=digest("plan"), spec=EngineSpec(path="m.onnx"), shapes={}, pipeline=PipelineOptions(),
        description={}, spec_digest=digest("spec"),
    )  # fmt: skip
    worktree = Worktree("HEAD", "a1b2c3d4e5f60718", "2026-07-01T12:00:00+00:00", str(tmp_path), str(tmp_path))
    baseline = Revision(worktree, BuildOutcome(engines={TEST: engine})).baseline(TEST)
    assert baseline.figures["engine_mb"].value == 2.001
