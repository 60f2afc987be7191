"""The timing cache: what earlier builds found out about tactics, as a file that many builds share."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_trt.engine.backends.base import BuildJob
from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.engine.backends.tensorrt.log import logger
from pytest_trt.errors import BuildError


@contextlib.contextmanager
def timing_cache(trt: Any, config: Any, job: BuildJob) -> Iterator[list[str]]:
    """Build with the timing cache of `job.timing_cache`, and write it back, with what others added to it meanwhile,
    unless its mode is to read it alone. Yields what is to be noted of it.

    Our own cache that does not fit is begun anew; one that the spec names is the user's: raises BuildError, and leaves
    it as it is.
    """
    notes: list[str] = []
    mode, given = job.spec.timing_cache_mode, isinstance(job.spec.timing_cache, str)
    if given or mode != "update":
        versions.require(trt, "timing_cache")
    if job.timing_cache is None or not versions.has(trt, "timing_cache"):
        yield notes
        return
    if mode == "error_on_miss":
        config.set_flag(versions.require(trt, "timing_cache_mode=error_on_miss"))
    path = Path(job.timing_cache)
    stored = path.read_bytes() if path.exists() else b""
    log = logger(trt)
    log.clear()
    cache = config.create_timing_cache(stored)
    refused = any("Serialization" in said for said in log.errors)  # 8.6 makes an empty one then, and says it only there
    if cache is None or refused or not config.set_timing_cache(cache, False):
        misfit = f"the timing cache {path} is not of this TensorRT and GPU"
        if given:
            raise BuildError(f"{misfit}: name another with timing_cache, or a file that is not there yet")
        notes.append(f"{misfit}: started a new one")
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    yield notes
    if mode != "update":
        return
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
