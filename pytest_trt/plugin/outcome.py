"""What came of a run's tests, in this process or in its workers, and what there is to say of the run as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trt.plugin import pytest_benchmark

if TYPE_CHECKING:
    from pytest_trt.core.records import Result
    from pytest_trt.spec.settings import Settings
    from pytest_trt.trial.against.revision import Worktree

_RAN = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)


class RunOutcome:
    """`problems` make the run a usage error; `warnings` are said, and change nothing. `settings` is asked for only once
    there is a result: a run without tests of ours has no use for them."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self._results: dict[str, Result] = {}
        self._unmeasured = 0
        self._begun: set[str] = set()
        self._ended: set[str] = set()
        self._lost: list[str] = []
        self._lines: list[str] = []

    @property
    def results(self) -> list[Result]:
        """What each test came to; of one that was run again, as pytest-rerunfailures does, at its last try."""
        return list(self._results.values())

    def hear(self, report: pytest.TestReport) -> None:
        """Keep the result that travels with a report, from this process or from a worker."""
        if hasattr(report, "trt_begun"):
            self._begun.add(report.nodeid)
        if report.when == "teardown":
            self._ended.add(report.nodeid)
        if hasattr(report, "trt_result"):
            from pytest_trt.core import codec
            from pytest_trt.core.records import Result

            result = codec.decode(Result, report.trt_result)
            if self._settings().disabled and not result.verdicts:
                self._unmeasured += 1
            else:
                self._results[result.node_id] = result

    def lose(self, node_id: str) -> None:
        """The worker that ran this test is gone, and its verdict with it."""
        from pytest_trt.core.records import Result, Verdict

        if node_id in self._begun:
            verdict = Verdict("error", "run", "", "the xdist worker that ran this test is lost: there is no verdict")
            self._results[node_id] = Result(node_id, (verdict,))

    def merge(self, worker: str, output: Mapping[str, Any] | None) -> None:
        """Take over what a worker says at its end; one that says nothing was lost."""
        if output is None:
            self._lost.append(f"worker {worker} was lost: what it had not yet reported is in no table and no baseline")
            return
        self.problems += [p for p in output.get("trt_problems", ()) if p not in self.problems]
        self.warnings += [w for w in output.get("trt_warnings", ()) if w not in self.warnings]

    def finish(self, session: pytest.Session, worktree: Callable[[], Worktree | None], *, given: bool) -> None:
        """Write the reports of a run that ran, where an option of ours is `given` or a test came to something. With
        problems the run is a usage error; with something lost, a failure."""
        config = session.config
        ran = session.exitstatus in _RAN and not self.problems and not config.option.collectonly
        if ran and (given or self.results):
            from pytest_trt.plugin.summary import write_reports

            written, errors = write_reports(self.results, self._settings(), worktree())
            self._lines += written
            self.problems += [f"a report cannot be written: {e}: make space, or name another path" for e in errors]
            self._keep_last_run(config)
        if session.exitstatus == pytest.ExitCode.OK and (left := sorted(self._begun - self._ended)):
            text = "was begun and left, as by pytest.exit(): nothing of it is judged"
            self._lost += [f"{node_id} {text}" for node_id in left]
        if self.problems:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif self._lost and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _keep_last_run(self, config: pytest.Config) -> None:
        """Leave the results in pytest's cache folder, where `pytest-trt baseline accept` finds them."""
        from pytest_trt.report.header import Header
        from pytest_trt.report.write import write

        cache = getattr(config, "cache", None)  # none with -p no:cacheprovider
        if cache is not None and self.results:
            try:
                write("json", cache.mkdir("trt") / "last-run.json", self.results, Header("", ""))
            except OSError as error:  # pytest, too, only warns where it cannot write there
                without = "the last run is not kept, and pytest-trt baseline accept needs --from"
                self.warnings.append(f"{without}: {error}")

    def show(self, reporter: Any, worktree: Callable[[], Worktree | None], *, workers: bool) -> None:
        """The table, then where reports were written and what is wrong with the run as a whole."""
        if self.results:
            from pytest_trt.plugin.summary import show

            show(reporter, self.results, self._settings(), worktree(), reporter.config.get_verbosity())
            if workers and (text := pytest_benchmark.unheard(reporter.config)):
                reporter.write_line(text)
        if self._unmeasured:
            from pytest_trt.report.numbers import format_count

            unmeasured = format_count(self._unmeasured, "test")
            reporter.write_line(f"trt: {unmeasured} ran unmeasured (--trt-disable): nothing was judged")
        for line in self.warnings:
            reporter.write_line(f"warning: {line}", yellow=True)
        for line in self._lines:
            reporter.write_line(line)
        told = self.problems if workers or self.results else ()  # pytest shows a UsageError itself
        for problem in (*told, *(self._lost if self._begun else ())):
            reporter.write_line(f"ERROR: {problem}", red=True)
