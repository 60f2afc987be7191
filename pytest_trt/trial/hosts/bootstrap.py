"""What a host runs first: it takes the package from the standard input, and starts the agent.

This module is sent as text to an interpreter that has no pytest-trt. It imports only the standard library.

    <- the session sends a line of JSON: the package's digest, the folder of the cache (empty for the user's)
    -> "have" or "need"
    <- if needed: the size of a zip file, a line break, and the file
    -> "ready", and then the frames of `link.py`

In place of "have" and "ready", the answer may be "error" and a sentence.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import select
import shutil
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

_KEEP_S = 14 * 24 * 3600.0
"""How long a package of another version is kept after its last use, in seconds."""

_SILENCE_S = 60.0
"""After how many seconds without a byte the session counts as ended."""


class StartError(Exception):
    """Why the agent cannot start here."""


def start(reads: int, writes: int) -> None:
    """Take the package, and serve the session until it closes the link.

    Args:
        reads: The descriptor that the session writes to.
        writes: The descriptor that the session reads from.
    """
    request = json.loads(_read_line(reads))
    try:
        folder = cache_folder(request["cache"])
        package = folder / "packages" / request["digest"]
        if not is_complete(package, request["digest"]):
            _answer(writes, "need")
            size = int(_read_line(reads))
            unpack(_read(reads, size), package, request["digest"])
            _answer(writes, "have")
        else:
            os.utime(package)
            _answer(writes, "have")
        _remove_old(package)
        sys.path[:] = [str(package), *(path for path in sys.path if path not in ("", str(Path.cwd())))]
        from pytest_trt.trial.hosts.agent import serve
    except StartError as error:
        _answer(writes, f"error {error}")
        return
    except (OSError, ImportError) as error:
        _answer(writes, f"error {type(error).__name__}: {error}")
        return
    _answer(writes, "ready")
    serve(reads, writes, request, str(folder))


def cache_folder(requested: str) -> Path:
    """Return the folder of the engine cache, which only this user can write to.

    Raises:
        StartError: It cannot be used.
    """
    home = os.environ.get("XDG_CACHE_HOME", "").strip() or "~/.cache"
    folder = Path(requested or Path(home) / "pytest-trt").expanduser().absolute()
    remedy = "name another folder: ssh://HOST?cache=FOLDER, or XDG_CACHE_HOME=FOLDER in the command's environment"
    try:
        (folder / "packages").mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder / "packages"):
            pass
    except OSError as error:
        raise StartError(f"the cache {folder} cannot be used ({error.strerror or error}): {remedy}") from error
    for path in (folder, folder / "packages"):
        state = path.stat()
        if state.st_uid != os.geteuid() or state.st_mode & 0o022:
            raise StartError(f"others can write to {path}, which would contain code: chmod 700 it, or {remedy}")
    return folder


def digest_of(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of the modules in a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def is_complete(package: Path, digest: str) -> bool:
    """Return whether the package is there, unchanged."""
    return package.is_dir() and digest_of(package) == digest


def unpack(data: bytes, package: Path, digest: str) -> None:
    """Put a package in its place, completely or not at all.

    Raises:
        StartError: There is no space, or something else was received.
    """
    draft = Path(tempfile.mkdtemp(prefix="draft.", dir=package.parent))
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            archive.extractall(draft)
        if digest_of(draft) != digest:
            raise StartError("the package was changed on its way")
        old = Path(tempfile.mkdtemp(prefix="draft.", dir=package.parent))
        if package.exists():
            package.rename(old / "old")
        try:
            draft.rename(package)
        except OSError:
            if not is_complete(package, digest):  # another session has put it there
                raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise StartError(f"the package cannot be written to {package.parent} ({error.strerror or error})") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _remove_old(package: Path) -> None:
    for other in package.parent.iterdir():
        try:
            if other != package and time.time() - other.stat().st_mtime > _KEEP_S:
                shutil.rmtree(other, ignore_errors=True)
        except OSError:
            continue  # another session removes it


def _answer(writes: int, line: str) -> None:
    data = line.replace("\n", " ").encode() + b"\n"
    while data:
        data = data[os.write(writes, data) :]


def _read_line(reads: int) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        line += _read(reads, 1)
    return bytes(line)


def _read(reads: int, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        heard: Any = select.select([reads], [], [], _SILENCE_S)[0]
        part = os.read(reads, min(size - len(data), 1 << 20)) if heard else b""
        if not part:
            raise SystemExit(0)  # the session has ended
        data += part
    return bytes(data)
