"""Check out a git revision into a temporary folder that is removed when the run ends, even by a crash."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from pytest_trt.core.git import find_commit, git_environment, run_git
from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.errors import GitError
from pytest_trt.trial.against.revision import Worktree

_SUBMODULE = "160000"
"""The mode of a submodule in a git tree."""

_CLEANUP = 'cat > /dev/null; git -C "$1" worktree remove --force --force "$2" 2> /dev/null; rm -rf "$3"'
"""Waits until its standard input is closed, which also happens if this process crashes; then removes the worktree."""

_END_TIMEOUT_S = 60.0


class Checkout:
    """A git worktree of a revision in a temporary folder. Close it.

    Args:
        rootdir: Any folder inside the repository.
        revision: The revision, as the user wrote it.

    Attributes:
        worktree: Where the revision is checked out.

    Raises:
        GitError: There is no such revision, no repository, or the revision needs a submodule that is absent here.
    """

    def __init__(self, rootdir: Path, revision: str) -> None:
        flag = f"--trt-against={revision}"
        top, commit = find_commit(rootdir, revision, "--trt-against")
        time = run_git(top, "show", "--no-patch", "--format=%cI", commit).decode().strip()
        self._scratch = ScratchFolder("against")
        folder = self._scratch.path
        self.worktree = Worktree(revision, commit, time, str(top.resolve()), str(folder))
        tree = str(self.worktree.tree)
        self._cleanup = subprocess.Popen(
            ["sh", "-c", _CLEANUP, "sh", str(top), tree, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=git_environment(), start_new_session=True,
        )  # fmt: skip
        try:
            # the user's hooks are for the user's own checkout
            run_git(top, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach", tree, commit)
            _copy_submodules(flag, top, commit, self.worktree.tree)
        except GitError as error:
            self.close()
            raise GitError(f"{flag} cannot be checked out: {error}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the worktree from the disk and from git's list. A slow removal continues after this process ends."""
        assert self._cleanup.stdin is not None
        self._cleanup.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._cleanup.wait(_END_TIMEOUT_S)
            self._scratch.close()


def _copy_submodules(flag: str, repository: Path, commit: str, tree: Path) -> None:
    """Add the files of submodules to the worktree, which git leaves empty.

    The files come from the submodules that are checked out here, so that nothing is fetched.

    Raises:
        GitError: A submodule, or the commit of it that the revision needs, is absent here.
    """
    for line in run_git(repository, "ls-tree", "-r", "-z", "--full-tree", commit).decode().split("\0")[:-1]:
        metadata, _, path = line.partition("\t")
        mode, _, submodule = metadata.split()
        if mode != _SUBMODULE:
            continue
        try:
            files = run_git(repository / path, "archive", submodule)
        except GitError as error:
            raise GitError(
                f"{flag} has the submodule {path} at {submodule[:10]}, which is not here: "
                f"git submodule update --init {path}, and fetch that commit in it"
            ) from error
        (tree / path).mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "-x", "-C", str(tree / path)], input=files, check=True)
        _copy_submodules(flag, repository / path, submodule, tree / path)
