"""The package as it is sent to a host: pytest-trt, and the two libraries that its engine cache needs, as a zip file.

All of it is pure Python. So both ends are of one version, and a host needs no installation of pytest-trt.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

LIBRARIES = ("pytest_trt", "filelock", "platformdirs")


def _modules() -> Iterator[tuple[str, Path]]:
    """Yield the name in the package and the path of every module, in the order of the names."""
    found = {}
    for library in LIBRARIES:
        spec = importlib.util.find_spec(library)
        assert spec is not None
        assert spec.origin is not None
        folder = Path(spec.origin).parent
        found.update({path.relative_to(folder.parent).as_posix(): path for path in folder.rglob("*.py")})
    # The order of paths, as `bootstrap.digest_of` has it, which differs from that of their texts.
    yield from sorted(found.items(), key=lambda item: Path(item[0]))


@functools.cache
def digest() -> str:
    """Return the digest of the package (see `bootstrap.digest_of`)."""
    sha = hashlib.sha256()
    for name, path in _modules():
        content = path.read_bytes()
        sha.update(f"{name} {len(content)}\n".encode() + content)
    return sha.hexdigest()


def archive() -> bytes:
    """Return the package as a zip file."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name, path in _modules():
            file.write(path, name)
    return data.getvalue()
