"""Named ranges for NVIDIA's profilers. Without the package `nvtx` they do nothing and cost nothing."""

from __future__ import annotations

import contextlib
import functools
from contextlib import AbstractContextManager
from typing import Any


def span(name: str) -> AbstractContextManager[Any]:
    """Return a context manager for a range that Nsight Systems shows as `name`."""
    package = _package()
    if package is None:
        return contextlib.nullcontext()
    found: AbstractContextManager[Any] = package.annotate(name, domain="pytest-trt")
    return found


@functools.cache
def _package() -> Any:
    """Return the module `nvtx`, or None if it is not installed. The import waits for the first range."""
    try:
        import nvtx
    except ImportError:
        return None
    return nvtx
