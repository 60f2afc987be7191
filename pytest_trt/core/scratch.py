"""Temporary folders, and the sweep of those that killed processes left.

    TMPDIR/pytest-trt-UID/                     of this user alone; also contains the locks of devices
    TMPDIR/pytest-trt-UID/PURPOSE-PID-RANDOM/  a temporary folder of the process PID
    TMPDIR/pytest-trt-UID/PURPOSE-PID-RANDOM.owner  locked by that process as long as it uses the folder

The kernel releases the lock when the process ends, whatever ended it. So a folder whose lock is free has no owner, even
if another process has the same id today or is in another container. Shared memory and sockets have no names
(memfd_create(2), socketpair(2)), so nothing of them is left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
import weakref
from pathlib import Path

from pytest_trt.errors import CacheError

_OWNER = ".owner"

_swept: set[tuple[int, Path]] = set()
"""The folders that this process has swept, with its id, which a forked child does not share."""


class ScratchFolder:
    """A temporary folder of this process. Use it as a context manager, or close it.

    The first one of a process also removes those that killed processes of this user left.

    Args:
        purpose: The first part of the folder's name.

    Attributes:
        path: The folder, without links in its path.

    Raises:
        CacheError: No folder can be created in TMPDIR.
    """

    def __init__(self, purpose: str) -> None:
        home = user_folder().resolve()
        if (os.getpid(), home) not in _swept:
            _swept.add((os.getpid(), home))
            sweep(home)
        try:
            self.path, descriptor = _create(home, purpose)
        except OSError as error:
            raise CacheError(f"{home} cannot hold a temporary folder ({error}): set TMPDIR to another") from error
        self._finalizer = weakref.finalize(self, _remove_own, self.path, descriptor, os.getpid())

    def close(self) -> None:
        """Remove the folder with everything in it. A second call does nothing."""
        self._finalizer()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *exception: object) -> None:
        self.close()


def user_folder() -> Path:
    """Return this user's folder in TMPDIR, which nobody else can write to.

    Raises:
        CacheError: It cannot be created, or belongs to somebody else.
    """
    folder = Path(tempfile.gettempdir()) / f"pytest-trt-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise CacheError(
            f"the temporary folder {folder} cannot be used ({error}): remove the file, or set TMPDIR"
        ) from error
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise CacheError(f"{folder} belongs to somebody else: remove it, or set TMPDIR to a folder of your own")
    return folder


def sweep(home: Path) -> None:
    """Remove the temporary folders in `home` whose processes have ended.

    What cannot be removed, such as a file that is written at this moment, stays for the next sweep.
    """
    for owner in home.glob(f"*{_OWNER}"):
        with contextlib.suppress(OSError):  # another process removes it at the same time
            descriptor = os.open(owner, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(owner, descriptor):
                    _remove(owner.with_name(owner.name.removesuffix(_OWNER)), owner)
            finally:
                os.close(descriptor)


def _create(home: Path, purpose: str) -> tuple[Path, int]:
    """Create a folder, and return it with a descriptor of the locked file that names its owner."""
    while True:
        folder = home / f"{purpose}-{os.getpid()}-{secrets.token_hex(4)}"
        owner = folder.with_name(f"{folder.name}{_OWNER}")
        descriptor = os.open(owner, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(owner, descriptor):  # no sweep removed it before it was locked
                folder.mkdir(mode=0o700)
                return folder, descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Return whether an open file is still the one at this path."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _remove_own(folder: Path, descriptor: int, pid: int) -> None:
    """Remove a folder of this process. A forked child has the folders of its parent, which it must not remove."""
    if os.getpid() == pid:
        _remove(folder, folder.with_name(f"{folder.name}{_OWNER}"))
    with contextlib.suppress(OSError):
        os.close(descriptor)


def _remove(folder: Path, owner: Path) -> None:
    """Remove a folder, and then the file that names its owner, unless a part of the folder is left."""
    shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        owner.unlink(missing_ok=True)
