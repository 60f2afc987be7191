"""The commit that is checked out in a folder."""

from __future__ import annotations

import subprocess

from pytest_trt.core.git import CI_BRANCHES, checked_out_branch, checked_out_commit


def test_commit_is_read_from_git_and_uncommitted_changes_are_marked(tmp_path):
    assert checked_out_commit(tmp_path) is None
    git = ("git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@t")
    (tmp_path / "file").write_text("1")
    for words in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    clean = checked_out_commit(tmp_path)
    assert clean is not None
    assert len(clean) == 12
    (tmp_path / "file").write_text("2")
    assert checked_out_commit(tmp_path) == f"{clean}+"


def test_branch_is_that_of_git_or_of_the_ci_service(tmp_path, monkeypatch):
    for name in CI_BRANCHES:
        monkeypatch.delenv(name, raising=False)
    assert checked_out_branch(tmp_path) is None
    git = ("git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@t")
    for words in (["init", "-q", "-b", "faster"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    assert checked_out_branch(tmp_path) == "faster"
    subprocess.run([*git, "checkout", "-q", "--detach"], check=True)
    assert checked_out_branch(tmp_path) is None
    monkeypatch.setenv("GITHUB_REF_NAME", "12/merge")
    monkeypatch.setenv("GITHUB_HEAD_REF", "faster")
    assert checked_out_branch(tmp_path) == "faster"
