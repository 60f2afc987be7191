"""Report the progress of a build, in versions of TensorRT that have a progress monitor."""

from __future__ import annotations

import math
import time
from typing import Any

from pytest_trt.engine.backends.base import Progress
from pytest_trt.engine.backends.tensorrt import versions

MIN_INTERVAL_S = 0.1
"""The least time between two reports: TensorRT completes some thousand steps per second."""


def watch_progress(trt: Any, config: Any, progress: Progress) -> Any:
    """Report the progress of the build of `config` to `progress`.

    Returns:
        An object that must live as long as the build; None if this version has no progress monitor.
    """
    if not versions.has(trt, "progress"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Computes the share done from the open phases: each phase is one step of its parent."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases: dict[str, tuple[str | None, int, int]] = {}
            self._reported_at = -math.inf

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._phases[phase] = (parent, 0, max(steps, 1))
            self._report(phase)

        def step_complete(self, phase: str, step: int) -> bool:
            parent, _, steps = self._phases.get(phase, (None, 0, 1))
            self._phases[phase] = (parent, step + 1, steps)
            self._report(phase)
            return True

        def _report(self, phase: str) -> None:
            if (now := time.monotonic()) - self._reported_at >= MIN_INTERVAL_S:
                self._reported_at = now
                progress(phase, self._share(phase))

        def phase_finish(self, phase: str) -> None:
            self._phases.pop(phase, None)

        def _share(self, phase: str) -> float:
            """Return the share of the build that is done; -1 if the phase's ancestors are not known."""
            share, name = 0.0, phase
            while (known := self._phases.get(name)) is not None:
                parent, done, steps = known
                share = min((done + share) / steps, 1.0)
                if parent is None:
                    return share
                name = parent
            return -1.0

    monitor = Monitor()
    config.progress_monitor = monitor
    return monitor
