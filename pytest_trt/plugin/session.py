"""One pytest run, or one xdist worker of it: its settings, its resources, its collection, its end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trt.core.foreign_text import escape_lines
from pytest_trt.errors import TrtError
from pytest_trt.plugin import pytest_benchmark
from pytest_trt.plugin.options import has_plugin_marker, read_options, unknown_setting, uses_plugin
from pytest_trt.plugin.outcome import RunOutcome
from pytest_trt.plugin.progress import ProgressLine
from pytest_trt.plugin.stash import DECLARATION, FAILED, PROBLEMS, RESULT, STORED, TRIAL

if TYPE_CHECKING:
    import warnings

    from pytest_trt.judge.baselines.known_tests import KnownTests
    from pytest_trt.plugin.baseline_source import BaselineSource
    from pytest_trt.plugin.judging import ItemJudge
    from pytest_trt.spec.budget_file import BudgetFile
    from pytest_trt.spec.declaration import Declaration
    from pytest_trt.spec.settings import Settings
    from pytest_trt.trial.bench import Bench
    from pytest_trt.trial.trial import Trial

SESSION: pytest.StashKey[Session] = pytest.StashKey()


def session_of(config: pytest.Config) -> Session:
    """Return the session of this run, which `pytest_configure` made."""
    return config.stash[SESSION]


class Session:
    """The state of one pytest run, or of one xdist worker of it.

    Raises:
        pytest.UsageError: An option or ini setting of this plugin is wrong.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.is_worker = hasattr(config, "workerinput")
        self.has_workers = False
        self.outcome = RunOutcome(lambda: self.settings)
        self.problems, self._warnings = self.outcome.problems, self.outcome.warnings
        self.failed_tests: set[str] = set()
        self._deselected: list[pytest.Item] = []
        self._collected_files: set[str] = set()
        self._known: KnownTests | None = None
        self.progress = ProgressLine(config)
        try:
            self._options = read_options(config)
        except ValueError as error:
            raise pytest.UsageError(escape_lines(str(error))) from error
        if self._options:  # without options, nothing is parsed until a test of ours needs it
            assert self.settings

    @cached_property
    def settings(self) -> Settings:
        """The options and ini settings, parsed."""
        from pytest_trt.spec.parse_settings import parse_settings

        try:
            return parse_settings(self._options, str(self.config.rootpath))
        except TrtError as error:
            raise pytest.UsageError(str(error)) from error

    @cached_property
    def bench(self) -> Bench:
        """The resources that tests run with."""
        from pytest_trt.trial.bench import Bench

        return Bench(self.settings, self.progress)

    @cached_property
    def budgets(self) -> BudgetFile:
        """The budgets of the ini setting trt_budgets; empty without it. An invalid file is a problem of the run."""
        from pytest_trt.spec.budget_file import BudgetFile, read_budgets

        path = Path(self.settings.rootdir) / (self.settings.budgets or "")
        try:
            return read_budgets(path) if self.settings.budgets else BudgetFile(path)
        except TrtError as error:
            self.problems.append(str(error))
            return BudgetFile(path)

    @cached_property
    def baseline_source(self) -> BaselineSource:
        """The stored baselines or the git revision that tests are compared with."""
        from pytest_trt.plugin.baseline_source import BaselineSource, Invocation

        called = self.config.invocation_params
        invocation = Invocation(tuple(map(str, called.args)), str(called.dir), str(self.config.inipath or ""))
        received = self.config.workerinput.get("trt_against") if self.is_worker else None  # type: ignore[attr-defined]
        return BaselineSource(self.settings, invocation, received)

    @cached_property
    def judge(self) -> ItemJudge:
        """The judge of tests whose bodies have ended."""
        from pytest_trt.plugin.judging import ItemJudge

        return ItemJudge(self.settings, self.bench, self.baseline_source, self._warnings)

    def prepare_worker(self, workerinput: dict[str, Any]) -> None:
        """Give an xdist worker what only the controller knows.

        Raises:
            pytest.UsageError: The revision to compare with cannot be checked out.
        """
        self.has_workers = True
        if not self._options:
            return
        from pytest_trt.plugin.checks import collects_everything

        workerinput["trt_whole"] = collects_everything(self.config)
        try:
            workerinput["trt_against"] = self.baseline_source.for_workers()
        except TrtError as error:
            raise pytest.UsageError(str(error)) from error

    def collect(self, items: list[pytest.Item]) -> None:
        """Choose the tests that run, declare them, check them together, and prepare what they are compared with.

        Raises:
            pytest.UsageError: There are problems; it names them all. In a worker, the tests fail with them instead, and
                the controller receives them.
        """
        ours = any(uses_plugin(item) or has_plugin_marker(item) for item in items)
        if not (self._options or ours or (self.config.rootpath / ".trt-baselines").is_dir()):
            return  # with baselines and no test of ours, all of these tests are gone
        from pytest_trt.plugin import checks, collection
        from pytest_trt.plugin.known_tests import known_tests

        known, whole = [*items, *self._deselected], checks.collects_everything(self.config)
        self._known = known_tests(self.config, known, self._collected_files, whole=whole)
        running = collection.select(self.config, self.settings, items, self._mark_stored(items))
        problems, invalid = collection.declare_all(running, self.budgets, build_only=self.settings.build_only)
        self.problems += problems
        unmatched = checks.unmatched_budgets(self.config, self.budgets, known)
        (self.problems if self.settings.strict else self._warnings).extend(unmatched)
        self.problems += checks.ambiguous_node_ids(self.config, known)
        self.problems += checks.unmatched_where(running, known, whole=whole)
        self._prepare([item for item in running if DECLARATION in item.stash])
        self._find_orphans()
        self._end_collection([*invalid, *filter(uses_plugin, running)])

    def _mark_stored(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """Mark the tests that no longer use a fixture of this plugin but still have a baseline, and return them."""
        if self._is_remote and not any(
            map(uses_plugin, items)
        ):  # a run without tests of ours must not wait for a remote store
            return []
        source = self.baseline_source
        try:
            stored = [item for item in items if not uses_plugin(item) and source.has_baseline(item.nodeid)]
        except TrtError as error:
            self.problems.append(str(error))
            return []
        for item in stored:
            item.stash[STORED] = True
        return stored

    @property
    def _is_remote(self) -> bool:
        """Whether reading baselines takes a while: from a store, or from git."""
        return self.settings.baseline_dir.is_url or self.settings.baseline_ref is not None

    @property
    def only_lists(self) -> bool:
        """Whether pytest only lists tests or fixtures, and runs nothing."""
        return any(map(self.config.getoption, ("collectonly", "showfixtures", "show_fixtures_per_test")))

    def _prepare(self, declared: Sequence[pytest.Item]) -> None:
        """Check the devices and read the baselines, unless there are problems or nothing is to run."""
        if not declared or self.problems or self.only_lists:
            return
        from pytest_trt.plugin.checks import device_problems

        self.problems += device_problems(self.bench, [item.stash[DECLARATION] for item in declared])
        if self.problems:
            return
        try:
            named = {option.field for option, (_, origin) in self._options.items() if origin == option.flag}
            self.baseline_source.check_named(named)
            self.baseline_source.prepare(self.bench, {item.nodeid: item.stash[DECLARATION] for item in declared})
        except TrtError as error:
            self.problems.append(str(error))

    def _find_orphans(self) -> None:
        """Report baselines whose tests are gone, if the whole suite was collected: a deleted test gates nothing."""
        settings, known = self.settings, self._known
        if self.problems or known is None or not known.whole or self.only_lists:
            return
        if settings.build_only or settings.baseline is None or settings.against or settings.skip or settings.disabled:
            return
        if self._is_remote and not known.node_ids:  # a run without tests of ours must not wait for a remote store
            return
        from pytest_trt.plugin.known_tests import orphaned_baselines

        try:
            baselines = self.baseline_source.baselines
            orphans = orphaned_baselines(known, baselines) if baselines is not None else ()
        except TrtError as error:
            self.problems.append(str(error))
            return
        if self.is_worker:
            self.config.workeroutput["trt_orphans"] = list(orphans)  # type: ignore[attr-defined]
        else:
            self.outcome.orphans.update(orphans)

    def _end_collection(self, ours: Sequence[pytest.Item]) -> None:
        """Raise the problems; in a worker, pass them to the controller and let each of `ours` fail with them."""
        problems = list(dict.fromkeys(self.problems))
        if problems and not self.is_worker:
            raise pytest.UsageError(escape_lines("\n".join(problems)))
        if self.is_worker:
            output: dict[str, Any] = self.config.workeroutput  # type: ignore[attr-defined]
            output.update(trt_problems=problems, trt_warnings=self._warnings)
        if problems:
            for item in ours:
                item.stash[PROBLEMS] = escape_lines("\n".join(problems))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember the modules that were collected in full: an absent test of another module may only be hidden."""
        if report.passed and report.nodeid and "::" not in report.nodeid:
            self._collected_files.add(report.nodeid)

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """Make a misspelt ini setting a problem. Pytest only warns about it, and a check would silently be off."""
        problem = unknown_setting(str(warning_message.message))
        if problem and problem not in self.problems:
            self.problems.append(problem)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Run nothing if pytest warned of a misspelt setting, which it does after the collection."""
        if self.problems and not self.is_worker:
            raise pytest.UsageError(escape_lines("\n".join(self.problems)))

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Remember the tests that do not run: a budget may be for one of them."""
        self._deselected += items

    def create_trial(self, item: pytest.Item, declaration: Declaration) -> Trial:
        """Return a trial for the test, and store it in the test's stash for the verdict."""
        from pytest_trt.trial.trial import Trial

        folders = (item.path.parent, Path(self.settings.rootdir))
        source = self.baseline_source
        is_gone = self._known.is_gone if self._known is not None else lambda node_id: False
        trial = Trial(self.bench, item.nodeid, declaration, folders, source.baselines, source.revision, is_gone)
        item.stash[TRIAL] = trial
        return trial

    def build(self, item: pytest.Item) -> None:
        """Build what the test needs, and run nothing. Errors of the build pass through."""
        trial = item.stash.get(TRIAL, None) or self.create_trial(item, item.stash[DECLARATION])
        try:
            item.stash[RESULT] = trial.build_result()
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

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Store the result that a report carries, and whether the test failed for another reason than its verdict."""
        if report.failed and not hasattr(report, "trt_verdict_failed"):
            self.failed_tests.add(report.nodeid)
        if not self.is_worker:
            self.outcome.add_report(report)

    def finish(self, session: pytest.Session) -> None:
        """Write the reports, and set the exit status."""
        if not self.is_worker:
            self.outcome.finish(session, lambda: self.baseline_source.worktree, has_options=bool(self._options))
            pytest_benchmark.hide_redundant_table(session.config)

    def show(self, reporter: Any) -> None:
        """Show the results on the terminal."""
        self.outcome.show(reporter, lambda: self.baseline_source.worktree, has_workers=self.has_workers)

    def close(self) -> None:
        """End every process, and remove every worktree, that this run started."""
        if "bench" in self.__dict__:
            self.bench.close()
        if "baseline_source" in self.__dict__:
            self.baseline_source.close()
