"""Collect the results of a run, from this process or its workers, and the run's problems and warnings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trt.core.foreign_text import escape_lines
from pytest_trt.plugin import pytest_benchmark

if TYPE_CHECKING:
    from pytest_trt.core.records import Result
    from pytest_trt.plugin.recording import Recorder
    from pytest_trt.report.header import RunHead
    from pytest_trt.spec.settings import Settings
    from pytest_trt.trial.against.revision import Worktree

_RAN = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)


class RunOutcome:
    """The outcome of a run.

    Args:
        config: pytest's configuration.
        settings: Returns the settings. It is called only once there is a result: a run without tests of this plugin
            parses none.

    Attributes:
        problems: Usage errors; one is enough for exit status 4.
        warnings: Sentences that are shown and do not change the exit status.
        expected: The node ids of the tests of this plugin that pytest should run.
        orphans: The node ids of tests that have a baseline and no longer exist.
    """

    def __init__(self, config: pytest.Config, settings: Callable[[], Settings]) -> None:
        self._config, self._settings, self._began = config, settings, time.time()
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.expected: set[str] = set()
        self.orphans: set[str] = set()
        self._reported: set[str] = set()
        self._failed: set[str] = set()
        self._unmeasured = 0
        self._started: set[str] = set()
        self._ended: set[str] = set()
        self._lost: list[str] = []
        self._lines: list[str] = []
        self._locations: dict[str, tuple[str, int | None, str]] = {}
        self._findings: tuple[str, ...] = ()
        self._latest: tuple[str, Result] | None = None
        """The last result of this process and its line: to parse the line again would take longer than to make it."""

    @cached_property
    def _recorder(self) -> Recorder:
        """The recorder of the results, made for the first of them."""
        from pytest_trt.plugin.recording import Recorder

        return Recorder(self._config, self._settings(), self._began, self.warnings)

    @property
    def results(self) -> Sequence[Result]:
        """The result of each test; of a test that was run again, as by pytest-rerunfailures, the last one."""
        return self._recorder.results if "_recorder" in self.__dict__ else ()

    @property
    def _summaries(self) -> Mapping[str, Result]:
        """The results without their samples, by node id."""
        return self._recorder.results.summaries if self.results else {}

    def add_report(self, report: pytest.TestReport) -> None:
        """Store the result that a report carries, from this process or from a worker."""
        self._reported.add(report.nodeid)
        if report.failed or hasattr(report, "wasxfail"):
            self._failed.add(report.nodeid)
        if hasattr(report, "trt_started"):
            self._started.add(report.nodeid)
        if report.when == "teardown":
            self._ended.add(report.nodeid)
        if hasattr(report, "trt_result"):
            line: str = report.trt_result
            del report.trt_result  # pytest keeps every report until the run ends
            self._locations[report.nodeid] = report.location
            self._add_result(line)

    def line_of(self, result: Result) -> str:
        """Return the result as it is recorded, in one line of JSON, which the test's report carries."""
        from pytest_trt.plugin import recording

        line = recording.line_of(result, self._config, self._settings())
        self._latest = line, result
        return line

    def _add_result(self, line: str) -> None:
        from pytest_trt.report import result_line

        own_line, own_result = self._latest or ("", None)
        result = own_result if own_result is not None and own_line is line else result_line.parse(line)
        self._latest = None
        if self._settings().disabled and not result.verdicts:
            self._unmeasured += 1
        else:
            self._recorder.results.add(result, line)

    def settle(self) -> list[pytest.TestReport]:
        """Complete the verdicts that waited for all tests of the run (`fleet.settle_cards`).

        Returns:
            A failed report for each test that fails only now.
        """
        before = dict(self._summaries)
        if not any(verdict.cards for result in before.values() for verdict in result.verdicts):
            return []
        from pytest_trt.judge.regression.fleet import settle_cards, without_pending
        from pytest_trt.report import failure

        settled, self._findings = settle_cards(tuple(before.values()))
        reports, failing = [], self._settings().failing
        for (node_id, result), after in zip(before.items(), settled, strict=True):
            if after.verdicts != result.verdicts:
                self._recorder.results.set_verdicts(node_id, after.verdicts)
            if not failure.text(without_pending(result), failing) and (text := failure.text(after, failing)):
                location = self._locations[node_id]
                reports.append(pytest.TestReport(node_id, location, {}, "failed", text, "teardown"))
        return reports

    def add_saved(self, node_id: str, saved: str) -> None:
        """Add the sentence on saving to the result of the test."""
        if saved and self.results:
            self._recorder.results.set_saved(node_id, saved)

    def add_lost_test(self, node_id: str) -> None:
        """Make the test an error: the worker that ran it was lost before it reported a verdict."""
        from pytest_trt.core.records import Result, Verdict

        if node_id in self._started:
            verdict = Verdict("error", "run", "", "the xdist worker that ran this test is lost: there is no verdict")
            self._recorder.results.add(Result(node_id, (verdict,)))

    def merge_worker(self, worker: str, output: Mapping[str, Any] | None) -> None:
        """Add the problems and warnings of a worker that ended; one without output was lost."""
        if output is None:
            self._lost.append(
                f"worker {worker} was lost: results that it had not yet reported are in no table and no baseline"
            )
            return
        self.expected.update(output.get("trt_expected", ()))
        self.orphans.update(output.get("trt_orphans", ()))
        for node_id, saved in output.get("trt_saved", {}).items():
            self.add_saved(node_id, saved)
        self.problems += [p for p in output.get("trt_problems", ()) if p not in self.problems]
        self.warnings += [w for w in output.get("trt_warnings", ()) if w not in self.warnings]

    def finish(self, session: pytest.Session, worktree: Callable[[], Worktree | None], *, has_options: bool) -> None:
        """Write the reports and set the exit status: a usage error for problems, a failure for lost tests.

        Args:
            session: pytest's session.
            worktree: Returns the git revision that was compared with, if any.
            has_options: Whether an option of this plugin was given. Without one, a run that has no results writes
                nothing.
        """
        config = session.config
        ran = session.exitstatus in _RAN and not self.problems and not config.option.collectonly
        if ran and (has_options or self.results):
            from pytest_trt.plugin.summary import write_reports

            head = self._head()
            written, errors = write_reports(self.results, self._settings(), worktree(), head, self._findings)
            self._lines += written
            if (lost := self._recorder.results.error) is not None:
                self.warnings.append(f"the samples of some tests are not stored ({lost}): make space")
            self.problems += [f"a report cannot be written: {e}: make space, or name another path" for e in errors]
            self._keep_last_run(head)
        if not config.option.collectonly:
            self._lost += self._ignored_verdicts()
            self._report_orphans()
            if session.exitstatus == pytest.ExitCode.OK:
                self._lost += [
                    f"{node_id} was collected but never run: a hook or plugin dropped it"
                    for node_id in sorted(self.expected - self._reported)
                ]
        if session.exitstatus == pytest.ExitCode.OK and (left := sorted(self._started - self._ended)):
            text = "was started but did not end, as after pytest.exit(): it was not judged"
            self._lost += [f"{node_id} {text}" for node_id in left]
        if self.problems:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif self._lost and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _head(self) -> RunHead:
        return self._recorder.head(interrupted=bool(self.expected - self._reported))

    def _report_orphans(self) -> None:
        """Warn of baselines whose tests are gone; with --trt-strict they fail the run."""
        if not self.orphans:
            return
        count, shown = len(self.orphans), sorted(self.orphans)[:3]
        more = f" and {count - len(shown)} more" if count > len(shown) else ""
        have = "baselines have" if count > 1 else "baseline has"
        text = (
            f"{count} {have} no test ({', '.join(shown)}{more}): restore or rename the test, or remove them with "
            "pytest-trt baseline prune"
        )
        (self._lost if self._settings().strict else self.warnings).append(text)

    def _ignored_verdicts(self) -> list[str]:
        """Return a line for each test that has a failing verdict but did not fail in pytest."""
        if not self.results:
            return []
        from pytest_trt.report.table import result_words

        return [
            f"{node_id} is {result_words(result)}, but pytest counted no failure: a hook or plugin changed its outcome"
            for node_id, result in self._summaries.items()
            if result.status in self._settings().failing and node_id not in self._failed
        ]

    def _keep_last_run(self, head: RunHead) -> None:
        """Write the results to pytest's cache folder, where `pytest-trt baseline accept` finds them."""
        if self.results:
            try:
                self._recorder.keep_last_run(head)
            except OSError as error:  # pytest, too, only warns if it cannot write there
                consequence = "the last run is not stored, so that pytest-trt baseline accept needs --from"
                self.warnings.append(f"{consequence}: {error}")

    def show(self, reporter: Any, worktree: Callable[[], Worktree | None], *, has_workers: bool) -> None:
        """Show the table, the reports that were written, and what is wrong with the run as a whole."""
        if self.results:
            from pytest_trt.plugin.summary import show_results

            show_results(reporter, self.results, self._settings(), worktree(), self._head(), self._findings)
            if has_workers and (text := pytest_benchmark.xdist_warning(reporter.config)):
                reporter.write_line(text)
        if self._unmeasured:
            from pytest_trt.report.numbers import format_count

            unmeasured = format_count(self._unmeasured, "test")
            reporter.write_line(f"trt: {unmeasured} ran unmeasured (--trt-disable): nothing was judged")
        for line in self.warnings:
            reporter.write_line(escape_lines(f"warning: {line}"), yellow=True)
        for line in self._lines:
            reporter.write_line(escape_lines(line))
        shown = self.problems if has_workers or self.results else ()  # otherwise pytest shows the UsageError itself
        for problem in (*shown, *(self._lost if self._started or self.expected or self.orphans else ())):
            reporter.write_line(escape_lines(f"ERROR: {problem}"), red=True)

    def close(self) -> None:
        """Close the file of the results."""
        if "_recorder" in self.__dict__:
            self._recorder.close()
