"""Show the progress of builds and waits: one live line on a terminal, a first and a last line in a file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pytest_trt.core.foreign_text import escape

if TYPE_CHECKING:
    import pytest

MIN_SHOWN_S = 2.0
"""In a file, a build or a wait that takes less than this gets no line."""


class ProgressLine:
    """Shows the progress of a build or a wait: call it with a text, with newer texts, and with "" at the end.

    It writes past pytest's capture. xdist's workers have no terminal, so they show nothing.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._reporter = config.pluginmanager.get_plugin("terminalreporter")
        self._capture = config.pluginmanager.get_plugin("capturemanager")
        self._since: float | None = None
        self._last = ""
        self._printed = False

    def __call__(self, text: str) -> None:
        """Replace the line by `text`; an empty text ends it."""
        text = escape(text)
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
        elif text and not self._printed and self._since is not None and now - self._since >= MIN_SHOWN_S:
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
