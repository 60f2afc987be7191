"""Store baselines in a local folder, which a team commits.

Every file is written completely or not at all, and no path or symbolic link leads out of the folder.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import secrets
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pytest_trt.core.atomic import discard_draft
from pytest_trt.errors import BaselineError
from pytest_trt.judge.baselines.storage.base import Content

_WRITING = ".writing-"
"""How the names of files start that are being written."""

_LEFT_OVER_S = 3600.0
"""The age, in seconds, from which such a file was left by a process that was killed."""

_FEW = 64
"""The most files that are synced one by one."""

_SMALL = 1 << 20
"""The size in bytes below which one read returns a whole file."""


class LocalStorage:
    """A storage (see `base.Storage`) in a local folder, which is made when the first file is written.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.where = str(self.folder)
        self._inside: set[str] = set()

    def read(self, paths: Sequence[str], most: int) -> dict[str, Content]:
        """Read files, checking each of their folders once."""
        found: dict[str, Content] = dict.fromkeys(paths)
        for folder, within in self._by_folder(paths):
            refusal = self._refusal(folder)
            found.update((path, refusal or _read(f"{self.where}/{path}", most)) for path in within)
        return found

    def _by_folder(self, paths: Iterable[str]) -> Iterable[tuple[str, Sequence[str]]]:
        """Return every folder with the paths in it, so that each folder is checked once.

        Folders are strings, since a Path takes as long to make as a file takes to be read.
        """
        found: dict[str, list[str]] = {}
        for path in paths:
            found.setdefault(path.rpartition("/")[0], []).append(path)
        return ((f"{self.where}/{below}", within) for below, within in found.items())

    def _refusal(self, folder: str) -> BaselineError | None:
        try:
            self._check_inside(folder)
        except BaselineError as error:
            return error
        except OSError as error:
            return BaselineError(f"baseline folder {folder} cannot be read: {_reason(error)}")
        return None

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write files: all are written and synced under other names before the first is renamed."""
        mark, drafts, file = f"{_WRITING}{os.getpid()}-{secrets.token_hex(8)}", dict[str, str](), self.where
        try:
            for folder, within in self._by_folder(files):
                file = folder
                self._make_folder(folder)
                for path in within:
                    file = f"{self.where}/{path}"
                    drafts[file] = f"{folder}/{mark}-{len(drafts)}"
                    _write(drafts[file], files[path])
            _sync(list(drafts.values()))
            for file, draft in list(drafts.items()):
                os.replace(draft, file)  # noqa: PTH105 - strings, as in _by_folder
                del drafts[file]
        except OSError as error:
            raise BaselineError(f"baseline {file} cannot be saved: {_reason(error)}") from error
        finally:
            for draft in drafts.values():
                discard_draft(Path(draft))

    def _make_folder(self, folder: str) -> None:
        if folder not in self._inside:
            self._check_inside(folder)
            Path(folder).mkdir(parents=True, exist_ok=True)
            self._inside.add(folder)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files, and folders that become empty."""
        for path in paths:
            file = self.folder / path
            try:
                self._check_inside(str(file.parent))
                file.unlink(missing_ok=True)
                for folder in file.parents:
                    if folder == self.folder or any(folder.iterdir()):
                        break
                    folder.rmdir()
            except OSError as error:
                raise BaselineError(f"baseline {file} cannot be removed: {_reason(error)}") from error

    def list(self, prefix: str) -> list[str]:
        """Return the sorted paths of all files below a folder, and remove files that killed processes left."""
        found = []
        for folder, _, names in os.walk(self.folder / prefix):
            below = Path(folder).relative_to(self.folder).as_posix()
            for name in names:
                if not name.startswith(_WRITING):
                    found.append(f"{below}/{name}")
                else:
                    _remove_left_over(Path(folder) / name)
        return sorted(found)

    def _check_inside(self, folder: str) -> None:
        """Raise BaselineError if a symbolic link leads out of the storage's folder; each folder is checked once."""
        if folder not in self._inside:
            real, root = Path(folder).resolve(), self.folder.resolve()
            if real != root and root not in real.parents:
                message = f"baseline folder {folder} leads out of {root}, to {real}: remove the symbolic link"
                raise BaselineError(message)
            if real.is_dir():
                self._inside.add(folder)


def _read(file: str, most: int) -> Content:
    try:
        return _read_regular(file, most)
    except FileNotFoundError:
        return None
    except BaselineError as error:
        return error
    except OSError as error:
        return BaselineError(f"baseline {file} cannot be read: {_reason(error)}")


def _read_regular(file: str, most: int) -> bytes:
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            kind = "a folder" if stat.S_ISDIR(state.st_mode) else "not a regular file"
            raise BaselineError(f"baseline {file} is {kind}: remove it, or restore it from version control")
        if state.st_size > most:
            raise BaselineError(f"baseline {file} has {state.st_size} bytes, but at most {most} are read: remove it")
        return os.read(descriptor, most + 1) if state.st_size < _SMALL else _read_all(descriptor, most)
    finally:
        os.close(descriptor)


def _read_all(descriptor: int, most: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as file:
        return file.read(most + 1)


def _write(file: str, content: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        while content:
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)


def _sync(files: Sequence[str]) -> None:
    """Sync files of one file system to disk.

    Many files are synced by one call for the whole file system, if the system has it: a call for each file would wait
    for the disk as often as there are files.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None) if len(files) > _FEW else None
    for file in files[:1] if syncfs else files:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if syncfs is None:
                os.fsync(descriptor)
            elif syncfs(descriptor):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            os.close(descriptor)


def _remove_left_over(draft: Path) -> None:
    """Remove a file that a killed process left; a younger one may still be being written."""
    with contextlib.suppress(OSError):
        if time.time() - draft.stat().st_mtime > _LEFT_OVER_S:
            draft.unlink()


def _reason(error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "it is a symbolic link: put the file itself there"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{error.strerror}: make space, or name another folder with --trt-baseline-dir"
    return f"{error.strerror or error}: check its permissions, or name another folder with --trt-baseline-dir"
