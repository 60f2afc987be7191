"""Where a team's baselines are kept: a folder, an fsspec URL, or a folder as it stands at a git revision.

    folder = open_baselines(".trt-baselines", "main", revision=None, rootdir=Path("."))
    baseline = folder.load(node_id, device_slug(environment))

This room stands above judge, which knows what a baseline is, and below trial and session.
"""

from __future__ import annotations

from pathlib import Path

from pytest_trt.judge.baselines.baseline import Baseline, BaselineData, Run, Saved
from pytest_trt.judge.baselines.folder import BaselineFolder, Listed
from pytest_trt.judge.baselines.paths import device_slug
from pytest_trt.judge.baselines.storage.base import Place

__all__ = ["Baseline", "BaselineData", "BaselineFolder", "Listed", "Run", "Saved", "device_slug", "open_baselines"]


def open_baselines(location: str, name: str, *, revision: str | None, rootdir: Path) -> BaselineFolder:
    """The baselines called `name` at `location`: a path (from `rootdir`) or an fsspec URL; with `revision`, the folder
    as it stands there in git, read-only. Raises BaselineError where that cannot be opened."""
    return BaselineFolder(_open_place(location, revision=revision, rootdir=rootdir), name)


def _open_place(location: str, *, revision: str | None, rootdir: Path) -> Place:
    """Where files are read and written. Rooms are imported when they are asked for: fsspec is an extra."""
    if revision is not None:
        from pytest_trt.judge.baselines.storage.git_revision import RevisionPlace

        return RevisionPlace(rootdir, location, revision)
    if "://" in location:
        from pytest_trt.judge.baselines.storage.remote import RemotePlace

        return RemotePlace(location)
    from pytest_trt.judge.baselines.storage.local import LocalPlace

    return LocalPlace(rootdir / Path(location).expanduser())
