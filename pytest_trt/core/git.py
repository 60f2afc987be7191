"""Run git, and read the commit of a working tree."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from pytest_trt.errors import GitError

HOOK_VARIABLES = frozenset(("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY"))


TIMEOUT_S = 120.0


def git_environment() -> dict[str, str]:
    """This process's environment without what git hooks set in it."""
    return {name: value for name, value in os.environ.items() if name not in HOOK_VARIABLES}


def run_git(folder: Path, *words: str, stdin: bytes = b"") -> bytes:
    """What git says of the repository that `folder` is in, and not of one that the environment names, as it does where
    a git hook started the run. Raises GitError with git's own words."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            input=stdin, capture_output=True, timeout=TIMEOUT_S, check=False, env=git_environment(),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitError(f"git cannot be run in {folder} ({error}): install it, or wait and try again") from error
    if done.returncode:
        raise GitError(f"git {words[0]} in {folder}: {done.stderr.decode(errors='replace').strip() or 'failed'}")
    return done.stdout


def find_commit(folder: Path, revision: str, flag: str) -> tuple[Path, str]:
    """Return the top of the repository that `folder` is in, and the commit that `revision` names there.

    Raises:
        GitError: `folder` is in no repository, or git knows no such revision. The message names `flag`.
    """
    try:
        top = Path(run_git(folder, "rev-parse", "--show-toplevel").decode().rstrip("\n"))
    except GitError as error:
        raise GitError(f"{flag}={revision} names a git revision, but {folder} is in no repository ({error})") from error
    try:
        found = run_git(top, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except GitError as error:
        raise GitError(
            f"{flag}={revision}: git knows no such revision in {top}: fetch it first, such as with: "
            "git fetch --depth=1 origin main:refs/remotes/origin/main"
        ) from error
    return top, found.decode().strip()


def checked_out_commit(folder: Path) -> str | None:
    """The commit that is checked out there, with `+` where files differ from it; None where git cannot tell."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--exclude=*", "--abbrev=12"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
