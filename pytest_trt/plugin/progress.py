"""Show which test runs, in which phase, how many are done, and about how long the rest takes.

On a terminal this is one live line below pytest's own; in a file, one line a minute.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_trt.core.foreign_text import escape

if TYPE_CHECKING:
    import pytest

EVERY_S = 60.0
"""In a file, the least time between two lines."""

_ABOVE, _END = "\x1bD\x1b[A\x1b7\x1b[B\r\x1b[2K", "\x1b8"
"""Go to the line below, for which the terminal scrolls if necessary, and back to where pytest writes."""


class ProgressLine:
    """Shows the progress of the run: call it with a phase such as `measuring`, as often as time passes in it.

    It writes past pytest's capture. xdist's workers have no terminal, so they show nothing.

    Args:
        config: pytest's configuration.
        clock: Returns the time in seconds.

    Attributes:
        total: The number of tests of this plugin that run.
    """

    def __init__(self, config: pytest.Config, clock: Callable[[], float] = time.monotonic) -> None:
        self._plugins, self._clock = config.pluginmanager, clock
        self.total = 0
        self._done, self._done_s = 0, 0.0
        self._test, self._test_since = "", 0.0
        self._phase, self._phase_since = "", 0.0
        self._written_at = clock()

    def begin_test(self, name: str) -> None:
        """Begin a test; `name` is its id without the file."""
        self._test, self._test_since = name, self._clock()

    def end_test(self) -> None:
        """End the test that was begun."""
        if self._test:
            self._done, self._done_s = self._done + 1, self._done_s + self._clock() - self._test_since
            self._test = ""

    def __call__(self, phase: str) -> None:
        """Show that the test is in a phase; an empty phase removes the line."""
        reporter = self._plugins.get_plugin("terminalreporter")
        if reporter is None or reporter.verbosity < 0:
            return
        now, kind = self._clock(), re.sub(r"\d+", "", phase)
        if kind != re.sub(r"\d+", "", self._phase):
            self._phase_since = now
        ended, self._phase = bool(self._phase) and not phase, phase
        if reporter.isatty:
            if phase or ended:
                line = self._line(now)[: reporter._tw.fullwidth - 1] if phase else ""
                self._write(reporter, f"{_ABOVE}{line}{_END}")
        elif phase and now - self._written_at >= EVERY_S:
            self._written_at = now
            self._write(reporter, f"\ntrt: {self._line(now)}\n")

    def _line(self, now: float) -> str:
        elapsed_s = now - self._phase_since
        phase = self._phase if self._phase.endswith(" s") or elapsed_s < 1 else f"{self._phase}, {elapsed_s:.0f} s"
        if not self._test:
            return escape(phase)
        done = f"{self._done} of {self.total} done, " if self.total else ""
        return escape(f"{done}{self._test}: {phase}{self._left(now)}")

    def _left(self, now: float) -> str:
        """Return about how long the rest takes, from the tests that are done; empty before there are any."""
        if not self._done or self.total <= self._done:
            return ""
        from pytest_trt.report.numbers import format_duration

        left_s = self._done_s / self._done * (self.total - self._done) - (now - self._test_since)
        return f"; about {format_duration(max(left_s, 1.0))} left"

    def _write(self, reporter: Any, text: str) -> None:
        capture = self._plugins.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture is not None else contextlib.nullcontext():
            reporter.write(text, flush=True)
