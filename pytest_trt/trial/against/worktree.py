"""A git revision, checked out into a temporary folder for as long as a run lasts, however that ends."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path

from pytest_trt.core.git import find_commit, git_environment, run_git
from pytest_trt.errors import GitError
from pytest_trt.trial.against.revision import Worktree

_SUBMODULE = "160000"
_REMOVE = 'cat > /dev/null; git -C "$1" worktree remove --force --force "$2" 2> /dev/null; rm -rf "$3"'
"""What the undertaker does once the run's end of its pipe is closed, be it by a crash."""
_END_TIMEOUT_S = 60.0


class Checkout:
    """`revision` of the repository that `rootdir` is in; `worktree` says where. Close it.

    Raises GitError where there is no such revision, no repository, or a submodule that is not at hand.
    """

    def __init__(self, rootdir: Path, revision: str) -> None:
        flag = f"--trt-against={revision}"
        top, commit = find_commit(rootdir, revision, "--trt-against")
        time = run_git(top, "show", "--no-patch", "--format=%cI", commit).decode().strip()
        folder = Path(tempfile.mkdtemp(prefix="pytest-trt-against-")).resolve()
        self.worktree = Worktree(revision, commit, time, str(top.resolve()), str(folder))
        tree = str(self.worktree.tree)
        self._undertaker = subprocess.Popen(
            ["sh", "-c", _REMOVE, "sh", str(top), tree, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=git_environment(), start_new_session=True,
        )  # fmt: skip
        try:
            # hooks are the user's own business, not a copy's
            run_git(top, "-c", "core.hooksPath=/dev/null", "worktree", "add", "--quiet", "--detach", tree, commit)
            _fill_submodules(flag, top, commit, self.worktree.tree)
        except GitError as error:
            self.close()
            raise GitError(f"{flag} cannot be checked out: {error}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Remove the worktree, and git's note of it. What takes long goes on without this process."""
        assert self._undertaker.stdin is not None
        self._undertaker.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._undertaker.wait(_END_TIMEOUT_S)


def _fill_submodules(flag: str, repository: Path, commit: str, tree: Path) -> None:
    """Put the submodules' files in place, which a worktree does not: out of those that are checked out here, so that
    nothing is fetched."""
    for line in run_git(repository, "ls-tree", "-r", "-z", "--full-tree", commit).decode().split("\0")[:-1]:
        about, _, path = line.partition("\t")
        mode, _, submodule = about.split()
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
        _fill_submodules(flag, repository / path, submodule, tree / path)
