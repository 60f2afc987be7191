"""The timing cache: what earlier builds found out about tactics, as a file that many builds share."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_trt.backends.base import BuildJob


@contextlib.contextmanager
def timing_cache(trt: Any, config: Any, job: BuildJob) -> Iterator[list[str]]:
    """Build with the timing cache of `job.timing_cache`, and write it back, with what others added to it meanwhile."""
    notes: list[str] = []
    if job.timing_cache is None or job.spec.compute_capabilities:  # ahead of time, nothing is timed
        yield notes
        return
    path = Path(job.timing_cache)
    stored = path.read_bytes() if path.exists() else b""
    cache = config.create_timing_cache(stored)
    if cache is None or not config.set_timing_cache(cache, False):
        notes.append(f"the timing cache {path} is not of this TensorRT and GPU: started a new one")
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    yield notes
    if path.exists() and (now := path.read_bytes()) != stored:
        other = config.create_timing_cache(now)
        if other is not None:
            cache.combine(other, False)
    _write(path, bytes(memoryview(cache.serialize())))


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)  # noqa: PTH105 - both are text here
    except BaseException:
        Path(temporary).unlink()
        raise
