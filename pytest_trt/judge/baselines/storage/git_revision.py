"""Read baselines from a folder as it is at a git revision.

Nothing can be written, so that a pull request cannot change the baselines that judge it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pytest_trt.core.git import find_commit, run_git
from pytest_trt.core.location import Location
from pytest_trt.errors import BaselineError
from pytest_trt.judge.baselines.storage.base import Content

_REGULAR = (b"100644", b"100755")
"""The modes of regular files in git."""


class RevisionStorage:
    """A storage (see `base.Storage`) that reads a folder at a git revision.

    Args:
        rootdir: The folder that a relative location starts from.
        location: The folder's path.
        revision: The revision.

    Raises:
        BaselineError: The location is a URL.
        GitError: The folder is not in a git repository, or git does not know the revision.
    """

    def __init__(self, rootdir: Path, location: Location, revision: str) -> None:
        if location.is_url:
            raise BaselineError(
                f"--trt-baseline-ref={revision} reads a folder in git, but {location} is a URL: drop one of the two"
            )
        self._folder = (rootdir / Path(location.reveal()).expanduser()).absolute()
        self._top = _nearest_folder(self._folder)
        root, self._commit = find_commit(self._top, revision, "--trt-baseline-ref")
        self._prefix = self._folder.resolve().relative_to(root.resolve()).as_posix()
        self.where = f"{self._prefix} at {revision} ({self._commit[:10]})"
        self._blobs: dict[str, tuple[bytes, bytes]] | None = None

    def read(self, paths: Sequence[str], most: int) -> dict[str, Content]:
        """Read files of the revision with one git command."""
        found: dict[str, Content] = {path: self._refusal(path, most) for path in paths}
        existing = [path for path in paths if found[path] is None and path in self._tree()]
        found.update(self._contents(existing))
        return found

    def _refusal(self, path: str, most: int) -> BaselineError | None:
        mode, size = self._tree().get(path, (_REGULAR[0], b"0"))
        if mode not in _REGULAR:
            return BaselineError(f"baseline {path} in {self.where} is not a regular file (mode {mode.decode()})")
        if int(size) > most:
            return BaselineError(f"baseline {path} in {self.where} has {int(size)} bytes, but at most {most} are read")
        return None

    def _contents(self, paths: Sequence[str]) -> dict[str, Content]:
        names = "".join(f"{self._commit}:{self._prefix}/{path}\n" for path in paths)
        answer = self._git("cat-file", "--batch", stdin=names.encode()) if paths else b""
        found: dict[str, Content] = {}
        at = 0
        for path in paths:
            end = answer.index(b"\n", at)
            size = int(answer[at:end].split()[2])
            found[path] = answer[end + 1 : end + 1 + size]
            at = end + 1 + size + 1
        return found

    def list(self, prefix: str) -> list[str]:
        """Return the sorted paths of all files below a folder."""
        return sorted(path for path in self._tree() if path.startswith(f"{prefix}/"))

    def write(self, files: Mapping[str, bytes]) -> None:
        """Raise BaselineError: a revision cannot be changed."""
        raise BaselineError(f"baselines cannot be saved to {self.where}: drop --trt-baseline-ref")

    def remove(self, paths: Iterable[str]) -> None:
        """Raise BaselineError: a revision cannot be changed."""
        self.write({})

    def _tree(self) -> dict[str, tuple[bytes, bytes]]:
        """Return the mode and the size of every blob below the folder, by path, from a single git command."""
        if self._blobs is None:
            listed = self._git("--literal-pathspecs", "ls-tree", "-r", "-l", "-z", "--full-tree", self._commit, "--",
                               self._prefix)  # fmt: skip
            self._blobs = {}
            for line in listed.split(b"\0")[:-1]:
                about, _, name = line.partition(b"\t")
                mode, _, _, size = about.split()
                path = name.decode("utf-8", "replace").removeprefix(f"{self._prefix}/")
                self._blobs[path] = (mode, b"0" if size == b"-" else size)
        return self._blobs

    def _git(self, *arguments: str, stdin: bytes = b"") -> bytes:
        return run_git(self._top, *arguments, stdin=stdin)


def _nearest_folder(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists: a revision may have folders that no longer do."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())
