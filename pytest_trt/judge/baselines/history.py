"""Read the runs of tests from git: those in every version of their baselines' files, with who committed them."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pytest_trt.core.git import run_git, stream_git
from pytest_trt.errors import BaselineError, GitError
from pytest_trt.judge.baselines import file_format
from pytest_trt.judge.baselines.baseline import Run
from pytest_trt.judge.baselines.folder import BaselineFolder

_AUTHOR = "by "
"""What precedes the name of an author, which could begin like the record of a file."""


@dataclasses.dataclass(frozen=True)
class CommittedRun:
    """A run in a version of a baseline's file.

    Attributes:
        run: The run.
        author: Who committed the first version that has it.
    """

    run: Run
    author: str


def runs_in_git(folder: BaselineFolder, paths: Sequence[str]) -> Mapping[str, Sequence[CommittedRun]]:
    """Return the runs in all versions of baselines' files, by the path of the file.

    A version that cannot be read is skipped, since history is shown but not judged. If the files are not in git, there
    are no runs.

    Args:
        folder: The baselines.
        paths: The baselines' paths in the folder, as `BaselineFolder.list` gives them.
    """
    files = {file.resolve(): path for path in paths if (file := folder.local_path(path)) is not None}
    found: dict[str, list[CommittedRun]] = {path: [] for path in files.values()}
    with contextlib.suppress(GitError):
        for path, author, runs in _new_runs(files):
            found[path] += (CommittedRun(run, author) for run in runs)
    return found


def _new_runs(files: Mapping[Path, str]) -> Iterator[tuple[str, str, Sequence[Run]]]:
    """Yield the runs that each version of a file adds, the oldest version first, with the path and the author."""
    if not files:
        return
    here = Path(*_common_parts([file.parent for file in files]))
    top = Path(run_git(here, "rev-parse", "--show-toplevel").decode().rstrip("\n")).resolve()
    names = {file.relative_to(top).as_posix(): path for file, path in files.items() if file.is_relative_to(top)}
    versions = list(_versions(here, names, one_file=len(files) == 1))
    seen = {path: file_format.SeenRuns() for path in files.values()}
    stdin = "".join(f"{blob}\n" for blob, *_ in versions).encode()
    with stream_git(here, "cat-file", "--batch", stdin=stdin) as output:
        for blob, author, path in versions:
            words = output.readline().split()
            if len(words) != 3 or words[1] != b"blob":  # such as in a shallow clone
                continue
            raw = output.read(int(words[2]) + 1)[:-1]
            try:
                yield path, author, file_format.unseen_runs(raw, f"{path} at {blob[:10]}", seen[path])
            except BaselineError:
                continue


def _versions(here: Path, names: Mapping[str, str], *, one_file: bool) -> Iterator[tuple[str, str, str]]:
    """Yield the blob, the author and the path of each version of the files, the oldest first."""
    limit = next(iter(names)).rpartition("/")[2] if one_file and names else "."
    arguments = (
        "log",
        "--reverse",
        "--raw",
        "--no-abbrev",
        "--no-renames",
        "--diff-filter=AM",
        f"--format=%x00{_AUTHOR}%an",
        "-z",
    )
    author = ""
    # A record of a commit is `NUL author NUL`, and each of its files is `:modes blobs status NUL name NUL`.
    fields = iter(run_git(here, *arguments, "--", limit).decode(errors="replace").split("\0"))
    for field in fields:
        entry = field.lstrip("\n")
        if not entry.startswith(":"):
            author = entry.strip().removeprefix(_AUTHOR) or author
            continue
        name = next(fields, "")
        if name in names:
            yield entry.split(" ")[3], author, names[name]


def _common_parts(folders: Sequence[Path]) -> Sequence[str]:
    """Return the parts of the paths that all folders share."""
    parts = list(zip(*(folder.parts for folder in folders), strict=False))
    return [column[0] for column in parts[: next((i for i, c in enumerate(parts) if len(set(c)) > 1), len(parts))]]
