"""TensorRT's log, whose last messages are the reason why a call failed."""

from __future__ import annotations

import collections
import functools
import sys
from typing import Any

MAX_KEPT, MAX_SHOWN = 50, 5
"""The most messages of a severity that are kept, and that an error shows."""


@functools.cache
def logger(trt: Any) -> Any:
    """Return the logger of a package; there is one per process, since TensorRT keeps the first logger that it gets.

    The logger keeps errors and warnings, and prints them to stderr (the log of a probe). `logger(trt).clear()` forgets
    them, `logger(trt).reason()` returns them as text.

    Args:
        trt: The module of the package.
    """

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: collections.deque[str] = collections.deque(maxlen=MAX_KEPT)
            self.warnings: collections.deque[str] = collections.deque(maxlen=MAX_KEPT)

        def log(self, severity: Any, message: str) -> None:
            message = message.strip()
            if severity <= trt.ILogger.ERROR:
                self.errors.append(message)
            elif severity == trt.ILogger.WARNING:
                self.warnings.append(message)
            else:
                return
            sys.stderr.write(f"[{trt.__name__}] {message}\n")

        def clear(self) -> None:
            self.errors.clear()
            self.warnings.clear()

        def reason(self) -> str:
            """Return the last errors since `clear`, or else the last warnings, as the end of a sentence."""
            messages = list(dict.fromkeys(self.errors)) or list(dict.fromkeys(self.warnings))
            return "; ".join(messages[-MAX_SHOWN:]) if messages else "TensorRT gave no reason"

    return Log()
