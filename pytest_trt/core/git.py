"""Run git, and read the commit of a working tree."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pytest_trt.errors import GitError

TIMEOUT_S = 120.0
"""The longest that one git command may take."""

HOOK_VARIABLES = frozenset(("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"))
"""The environment variables that git sets when it starts a hook."""

CI_BRANCHES = ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_COMMIT_REF_NAME")
"""The environment variables in which GitHub and GitLab name the branch, the most specific first."""


def git_environment() -> dict[str, str]:
    """Return the environment variables of this process, except those that git sets for hooks."""
    return {name: value for name, value in os.environ.items() if name not in HOOK_VARIABLES}


def run_git(folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    """Run git in the repository that contains `folder`, and return its standard output.

    The command ignores a repository that the environment names, as it does in a git hook.

    Raises:
        GitError: Git cannot be started, runs longer than TIMEOUT_S, or fails. The message includes git's own.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            input=stdin, capture_output=True, timeout=TIMEOUT_S, check=False, env=git_environment(),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitError(f"git cannot be run in {folder} ({error}): install git, or try again later") from error
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        raise GitError(f"git {arguments[0]} failed in {folder}: {reason}")
    return done.stdout


@contextlib.contextmanager
def stream_git(folder: Path, *arguments: str, stdin: bytes) -> Iterator[IO[bytes]]:
    """Run git as `run_git` does, and give its standard output as a stream that need not fit into memory.

    Raises:
        GitError: Git cannot be started.
    """
    with tempfile.TemporaryFile() as requests:  # a pipe could fill up while the output is not read
        requests.write(stdin)
        requests.seek(0)
        try:
            process = subprocess.Popen(
                ["git", "-C", str(folder), *arguments],
                stdin=requests, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=git_environment(),
            )  # fmt: skip
        except OSError as error:
            raise GitError(f"git cannot be run in {folder} ({error}): install git, or try again later") from error
        with process:
            assert process.stdout is not None
            try:
                yield process.stdout
            finally:
                process.kill()


def find_commit(folder: Path, revision: str, flag: str) -> tuple[Path, str]:
    """Return the top folder of the repository that contains `folder`, and the hash of the commit `revision`.

    Args:
        folder: Any folder inside the repository.
        revision: A branch, a tag, a hash, or anything else that git resolves to a commit.
        flag: The command-line option that the revision was given to, for the error message.

    Raises:
        GitError: `folder` is not in a git repository, or the repository does not contain the revision.
    """
    try:
        top = Path(run_git(folder, "rev-parse", "--show-toplevel").decode().rstrip("\n"))
    except GitError as error:
        raise GitError(f"{flag}={revision} needs a git repository, but {folder} is not in one ({error})") from error
    try:
        found = run_git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except GitError as error:
        raise GitError(
            f"{flag}={revision}: git does not know this revision in {top}: fetch it first, such as with: "
            "git fetch --depth=1 origin main:refs/remotes/origin/main"
        ) from error
    return top, found.decode().strip()


def checked_out_commit(folder: Path) -> str | None:
    """Return the abbreviated hash of the commit that is checked out in `folder`.

    The hash ends in `+` if the working tree has uncommitted changes. The result is None if git cannot be run or
    `folder` is not in a repository.
    """
    return _first_line(folder, "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=12")


def checked_out_branch(folder: Path) -> str | None:
    """Return the branch that is checked out in `folder`, or that a CI service checked out without its name.

    The result is None if git cannot be run, `folder` is not in a repository, or no branch is checked out.
    """
    branch = _first_line(folder, "symbolic-ref", "--quiet", "--short", "HEAD")
    return branch or next(filter(None, map(os.environ.get, CI_BRANCHES)), None)


def _first_line(folder: Path, *arguments: str) -> str | None:
    """Return what a short git command prints; None if it fails or prints nothing."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
