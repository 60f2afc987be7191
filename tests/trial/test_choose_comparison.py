"""Test how a test's engine is compared: with a baseline, with a revision, or with nothing. Nothing is measured."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import types
from pathlib import Path
from typing import Any

import pytest
from samples.records import H200, TEST, measurement

from pytest_trt.engine.provide import ProvidedEngine
from pytest_trt.errors import CacheError, DeclarationError
from pytest_trt.measure.engine_probe import Subject
from pytest_trt.spec.declaration import PipelineOptions, RunShape
from pytest_trt.spec.description import description_digest
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Tolerance
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.against.revision import BuildOutcome, Revision, RevisionEngine, Worktree
from pytest_trt.trial.choose_comparison import EngineUnderTest, choose_baseline, choose_revision
from pytest_trt.trial.comparison import ComparisonTerms
from pytest_trt.trial.probe_spread import ProbeSpread

SPEC = EngineSpec(path="m.onnx")
DESCRIPTION = {"model": "m.onnx", "precision": "fp32", "inputs": "x 8x256"}


def terms(**tolerance: Any) -> ComparisonTerms:
    return ComparisonTerms.of(Tolerance(**tolerance), Settings(), ProbeSpread(0.01, 0.0), H200)


def plan_file(folder: Path, content: bytes = b"plan") -> tuple[Path, str]:
    plan = folder / "m.plan"
    plan.write_bytes(content)
    return plan, hashlib.sha256(content).hexdigest()


def engine_of(folder: Path, *, plan_sha256: str = "f" * 64, **changes: Any) -> EngineUnderTest:
    engine = ProvidedEngine(folder / "new.plan", "e" * 64, plan_sha256, 1.0)
    fields = {
        "node_id": TEST,
        "model": folder / "m.onnx",
        "engine": engine,
        "subject": Subject(engine.plan, "1", SPEC, {"x": (8, 256)}, PipelineOptions()),
        "environment": H200,
        "description": DESCRIPTION,
    }
    return EngineUnderTest(**{**fields, **changes})


def revision(folder: Path, **changes: Any) -> Revision:
    plan, sha256 = plan_file(folder)
    engine = RevisionEngine(
        model=str(folder / "old" / "m.onnx"),
        backend=H200.backend,
        environment=H200,
        engine_digest="e" * 64,
        plan=str(plan),
        plan_sha256=sha256,
        spec=SPEC,
        description=DESCRIPTION,
        spec_digest=description_digest(DESCRIPTION),
        shapes={"x": (4, 256)},
        pipeline=PipelineOptions(depth=3),
        run=RunShape(),
        size_mb=1.0,
    )
    worktree = Worktree("v1", "abcdef0123456789", "2026-07-01T12:00:00+00:00", str(folder), str(folder / "worktree"))
    return Revision(worktree, BuildOutcome({TEST: dataclasses.replace(engine, **changes)}))


def test_a_revisions_engine_takes_turns_as_that_revision_runs_it(tmp_path: Path) -> None:
    found = choose_revision(revision(tmp_path), engine_of(tmp_path), terms())
    assert (found.mode, found.since) == ("paired", "v1")
    assert found.other == Subject(tmp_path / "m.plan", "1", SPEC, {"x": (4, 256)}, PipelineOptions(depth=3))
    assert found.baseline is not None
    assert found.baseline.plan_sha256 == hashlib.sha256(b"plan").hexdigest()


def test_a_revision_on_another_backend_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"at v1 \(abcdef0\) the test runs on onnxruntime, here on tensorrt"):
        choose_revision(revision(tmp_path, backend="onnxruntime"), engine_of(tmp_path), terms())


def test_a_model_that_both_sides_read_is_an_error(tmp_path: Path) -> None:
    model = str((tmp_path / "m.onnx").resolve())
    with pytest.raises(DeclarationError, match="lies outside the repository"):
        choose_revision(revision(tmp_path, model=model), engine_of(tmp_path), terms())


@pytest.mark.parametrize("content", [None, b"other"])
def test_a_revisions_plan_that_was_removed_or_modified_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    """Before the check, a plan that had changed since its build was measured as the old engine."""
    old = revision(tmp_path)
    if content is not None:
        (tmp_path / "m.plan").write_bytes(content)
        with pytest.raises(CacheError, match=r"the engine at v1 .* was removed or modified: run again"):
            choose_revision(old, engine_of(tmp_path), terms())
    else:
        other = tmp_path / "gone.plan"
        other.mkdir()  # is no file, although its size can be read
        gone = revision(tmp_path, plan=str(other))
        with pytest.raises(CacheError, match="was removed or modified"):
            choose_revision(gone, engine_of(tmp_path), terms())


def test_a_revisions_plan_that_is_the_same_is_identical_unless_pairs_are_requested(tmp_path: Path) -> None:
    same = engine_of(tmp_path, plan_sha256=hashlib.sha256(b"plan").hexdigest())
    assert choose_revision(revision(tmp_path), same, terms()).mode == "identical"
    assert choose_revision(revision(tmp_path), same, terms(paired=True)).mode == "paired"


def test_a_test_without_an_engine_at_the_revision_is_absent(tmp_path: Path) -> None:
    found = choose_revision(revision(tmp_path), engine_of(tmp_path, node_id="test_other"), terms())
    assert found.mode == "absent"
    assert found.absence is not None
    assert found.absence.status == "new"


class Folder:
    """Baselines in memory: by node id, with the tests of each spec."""

    name = "main"

    def __init__(self, **baselines: Any) -> None:
        self._baselines = baselines

    def load(self, node_id: str, device: str) -> Any:
        return self._baselines.get(node_id)

    def tests_of_spec(self, spec_digest: str, device: str) -> list[str]:
        return [name for name, one in self._baselines.items() if one.spec_digest == spec_digest]

    def has_any(self, device: str) -> bool:
        return bool(self._baselines)

    def other_names(self) -> tuple[str, ...]:
        return ("release",)


def test_no_baselines_is_no_comparison(tmp_path: Path) -> None:
    store: Any = None
    assert choose_baseline(None, engine_of(tmp_path), terms(), store, lambda name: False).mode == "off"


def renamed(folder: Path, gone: set[str], **baselines: Any) -> Any:
    store: Any = None
    stored_here: Any = Folder(**baselines)
    one = engine_of(folder, node_id="new")
    return choose_baseline(stored_here, one, terms(paired=False), store, lambda name: name in gone)


def same_spec() -> Any:
    from samples.records import stored

    return dataclasses.replace(stored(measurement(0.3)), spec_digest=description_digest(DESCRIPTION))


def test_a_renamed_test_is_judged_against_the_baseline_of_its_old_name(tmp_path: Path) -> None:
    found = renamed(tmp_path, {"old"}, old=same_spec())
    assert (found.mode, found.baseline) == ("stored", same_spec())
    assert 'pytest-trt baseline rename "old" "new"' in found.notes[0]


def test_the_baseline_of_a_test_that_still_exists_is_not_taken(tmp_path: Path) -> None:
    found = renamed(tmp_path, set(), old=same_spec())
    assert (found.mode, found.absence.status) == ("absent", "new")


def test_two_candidates_are_ambiguous(tmp_path: Path) -> None:
    found = renamed(tmp_path, {"one", "two"}, one=same_spec(), two=same_spec())
    assert (found.mode, found.absence.status) == ("absent", "missing")
    assert "2 baselines without a test have the same spec (one, two)" in found.absence.text


def test_at_most_five_candidates_are_named(tmp_path: Path) -> None:
    names = "abcdefg"
    found = renamed(tmp_path, set(names), **dict.fromkeys(names, same_spec()))
    assert "7 baselines without a test have the same spec (a, b, c, d, e): name" in found.absence.text


def test_an_empty_folder_names_the_other_baselines(tmp_path: Path) -> None:
    found = renamed(tmp_path, set())
    assert (found.mode, found.absence.status) == ("absent", "missing")
    assert "(there is release)" in found.absence.text


class StoreOf:
    """An engine cache with one plan at most."""

    def __init__(self, plan_sha256: str | None) -> None:
        self._plan_sha256 = plan_sha256

    def lock(self, digest: str, say: Any) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def find(self, digest: str) -> tuple[Any, None]:
        if self._plan_sha256 is None:
            return None, None
        meta = types.SimpleNamespace(files={"plan": self._plan_sha256})
        return types.SimpleNamespace(plan=Path("old.plan"), meta=meta), None


def against_stored(
    folder: Path, *, in_cache: str | None = "a" * 64, paired: bool | None = None, plan: str = "b" * 64, **changed: Any
) -> Any:
    baseline = dataclasses.replace(
        same_spec(), spec={**DESCRIPTION, "depth": "3"}, plan_sha256="a" * 64, engine_digest="e" * 64
    )
    stored_here: Any = Folder(**{TEST: dataclasses.replace(baseline, **changed)})
    store: Any = StoreOf(in_cache)
    return choose_baseline(stored_here, engine_of(folder, plan_sha256=plan), terms(paired=paired), store, bool)


def test_a_stored_plan_takes_turns_in_its_own_pipeline(tmp_path: Path) -> None:
    found = against_stored(tmp_path)
    assert (found.mode, found.rebuilt) == ("paired", True)
    assert (found.other.plan, found.other.options.depth) == (Path("old.plan"), 3)
    assert found.notes[0].startswith("compared with a baseline of another spec: depth (3 to none)")


@pytest.mark.parametrize(
    "changed",
    [
        {"in_cache": None}, {"in_cache": "c" * 64}, {"paired": False},
        {"spec": {**DESCRIPTION, "batch": "4"}}, {"spec": {**DESCRIPTION, "depth": "deep"}},
        {"environment": dataclasses.replace(H200, driver="1")},
        {"environment": dataclasses.replace(H200, backend_version="1")},
        {"environment": dataclasses.replace(H200, backend="tensorrt_lean")},
    ],
)  # fmt: skip
def test_a_plan_that_cannot_run_beside_the_new_one_leaves_the_stored_figures(
    tmp_path: Path, changed: dict[str, Any]
) -> None:
    assert against_stored(tmp_path, **changed).mode == "stored"


def test_a_rebuilt_engine_has_the_digest_and_another_plan(tmp_path: Path) -> None:
    assert against_stored(tmp_path, engine_digest="d" * 64).rebuilt is False
    same = {"plan": "a" * 64, "spec_digest": description_digest(DESCRIPTION)}
    assert against_stored(tmp_path, **same).mode == "identical"
    found = against_stored(tmp_path, paired=True, **same)
    assert (found.mode, found.rebuilt) == ("paired", False)
