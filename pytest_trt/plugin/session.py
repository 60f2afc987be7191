"""One pytest run, or one xdist worker of it: what runs its tests, and what ends it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trt.core.foreign_text import escape, escape_lines
from pytest_trt.errors import TrtError
from pytest_trt.plugin.collecting import Collecting
from pytest_trt.plugin.resources import RunResources
from pytest_trt.plugin.stash import DECLARATION, FAILED, RESULT, TRIAL

if TYPE_CHECKING:
    from pytest_trt.spec.declaration import Declaration
    from pytest_trt.trial.trial import Trial

SESSION: pytest.StashKey[Session] = pytest.StashKey()


def session_of(config: pytest.Config) -> Session:
    """Return the session of this run, which `pytest_configure` made."""
    return config.stash[SESSION]


class Session(RunResources):
    """One pytest run, or one xdist worker of it: it runs the tests and collects their reports.

    Raises:
        pytest.UsageError: An option or ini setting of this plugin is wrong.
    """

    def __init__(self, config: pytest.Config) -> None:
        super().__init__(config)
        self.failed_tests: set[str] = set()
        self.collecting = Collecting(self)

    @cached_property
    def known_hosts(self) -> dict[str, Any]:
        """What the workers need to know about hosts elsewhere: only the controller asks all of them.

        Raises:
            pytest.UsageError: A host cannot be reached.
        """
        problems = self.bench.reach_hosts()
        known = self.bench.elsewhere.learned()
        if not problems:
            self._show_hosts()
        self.bench.close()
        if problems:
            raise pytest.UsageError(escape_lines("\n".join(problems)))
        return known

    def _show_hosts(self) -> None:
        """Name the cards of the hosts: with xdist, pytest shows no line after the collection."""
        from pytest_trt.report.header import describe_cards
        from pytest_trt.spec.engine_spec import EngineSpec

        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and self.config.get_verbosity() >= 0:
            cards = self.bench.pool.cards(self.bench.backend_name(EngineSpec()))
            reporter.write_line(escape(f"trt: {describe_cards(cards)}"))

    def prepare_worker(self, worker: Any) -> None:
        """Give an xdist worker what only the controller knows.

        Raises:
            pytest.UsageError: The revision to compare with cannot be checked out, or a host cannot be reached.
        """
        self.workers.append(worker)
        if not self.options:
            return
        from pytest_trt.plugin.checks import collects_everything

        workerinput: dict[str, Any] = worker.workerinput
        workerinput["trt_whole"] = collects_everything(self.config)
        workerinput["trt_lost"] = str(self.shared_folder.path / "lost")
        if self.settings.hosts:
            workerinput["trt_hosts"] = self.known_hosts
        try:
            workerinput["trt_against"] = self.baseline_source.for_workers()
        except TrtError as error:
            raise pytest.UsageError(str(error)) from error

    def create_trial(self, item: pytest.Item, declaration: Declaration) -> Trial:
        """Return a trial for the test, and store it in the test's stash for the verdict."""
        from pytest_trt.trial.trial import Trial

        folders = (item.path.parent, Path(self.settings.rootdir))
        source = self.baseline_source
        known = self.collecting.known
        is_gone = known.is_gone if known is not None else lambda node_id: False
        trial = Trial(self.bench, item.nodeid, declaration, folders, source.baselines, source.revision, is_gone)
        item.stash[TRIAL] = trial
        return trial

    def build(self, item: pytest.Item) -> None:
        """Build what the test needs, and run nothing. Errors of the build pass through."""
        from pytest_trt.trial.build_only import build_result

        trial = item.stash.get(TRIAL, None) or self.create_trial(item, item.stash[DECLARATION])
        try:
            item.stash[RESULT] = build_result(self.bench, item.nodeid, trial)
        finally:
            trial.close()

    def expect(self, items: Sequence[pytest.Item]) -> None:
        """Remember the tests that pytest will run. The end of the run checks that it ran them."""
        expected = [item.nodeid for item in items]
        self.progress.total = len(expected)
        if self.is_worker:
            self.config.workeroutput["trt_expected"] = expected  # type: ignore[attr-defined]
        else:
            self.outcome.expected.update(expected)

    def save(self, item: pytest.Item) -> None:
        """Save the measurement of a test after its last report, unless the test failed.

        If the measurement cannot be saved, one more report makes the test an error.
        """
        failed = item.stash.get(FAILED, False) or item.nodeid in self.failed_tests
        try:
            saved = self.judge.save(item, failed=failed)
        except TrtError as error:
            text = f"{type(error).__name__}: {error}"
            report = pytest.TestReport(item.nodeid, item.location, {}, "failed", text, "teardown")
            item.ihook.pytest_runtest_logreport(report=report)
            return
        if self.is_worker:
            self.config.workeroutput.setdefault("trt_saved", {})[item.nodeid] = saved  # type: ignore[attr-defined]
        else:
            self.outcome.add_saved(item.nodeid, saved)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Store the result that a report carries, and whether the test failed for another reason than its verdict."""
        if report.failed and not hasattr(report, "trt_verdict_failed"):
            self.failed_tests.add(report.nodeid)
        if not self.is_worker:
            self.outcome.add_report(report)

    def finish(self, session: pytest.Session) -> None:
        """Write the reports, and set the exit status."""
        if not self.is_worker:
            self.outcome.finish(session, lambda: self.baseline_source.worktree, has_options=bool(self.options))

    def show(self, reporter: Any) -> None:
        """Show the results on the terminal."""
        self.outcome.show(reporter, lambda: self.baseline_source.worktree, has_workers=bool(self.workers))
