"""Test baselines at a git revision, and the history of runs in git."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from samples.records import H200, TEST, measurement

from pytest_trt.errors import BaselineError, GitError
from pytest_trt.judge.baselines import BaselineFolder, device_slug, open_baselines
from pytest_trt.judge.baselines.history import runs_in_git

DEVICE = device_slug(H200)


def git(folder: Path, *arguments: str) -> str:
    settings = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *settings, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "a change", "--allow-empty")
    return git(folder, "rev-parse", "HEAD")


def opened(folder: Path, revision: str | None = None, location: str = ".trt-baselines") -> BaselineFolder:
    return open_baselines(location, "main", revision=revision, rootdir=folder)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one committed baseline, in a project below its top folder."""
    git(tmp_path, "init", "-q", "-b", "main")
    project = tmp_path / "project"
    project.mkdir()
    opened(project).save(measurement(), "missing")
    commit(tmp_path)
    return project


def test_baselines_are_read_at_the_revision(repository: Path) -> None:
    opened(repository).save(measurement(0.5, day=2), "improved", improved=("ms",))
    folder = opened(repository, "main")
    baseline = folder.load(TEST, DEVICE)
    assert baseline is not None
    assert baseline.figures["ms"].value == 0.272
    assert folder.data(baseline) is not None
    assert folder.has_any(DEVICE)
    assert not folder.has_any("nvidia-h100")
    assert folder.load("t.py::other", DEVICE) is None
    assert [entry.path for entry in folder.list()] == [entry.path for entry in opened(repository).list()]


def test_removed_baseline_is_read_at_the_revision(repository: Path) -> None:
    git(repository, "rm", "-rq", ".trt-baselines")
    commit(repository)
    assert opened(repository, "HEAD").load(TEST, DEVICE) is None
    assert opened(repository, "HEAD~1").load(TEST, DEVICE) is not None


def test_baselines_are_prefetched_together(repository: Path) -> None:
    others = [f"tests/test_models.py::test_{number}" for number in range(20)]
    for other in others:
        opened(repository).save(measurement(node_id=other), "new")
    commit(repository)
    folder = opened(repository, "main")
    folder.prefetch([*others, "t.py::absent"], DEVICE)
    assert all(folder.load(other, DEVICE) is not None for other in others)
    assert folder.load("t.py::absent", DEVICE) is None


def test_nothing_is_saved_to_a_revision(repository: Path) -> None:
    with pytest.raises(BaselineError, match="drop --trt-baseline-ref"):
        opened(repository, "main").save(measurement(), "new", force=True)


@pytest.mark.parametrize("revision", ["origin/nowhere", "--help", "main:project", "0" * 40, ""])
def test_unknown_revision_is_an_error(repository: Path, revision: str) -> None:
    with pytest.raises(GitError, match="fetch it first"):
        opened(repository, revision)


def test_missing_repository_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="not a git repository"):
        opened(tmp_path, "main")


def test_folder_outside_the_repository_is_an_error(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(GitError, match="not a git repository"):
        opened(repository, "main", location=str(tmp_path_factory.mktemp("other")))


def test_revision_of_a_url_is_an_error(repository: Path) -> None:
    with pytest.raises(BaselineError, match="drop one of the two"):
        opened(repository, "main", location="memory://baselines")


def test_missing_git_is_an_error(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(GitError, match="git cannot be run"):
        opened(repository, "main")


def test_link_in_a_revision_is_not_followed(repository: Path) -> None:
    (file,) = repository.rglob("*.json")
    file.unlink()
    file.symlink_to("/etc/passwd")
    commit(repository)
    with pytest.raises(BaselineError, match="not a regular file"):
        opened(repository, "main").load(TEST, DEVICE)


def test_broken_baseline_in_a_revision_is_an_error(repository: Path) -> None:
    (file,) = repository.rglob("*.json")
    file.write_text("{" + " " * 70000)
    commit(repository)
    with pytest.raises(BaselineError, match="70001 bytes"):
        opened(repository, "main").load(TEST, DEVICE)


def test_environment_of_a_git_hook_is_ignored(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a git hook, GIT_DIR is set, possibly to another repository."""
    monkeypatch.setenv("GIT_DIR", os.devnull)
    assert opened(repository, "main").load(TEST, DEVICE) is not None


def test_history_from_git(repository: Path) -> None:
    for day in range(2, 15):
        opened(repository).save(measurement(0.272 + day / 1000, day=day), "ok")
        commit(repository)
    folder = opened(repository)
    (entry,) = folder.list()
    times = sorted({one.run.time for one in runs_in_git(folder, [entry.path])[entry.path]})
    assert [time[8:10] for time in times] == [f"{day:02}" for day in range(1, 15)]


def test_history_skips_unreadable_versions(repository: Path) -> None:
    (file,) = repository.rglob("*.json")
    good = file.read_bytes()
    file.write_text("{")
    commit(repository)
    file.unlink()
    commit(repository)
    file.write_bytes(good)
    commit(repository)
    folder = opened(repository)
    (entry,) = folder.list()
    assert [one.author for one in runs_in_git(folder, [entry.path])[entry.path]] == ["A"]


def test_history_outside_of_git_is_empty(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.save(measurement(), "missing")
    (entry,) = folder.list()
    assert runs_in_git(folder, [entry.path]) == {entry.path: []}
