"""Load and save a team's baselines in a folder, at an fsspec URL, or in a folder as it is at a git revision.

folder = open_baselines(".trt-baselines", "main", revision=None, rootdir=Path("."))
baseline = folder.load(node_id, device_slug(environment))
"""

from __future__ import annotations

from pathlib import Path

from pytest_trt.core.location import Location
from pytest_trt.judge.baselines.baseline import Baseline, BaselineData, ListedBaseline, Run
from pytest_trt.judge.baselines.folder import BaselineFolder
from pytest_trt.judge.baselines.paths import device_slug
from pytest_trt.judge.baselines.storage.base import Storage

__all__ = [
    "Baseline",
    "BaselineData",
    "BaselineFolder",
    "ListedBaseline",
    "Run",
    "device_slug",
    "open_baselines",
]


def open_baselines(location: str | Location, name: str, *, revision: str | None, rootdir: Path) -> BaselineFolder:
    """Return the baselines of one name.

    Args:
        location: A path or an fsspec URL. No message shows the credentials in the URL.
        name: The baselines' name, a folder at the location.
        revision: A git revision, whose folder is then read, but not written; None for the folder on disk.
        rootdir: The folder that a relative location starts from.

    Raises:
        BaselineError: The location cannot be opened, or the name is not valid.
        GitError: Git does not know the revision.
    """
    location = location if isinstance(location, Location) else Location(location)
    return BaselineFolder(_open_storage(location, revision=revision, rootdir=rootdir), name)


def _open_storage(location: Location, *, revision: str | None, rootdir: Path) -> Storage:
    """Return the storage of a location. Its module is imported on demand, since fsspec is an extra."""
    if revision is not None:
        from pytest_trt.judge.baselines.storage.git_revision import RevisionStorage

        return RevisionStorage(rootdir, location, revision)
    if location.is_url:
        from pytest_trt.judge.baselines.storage.remote import RemoteStorage

        return RemoteStorage(location)
    from pytest_trt.judge.baselines.storage.local import LocalStorage

    return LocalStorage(rootdir / Path(location.reveal()).expanduser())
