"""The folder of an engine cache: its layout, and whether it is safe to use."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from pytest_trt.errors import CacheError
from pytest_trt.spec.settings import Settings

KEY = re.compile(r"[0-9a-f]{64}")
"""The name of an item's folder: an engine's digest, or a model's SHA-256."""

PARTS = ("models", "timing", "tmp", "locks")
"""The folders beside those of the engines."""

_TAG = """Signature: 8a477f597d28d172789f06886806bc55
# The engine cache of pytest-trt; backup programs leave it out: https://bford.info/cachedir/
"""


def cache_folder(settings: Settings) -> Path:
    """Return the folder of the engine cache that the settings name, or else the user's."""
    import platformdirs

    folder = settings.cache_dir or platformdirs.user_cache_dir("pytest-trt", appauthor=False)
    return Path(settings.rootdir) / Path(folder).expanduser()


def create_folder(folder: Path) -> None:
    """Create the folder of a cache, with mode 0700, or check the one that exists.

    Raises:
        CacheError: Another user owns the folder or can write to it, or it holds other files than a cache.
        OSError: The folder cannot be created or written to.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_owner(folder)
    _tag(folder)
    for part in PARTS:
        (folder / part).mkdir(mode=0o700, exist_ok=True)


@contextlib.contextmanager
def cache_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the file system within the block into CacheError, with the remedy."""
    try:
        yield
    except OSError as error:
        raise CacheError(f"engine cache {folder}{_remedy(error, folder)}") from error


def _check_owner(folder: Path) -> None:
    """Raise CacheError for a folder that another user owns or can write to."""
    state, elsewhere = folder.stat(), "or name another with --trt-cache-dir"
    if state.st_uid != os.geteuid():
        raise CacheError(f"engine cache {folder} belongs to another user (uid {state.st_uid}): chown it, {elsewhere}")
    if state.st_mode & 0o022:
        mode = f"{state.st_mode & 0o7777:04o}"
        raise CacheError(f"engine cache {folder} is writable by others (mode {mode}): chmod 700 it, {elsewhere}")


def _tag(folder: Path) -> None:
    """Mark a folder as a cache if it is new or holds nothing but a cache.

    Raises:
        CacheError: The folder holds other files.
    """
    tag = folder / "CACHEDIR.TAG"
    if tag.is_file() and tag.read_bytes() == _TAG.encode():
        return
    known = (*PARTS, "calibration", "packages", tag.name, "lost+found")  # a mounted volume has a folder lost+found
    other = sorted(path.name for path in folder.iterdir() if path.name not in known and not KEY.fullmatch(path.name))
    if other:
        raise CacheError(
            f"{folder} is no engine cache: it holds {', '.join(other[:3])}{', ...' if len(other) > 3 else ''}, and a "
            "cache may remove files that it does not know: name a new or empty folder with --trt-cache-dir"
        )
    tag.write_text(_TAG)


def _remedy(error: OSError, folder: Path) -> str:
    """Return what happened and what to do, as the end of a message."""
    elsewhere = "name another with --trt-cache-dir, or use --trt-no-cache"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free_mb = shutil.disk_usage(folder).free / 1e6
        return f" has no space ({error.strerror}, {free_mb:.0f} MB free): pytest-trt cache prune, {elsewhere}"
    where = f" {error.filename}" if error.filename else ""
    return f" cannot be used ({error.strerror or error}{where}): make it a folder you can write to, {elsewhere}"
