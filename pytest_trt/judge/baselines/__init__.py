"""Where a team's baselines are kept: a folder, an fsspec URL, or a folder as it stands at a git revision.

    folder = open_baselines(".trt-baselines", "main", revision=None, rootdir=Path("."))
    baseline = folder.load(node_id, device_slug(environment))

This room stands above judge, which knows what a baseline is, and below trial and session.
"""

from __future__ import annotations

from pathlib import Path

from pytest_trt.judge.baselines.baseline import Baseline, BaselineData, Run, Saved
from pytest_trt.judge.baselines.folder import BaselineFolder, ListedBaseline
from pytest_trt.judge.baselines.paths import device_slug
from pytest_trt.judge.baselines.storage.base import Storage

__all__ = [
    "Baseline",
    "BaselineData",
    "BaselineFolder",
    "ListedBaseline",
    "Run",
    "Saved",
    "device_slug",
    "open_baselines",
]


def open_baselines(location: str, name: str, *, revision: str | None, rootdir: Path) -> BaselineFolder:
    """The baselines called `name` at `location`: a path (from `rootdir`) or an fsspec URL; with `revision`, the folder
    as it stands there in git, read-only. Raises BaselineError where that cannot be opened."""
    return BaselineFolder(_open_storage(location, revision=revision, rootdir=rootdir), name)


def _open_storage(location: str, *, revision: str | None, rootdir: Path) -> Storage:
    """Where files are read and written. Rooms are imported when they are asked for: fsspec is an extra."""
    if revision is not None:
        from pytest_trt.judge.baselines.storage.git_revision import RevisionStorage

        return RevisionStorage(rootdir, location, revision)
    if "://" in location:
        from pytest_trt.judge.baselines.storage.remote import RemoteStorage

        return RemoteStorage(location)
    from pytest_trt.judge.baselines.storage.local import LocalStorage

    return LocalStorage(rootdir / Path(location).expanduser())
