"""Record the results of a run as they come, in a file of pytest's cache folder, and describe the run."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import socket
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest

from pytest_trt.core import git
from pytest_trt.core.location import mask_command
from pytest_trt.core.version import __version__
from pytest_trt.report import result_json, result_line
from pytest_trt.report.header import Header, RunHead
from pytest_trt.report.result_json import UNFINISHED
from pytest_trt.report.stored_results import StoredResults
from pytest_trt.report.write import write

if TYPE_CHECKING:
    from pytest_trt.core.records import Result
    from pytest_trt.spec.settings import Settings

KILLED_RUN = f"killed-run.json{UNFINISHED}"
"""Where the results of the last run that was killed are kept."""


class Recorder:
    """Records the results of a run, in the process that collects those of all workers.

    Args:
        config: pytest's configuration.
        settings: The settings of the run.
        began: When the run began, in seconds since the epoch.
        warnings: The warnings of the run, to which that of an earlier run that was killed is added.

    Attributes:
        results: The results so far.
    """

    def __init__(self, config: pytest.Config, settings: Settings, began: float, warnings: list[str]) -> None:
        self._config, self._settings, self._began, self._warnings = config, settings, began, warnings
        self._path: Path | None = None
        self._file = self._open()
        self.results = StoredResults(self._file, have_all_samples=keeps_all_samples(config, settings))
        self._head = self._describe()
        self.results.begin(result_json.opening(self._head))

    def _open(self) -> BinaryIO:
        """Open a file in pytest's cache folder; without one, a file that has no name."""
        try:
            folder = self._folder()
            if folder is not None:
                self._keep_killed_run(folder)
                descriptor, name = tempfile.mkstemp(f".json{UNFINISHED}", "run-", folder)
                self._path = Path(name)
                _lock(descriptor)
                return open(descriptor, "w+b")
        except OSError:  # pytest, too, runs without a cache that it cannot write
            self._path = None
        return tempfile.TemporaryFile()

    def _folder(self) -> Path | None:
        """Return this plugin's folder in pytest's cache; None if the run has no cache."""
        cache = getattr(self._config, "cache", None)  # there is none with -p no:cacheprovider
        return Path(cache.mkdir("trt")) if cache is not None else None

    def _keep_killed_run(self, folder: Path) -> None:
        """Keep the results of the last run in this folder that was killed, remove those of others, and warn."""
        found = [path for path in folder.glob(f"run-*.json{UNFINISHED}") if _has_ended(path)]
        for path in sorted(found, key=lambda path: path.stat().st_mtime):
            path.replace(folder / KILLED_RUN)
        if found:
            kept = folder / KILLED_RUN
            self._warnings.append(
                f"an earlier run ended before its report: its results are in {kept}, which pytest-trt merge makes a "
                "whole file again"
            )

    def _describe(self) -> RunHead:
        root = self._config.rootpath
        return RunHead(
            plugin=__version__,
            command=mask_command(("pytest", *map(str, self._config.invocation_params.args))),
            host=socket.gethostname(),
            project=root.name,
            start=datetime.fromtimestamp(self._began, timezone.utc).isoformat(timespec="seconds"),
            commit=git.checked_out_commit(root),
            branch=git.checked_out_branch(root),
        )

    def head(self, *, interrupted: bool) -> RunHead:
        """Return the head of the run, which has ended now."""
        duration_s = round(max(0.0, time.time() - self._began), 3)
        return dataclasses.replace(self._head, duration_s=duration_s, interrupted=interrupted)

    def keep_last_run(self, head: RunHead) -> None:
        """Write the results to the file where `pytest-trt baseline accept` finds them; without a cache, do nothing."""
        folder = self._folder()
        if folder is not None:
            write("json", folder / result_json.LAST_RUN, self.results, Header("", "", run=head))
            self._remove()

    def _remove(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file. It remains if there are results that could not be written to that of the last run."""
        if not self.results:
            self._remove()
        with contextlib.suppress(OSError):  # a full disk was reported when the results were written
            self._file.close()


def line_of(result: Result, config: pytest.Config, settings: Settings) -> str:
    """Return the result as it is recorded, in one line of JSON."""
    kept = result if keeps_all_samples(config, settings) else result_json.with_few_samples(result)
    return result_line.render(kept)


def keeps_all_samples(config: pytest.Config, settings: Settings) -> bool:
    """Return whether all samples are recorded, which a few reports need."""
    return settings.exports_samples or config.get_verbosity() > 0


def _lock(descriptor: int) -> bool:
    """Lock the file as long as this process lives. Return whether no other process has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # also of a file system without locks
        return False
    return True


def _has_ended(path: Path) -> bool:
    """Return whether the run that wrote the file has ended. An empty file may belong to one that has just begun."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return os.fstat(descriptor).st_size > 0 and _lock(descriptor)
    finally:
        os.close(descriptor)
