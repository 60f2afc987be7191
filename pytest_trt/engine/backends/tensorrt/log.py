"""TensorRT's log: what it said last is why a call returned nothing."""

from __future__ import annotations

import collections
import functools
import sys
from typing import Any

KEPT = 50
SHOWN = 5


@functools.cache
def logger(trt: Any) -> Any:
    """The one logger of a package: TensorRT keeps the first it is given for the whole process.

    It keeps errors and warnings, prints them to stderr (a probe's log), and gives them with `reason`.
    """

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: collections.deque[str] = collections.deque(maxlen=KEPT)
            self.warnings: collections.deque[str] = collections.deque(maxlen=KEPT)

        def log(self, severity: Any, message: str) -> None:
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
            """The errors since `clear`, the last of them, as the end of a sentence."""
            said = list(dict.fromkeys(self.errors))[-SHOWN:] or list(dict.fromkeys(self.warnings))[-SHOWN:]
            return "; ".join(said) if said else "it gave no reason"

    return Log()
