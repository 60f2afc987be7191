"""Copy arrays within host memory.

Large arrays are copied by several threads, since one core copies only a fifth of what PCIe carries.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pytest_trt.engine.backends.host import usable_cpus

MIN_PART_BYTES = 4 * 2**20
"""The least that a thread copies; starting a thread for less costs more than it saves."""

MAX_THREADS = 8


class Copier:
    """Copies arrays, splitting large ones over threads: numpy releases the interpreter's lock while it copies.

    Attributes:
        threads: The most threads that one copy uses.
    """

    def __init__(self) -> None:
        self.threads = max(1, min(MAX_THREADS, usable_cpus() - 1))
        self._pool: ThreadPoolExecutor | None = None

    def copy(self, to: Any, source: Any) -> None:
        """Assign `to[...] = source`, for arrays of one shape."""
        rows = len(to) if to.ndim else 0
        parts = min(self.threads, rows, int(to.nbytes // MIN_PART_BYTES))
        if parts < 2:
            to[...] = source
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="trt-copy")
        edges = [rows * i // parts for i in range(parts + 1)]
        work = [self._pool.submit(_copy, to[a:b], source[a:b]) for a, b in itertools.pairwise(edges)]
        for part in work:
            part.result()

    def close(self) -> None:
        """Stop the threads. The copier starts them again when it needs them."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _copy(to: Any, source: Any) -> None:
    to[...] = source
