"""With --trt-prebuild, build the engines that the collected tests need before the first test runs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.plugin.stash import ABSENT, DECLARATION, PROBLEMS
from pytest_trt.report.numbers import format_count, format_duration
from pytest_trt.trial.prebuild import Prebuild, Wanted

if TYPE_CHECKING:
    import pytest

    from pytest_trt.plugin.session import Session


def prebuild_engines(session: Session, items: Sequence[pytest.Item]) -> None:
    """Build the engines of the tests that run, and show how many were built.

    Every xdist worker collects all tests. Together, the workers build each engine once.
    """
    root = Path(session.settings.rootdir)
    running = [
        item for item in items
        if DECLARATION in item.stash and not (PROBLEMS in item.stash or ABSENT in item.stash)
        and item.get_closest_marker("skip") is None
    ]  # fmt: skip
    wanted = [Wanted(item.nodeid, item.stash[DECLARATION], (item.path.parent, root)) for item in running]
    if not wanted:
        return
    number, processes = 0, 1
    if session.is_worker:
        received = session.config.workerinput  # type: ignore[attr-defined]
        number, processes = int(received["workerid"].removeprefix("gw")), int(received["workercount"])
    started = time.monotonic()
    built = Prebuild(session.bench, wanted, number=number, processes=processes).run()
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if built.engines and reporter is not None and reporter.verbosity >= 0:
        devices = format_count(built.cards, "device")
        seconds = format_duration(time.monotonic() - started)
        reporter.write_line(f"trt: built {format_count(built.engines, 'engine')} on {devices} in {seconds}")
