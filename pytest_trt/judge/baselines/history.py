"""Read a test's runs from git: those in every version of its baseline's file."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_trt.core.git import run_git
from pytest_trt.errors import BaselineError, GitError
from pytest_trt.judge.baselines import file_format
from pytest_trt.judge.baselines.baseline import Run
from pytest_trt.judge.baselines.folder import BaselineFolder

MOST_VERSIONS = 1000
"""The most versions of a file that are read, the latest ones."""


def runs_in_git(folder: BaselineFolder, path: str) -> Iterator[Run]:
    """Yield the runs in the last versions of a baseline's file, the oldest version first.

    A version that cannot be read is skipped, since history is shown but not judged.

    Args:
        folder: The baselines.
        path: The baseline's path in the folder, as `BaselineFolder.list` gives it. If the file is not in git, there are
            no runs.
    """
    file = folder.local_path(path)
    if file is None:
        return
    try:
        versions = run_git(file.parent, "log", f"-{MOST_VERSIONS}", "--format=%H", "--", file.name).decode().split()
        names = "".join(f"{version}:./{file.name}\n" for version in reversed(versions))
        answer = run_git(file.parent, "cat-file", "--batch", stdin=names.encode()) if versions else b""
    except GitError:
        return
    for raw in _contents(answer):
        try:
            yield from file_format.parse(raw, path).history
        except BaselineError:
            continue


def _contents(answer: bytes) -> Iterator[bytes]:
    """Yield the blobs in the output of `git cat-file --batch`, without the missing ones, which a version removed."""
    at = 0
    while at < len(answer):
        end = answer.index(b"\n", at)
        words = answer[at:end].split()
        at = end + 1
        if len(words) == 3 and words[1] == b"blob":
            size = int(words[2])
            yield answer[at : at + size]
            at += size + 1
