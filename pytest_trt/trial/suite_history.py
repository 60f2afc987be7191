"""Collect the runs of all tests from baselines, from their versions in git, and from files of runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.past_run import PastRun
from pytest_trt.core.suite_history import CaseHistory
from pytest_trt.errors import BaselineError, TrtError
from pytest_trt.judge.baselines import BaselineFolder, Run
from pytest_trt.judge.baselines.history import runs_in_git
from pytest_trt.judge.regression.trend import trend
from pytest_trt.report.header import device_name
from pytest_trt.spec.case_ids import current_node_id
from pytest_trt.trial.run_files import FoundRun, OtherFile, read_runs

WITH_CHANGES = frozenset(name for name, figure in FIGURES.items() if figure.gated or name == "build_s")
"""The figures whose level changes are found. It takes a few milliseconds for each test."""


@dataclasses.dataclass
class _Known:
    """What is known of a test on a device: its runs by their time, who moved the reference, and its last verdict."""

    runs: dict[str, Run] = dataclasses.field(default_factory=dict)
    authors: dict[str, str] = dataclasses.field(default_factory=dict)
    references: set[str] = dataclasses.field(default_factory=set)
    last: FoundRun | None = None

    def add(self, run: Run) -> None:
        """Add a run. What its file lacks, such as the ratios in one of an earlier version, comes from another file."""
        old = self.runs.get(run.time)
        if old is not None:
            kept = {
                name: getattr(run, name) or getattr(old, name) for name in ("ratios", "limits", "software", "reason")
            }
            run = dataclasses.replace(run, moved=run.moved or old.moved, **kept)
        self.runs[run.time] = run


class SuiteHistory:
    """The runs of all tests.

    Attributes:
        errors: The files that cannot be read.
    """

    def __init__(self) -> None:
        self._tests: dict[tuple[str, str], _Known] = {}
        self.errors: list[TrtError] = []

    def __len__(self) -> int:
        return len(self._tests)

    def _known(self, node_id: str, device: str) -> _Known:
        return self._tests.setdefault((current_node_id(node_id), device), _Known())

    @property
    def last_time(self) -> str:
        """When the last run of all was, in ISO 8601; empty if there is none."""
        return max((time for known in self._tests.values() for time in known.runs), default="")

    def add_file(self, file: Path, branch: str | None = None, *, named: bool = True) -> None:
        """Add the runs in a file of `--trt-report=json:PATH`, unless it is of another branch than this one.

        A file that was found in a folder, and not `named` by the user, may also be JSON of another kind.
        """
        try:
            found = read_runs(file, branch)
        except OtherFile as error:
            self.errors += [error] if named else []
            return
        except TrtError as error:
            self.errors.append(error)
            return
        for one in found:
            known = self._known(one.node_id, one.device)
            known.add(one.run)
            known.references.add(one.reference_time)
            if known.last is None or known.last.run.time <= one.run.time:
                known.last = one

    def add_baselines(self, folder: BaselineFolder, *, with_git: bool = True) -> None:
        """Add the runs in the histories of baselines, and in those of the versions of their files in git."""
        stored = []
        for entry in folder.list():
            if isinstance(entry.content, BaselineError):
                self.errors.append(entry.content)
            else:
                stored.append((entry.path, entry.content))
        committed = runs_in_git(folder, [path for path, _ in stored]) if with_git else {}
        for path, baseline in stored:
            known = self._known(baseline.node_id, device_name(baseline.environment))
            for one in committed.get(path, ()):
                known.add(one.run)
                known.authors.setdefault(one.run.time, one.author)
            for run in baseline.history:
                known.add(run)

    def __iter__(self) -> Iterator[CaseHistory]:
        """Yield the history of each test on each device, in the order of their ids."""
        for (node_id, device), known in sorted(self._tests.items()):
            runs = [_as_reference(run) if run.time in known.references else run for run in known.runs.values()]
            runs.sort(key=lambda run: run.time)
            measured = {name for run in runs for name in run.figures}
            trends = {name: _trend(runs, name, known) for name in FIGURES if name in measured}
            status = known.last.status if known.last is not None else ""
            software = runs[-1].software
            yield CaseHistory(node_id, device, status, software, {name: t for name, t in trends.items() if t})


def _as_reference(run: Run) -> Run:
    """Return a run that a later run was compared with, which its own file cannot know."""
    return run if run.moved else dataclasses.replace(run, moved=True)


def _trend(runs: list[Run], figure: str, known: _Known) -> tuple[PastRun, ...]:
    points = trend(runs, figure, with_changes=figure in WITH_CHANGES)
    return tuple(
        dataclasses.replace(point, author=known.authors.get(point.time, "")) if point.moved else point
        for point in points
    )
