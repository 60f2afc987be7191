"""Named ranges for NVIDIA's profilers, where the package `nvtx` is installed; elsewhere they cost nothing."""

from __future__ import annotations

import contextlib
import functools
from contextlib import AbstractContextManager
from typing import Any


@functools.cache
def _package() -> Any:
    try:
        import nvtx
    except ImportError:
        return None
    return nvtx


def span(name: str) -> AbstractContextManager[Any]:
    """A range that Nsight Systems shows under that name."""
    package = _package()
    if package is None:
        return contextlib.nullcontext()
    found: AbstractContextManager[Any] = package.annotate(name, domain="pytest-trt")
    return found
