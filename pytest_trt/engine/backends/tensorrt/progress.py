"""TensorRT's own progress through a build, where it tells."""

from __future__ import annotations

import math
import time
from typing import Any

from pytest_trt.engine.backends.base import Progress
from pytest_trt.engine.backends.tensorrt import versions

TOLD_EVERY_S = 0.1


def watch_progress(trt: Any, config: Any, progress: Progress) -> Any:
    """Tell `progress` how far the build of `config` is; the object must live as long as the build."""
    if not versions.has(trt, "progress"):
        return None

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """The share done is the sum over open phases of done steps, each phase a step of its parent."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases: dict[str, tuple[str | None, int, int]] = {}
            self._told = -math.inf

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._phases[phase] = (parent, 0, max(steps, 1))
            self._tell(phase)

        def step_complete(self, phase: str, step: int) -> bool:
            parent, _, steps = self._phases.get(phase, (None, 0, 1))
            self._phases[phase] = (parent, step + 1, steps)
            self._tell(phase)
            return True

        def _tell(self, phase: str) -> None:
            """Not every one of some thousand steps a second."""
            if (now := time.monotonic()) - self._told >= TOLD_EVERY_S:
                self._told = now
                progress(phase, self._share(phase))

        def phase_finish(self, phase: str) -> None:
            self._phases.pop(phase, None)

        def _share(self, phase: str) -> float:
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
