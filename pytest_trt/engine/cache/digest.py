"""The SHA-256 of files."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

_CHUNK = 1 << 20


def file_sha256(path: Path) -> str:
    """Return the file's SHA-256 in hexadecimal.

    A file whose size, times and inode have not changed is not read again: every test of a matrix names the same model,
    and a plan is checked before every use.

    Raises:
        OSError: The file cannot be read.
    """
    state = path.stat()
    return _sha256(str(path), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev)


@functools.lru_cache(maxsize=4096)
def _sha256(path: str, *_state: int) -> str:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def folder_sha256(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all files in a folder and in those below it.

    Raises:
        OSError: A file cannot be read.
    """
    files = (file for file in folder.rglob("*") if not file.is_dir())
    return files_sha256({file.relative_to(folder).as_posix(): file for file in files})


def files_sha256(files: Mapping[str, Path]) -> str:
    """Return what `folder_sha256` returns for a folder with these files, by their paths in it.

    Raises:
        OSError: A file cannot be read.
    """
    hashes = [f"{name} {file_sha256(files[name])}" for name in sorted(files)]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
