"""SHA-256 of files, streamed."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

_CHUNK = 1 << 20


def file_sha256(path: Path) -> str:
    """The file's SHA-256 in hex. A file that has not changed since (size, times, inode) is not read again: a model is
    named by every test of a matrix, and a plan is checked before every use. Raises OSError."""
    state = path.stat()
    return _sha256(str(path), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, state.st_dev)


@functools.lru_cache(maxsize=4096)
def _sha256(path: str, *_state: int) -> str:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()
