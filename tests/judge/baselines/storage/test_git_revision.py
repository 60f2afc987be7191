"""Baselines as git has them at a revision, and the runs that git remembers."""

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


def git(folder: Path, *words: str) -> str:
    settings = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *settings, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "a change", "--allow-empty")
    return git(folder, "rev-parse", "HEAD")


def opened(folder: Path, revision: str | None = None, location: str = ".trt-baselines") -> BaselineFolder:
    return open_baselines(location, "main", revision=revision, rootdir=folder)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one baseline committed, in a project below its top."""
    git(tmp_path, "init", "-q", "-b", "main")
    project = tmp_path / "project"
    project.mkdir()
    opened(project).save(measurement(), "missing")
    commit(tmp_path)
    return project


def test_read_as_they_stand_there(repository: Path) -> None:
    opened(repository).save(measurement(0.5, day=2), "improved")
    folder = opened(repository, "main")
    baseline = folder.load(TEST, DEVICE)
    assert baseline is not None
    assert baseline.figures["ms"].value == 0.272
    assert folder.data(baseline) is not None
    assert folder.has_any(DEVICE)
    assert not folder.has_any("nvidia-h100")
    assert folder.load("t.py::other", DEVICE) is None
    assert [entry.path for entry in folder.list()] == [entry.path for entry in opened(repository).list()]


def test_a_pull_request_that_removes_its_baseline_still_has_it(repository: Path) -> None:
    git(repository, "rm", "-rq", ".trt-baselines")
    commit(repository)
    assert opened(repository, "HEAD").load(TEST, DEVICE) is None
    assert opened(repository, "HEAD~1").load(TEST, DEVICE) is not None


def test_prefetched_together(repository: Path) -> None:
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
def test_a_revision_that_git_does_not_know(repository: Path, revision: str) -> None:
    with pytest.raises(GitError, match="fetch it first"):
        opened(repository, revision)


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="not a git repository"):
        opened(tmp_path, "main")


def test_a_folder_outside_the_repository(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(GitError, match="not a git repository"):
        opened(repository, "main", location=str(tmp_path_factory.mktemp("other")))


def test_a_url_has_no_revisions(repository: Path) -> None:
    with pytest.raises(BaselineError, match="drop one of the two"):
        opened(repository, "main", location="memory://baselines")


def test_no_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(GitError, match="git cannot be run"):
        opened(repository, "main")


def test_a_link_in_a_revision_is_not_followed(repository: Path) -> None:
    (file,) = repository.rglob("*.json")
    file.unlink()
    file.symlink_to("/etc/passwd")
    commit(repository)
    with pytest.raises(BaselineError, match="not a regular file"):
        opened(repository, "main").load(TEST, DEVICE)


def test_a_spoilt_baseline_in_a_revision(repository: Path) -> None:
    (file,) = repository.rglob("*.json")
    file.write_text("{" + " " * 70000)
    commit(repository)
    with pytest.raises(BaselineError, match="70001 bytes"):
        opened(repository, "main").load(TEST, DEVICE)


def test_hooks_of_git_s_environment_do_not_lead_elsewhere(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that a git hook started has GIT_DIR set, to a repository that need not be this one."""
    monkeypatch.setenv("GIT_DIR", os.devnull)
    assert opened(repository, "main").load(TEST, DEVICE) is not None


def test_history_from_git(repository: Path) -> None:
    for day in range(2, 15):
        opened(repository).save(measurement(0.272 + day / 1000, day=day), "ok")
        commit(repository)
    folder = opened(repository)
    (entry,) = folder.list()
    times = sorted({run.time for run in runs_in_git(folder, entry.path)})
    assert [time[8:10] for time in times] == [f"{day:02}" for day in range(1, 15)]


def test_history_survives_versions_that_cannot_be_read(repository: Path) -> None:
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
    assert len(list(runs_in_git(folder, entry.path))) == 2


def test_history_outside_of_git_is_empty(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.save(measurement(), "missing")
    (entry,) = folder.list()
    assert list(runs_in_git(folder, entry.path)) == []
