"""What goes on, while a person waits: a live line on a terminal, a line before and one after where output is a file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

QUIET_S = 2.0
"""What takes less is not worth a line in a file."""


class Console:
    """Says what a build or a wait is at: `console("building ...")`, again as it goes on, and `console("")` at its end.

    Writes past pytest's capture. Under xdist's workers, which have no terminal, nothing is said.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._reporter = config.pluginmanager.get_plugin("terminalreporter")
        self._capture = config.pluginmanager.get_plugin("capturemanager")
        self._since: float | None = None
        self._last = ""
        self._printed = False

    def __call__(self, text: str) -> None:
        if self._reporter is None or self._reporter.verbosity < 0:
            return
        now = time.monotonic()
        if text:
            self._since = now if self._since is None else self._since
            self._last = text
        elif self._since is None:
            return
        if self._reporter.isatty:
            self._write("\r\x1b[2K" + (text[: self._reporter._tw.fullwidth - 1] if text else ""))
        elif text and not self._printed and self._since is not None and now - self._since >= QUIET_S:
            self._printed = True
            self._write(f"\ntrt: {text}\n")
        elif not text and self._printed:
            self._write(f"trt: {self._last}: ended\n")
        if not text:
            self._since, self._printed = None, False

    def _write(self, text: str) -> None:
        assert self._reporter is not None
        if self._capture is None:
            self._reporter.write(text, flush=True)
            return
        with self._capture.global_and_fixture_disabled():
            self._reporter.write(text, flush=True)
