"""Read and write the timing cache: a file with the tactic timings of earlier builds, shared by many builds."""

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
    """Use the timing cache `job.timing_cache` for the builds in the `with` block.

    If the mode is `update`, the cache is written back at the end, merged with what other builds wrote meanwhile.
    pytest-trt's own cache is replaced if it does not fit this TensorRT and GPU. A cache that the spec names belongs to
    the user and is left as it is.

    Args:
        trt: The module of the package.
        config: The builder's configuration.
        job: The build.

    Yields:
        Notes for the build's report.

    Raises:
        BuildError: This TensorRT lacks the requested mode, or the user's cache does not fit it.
    """
    notes: list[str] = []
    mode, is_users = job.spec.timing_cache_mode, isinstance(job.spec.timing_cache, str)
    if is_users or mode != "update":
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
    # TensorRT 8.6 returns an empty cache instead of an unreadable one, and reports that only in its log.
    unreadable = any("Serialization" in message for message in log.errors)
    if cache is None or unreadable or not config.set_timing_cache(cache, False):
        misfit = f"the timing cache {path} was not written by this TensorRT on this GPU"
        if is_users:
            raise BuildError(f"{misfit}: name another file in timing_cache, or one that does not exist yet")
        notes.append(f"{misfit}: a new one was started")
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
    """Write the file completely or not at all."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, path)  # noqa: PTH105 - mkstemp returns the path as text
    except BaseException:
        Path(temporary).unlink()
        raise
