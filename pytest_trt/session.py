"""One pytest run, or one xdist worker of it: collects what tests declare and what came of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trt import benchmark_plugin, options
from pytest_trt.console import Console
from pytest_trt.errors import BackendError, ProbeError, TrtError

if TYPE_CHECKING:
    import warnings

    from pytest_trt.bench import Bench
    from pytest_trt.budget_file import BudgetFile
    from pytest_trt.compared import Compared
    from pytest_trt.records import Result
    from pytest_trt.spec import Declaration, Settings
    from pytest_trt.trial import Trial

DECLARATION: pytest.StashKey[Declaration] = pytest.StashKey()
TRIAL: pytest.StashKey[Trial] = pytest.StashKey()
RESULT: pytest.StashKey[Result] = pytest.StashKey()
PROBLEMS: pytest.StashKey[str] = pytest.StashKey()
"""Usage errors with which, in a worker, a test fails: only the controller can end the run with status 4."""
SESSION: pytest.StashKey[Session] = pytest.StashKey()
_RAN = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)


def of(config: pytest.Config) -> Session:
    """The session of this run; made at configuration."""
    return config.stash[SESSION]


class Session:
    """What one run of pytest (or one xdist worker) knows and holds. Raises pytest.UsageError for wrong options."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.worker = hasattr(config, "workerinput")
        self.workers = False
        self.problems: list[str] = []
        self._results: dict[str, Result] = {}
        self._unmeasured = 0
        self._begun: set[str] = set()
        self._ended: set[str] = set()
        self._lost: list[str] = []
        self._lines: list[str] = []
        self._deselected: list[pytest.Item] = []
        self._collected: set[str] = set()
        self._warnings: list[str] = []
        self._given = options.given(config)
        if self._given:  # else it waits until a test of ours needs it: a pytest run without any pays nothing
            assert self.settings

    @cached_property
    def settings(self) -> Settings:
        """What was asked for."""
        from pytest_trt.settings import parse

        return parse(self._given, str(self.config.rootpath))

    @cached_property
    def bench(self) -> Bench:
        """What tests are run with."""
        from pytest_trt.bench import Bench

        return Bench(self.settings, Console(self.config))

    @cached_property
    def budgets(self) -> BudgetFile:
        """The budgets in a file; none where there is no file, or one that cannot be meant, which is a problem."""
        from pytest_trt.budget_file import BudgetFile, read_budgets

        path = Path(self.settings.rootdir) / (self.settings.budgets or "")
        try:
            return read_budgets(path) if self.settings.budgets else BudgetFile(path)
        except TrtError as error:
            self.problems.append(str(error))
            return BudgetFile(path)

    @cached_property
    def compared(self) -> Compared:
        """What tests are compared with."""
        from pytest_trt.compared import Compared

        asked, inifile = self.config.invocation_params, str(self.config.inipath or "")
        sent = self.config.workerinput.get("trt_against") if self.worker else None  # type: ignore[attr-defined]
        return Compared(self.settings, (tuple(map(str, asked.args)), str(asked.dir), inifile), sent)

    def prepare(self, workerinput: dict[str, Any]) -> None:
        """Tell a worker what the controller alone has. Raises pytest.UsageError where it cannot be had."""
        self.workers = True
        if not self._given:
            return
        from pytest_trt import collection

        workerinput["trt_whole"] = collection.is_whole(self.config)
        try:
            workerinput["trt_against"] = self.compared.encoded()
        except TrtError as error:
            raise pytest.UsageError(str(error)) from error

    def collect(self, items: list[pytest.Item]) -> None:
        """Choose the tests that run, and declare those of ours. What is wrong is said all at once: raises
        pytest.UsageError, or, in a worker, makes the tests fail with it and tells the controller."""
        if not self._given and not any(options.is_ours(item) or options.is_marked(item) for item in items):
            return
        from pytest_trt import collection

        unheld = collection.without_tests(self.config, self.budgets, [*items, *self._deselected])
        (self.problems if self.settings.strict else self._warnings).extend(unheld)
        running = collection.select(self.config, self.settings, items)
        if collection.is_whole(self.config):  # else a test that is not here may only not have been asked for
            self._collected = {item.nodeid for item in (*items, *self._deselected)}
        wrong = []
        for item in running:
            try:
                declaration = collection.declaration(item)
            except TrtError as error:
                self.problems.append(f"{item.nodeid}: {error}")
                wrong.append(item)
                continue
            if declaration is not None:
                budgets = self.budgets.beside(declaration.budgets, item.nodeid)
                item.stash[DECLARATION] = dataclasses.replace(declaration, budgets=budgets)
            elif self.settings.build_only:
                item.add_marker(pytest.mark.skip(reason="--trt-build-only: no marker says which engine it needs"))
        declared = [item for item in running if DECLARATION in item.stash]
        lists = any(map(self.config.getoption, ("collectonly", "showfixtures", "show_fixtures_per_test")))
        if declared and not self.problems and not lists:
            self.problems += collection.wrong_devices(self.bench, [item.stash[DECLARATION] for item in declared])
            if not self.problems:
                self._get_ready(declared)
        problems = list(dict.fromkeys(self.problems))
        if problems and not self.worker:
            raise pytest.UsageError("\n".join(problems))
        if self.worker:
            output: dict[str, Any] = self.config.workeroutput  # type: ignore[attr-defined]
            output.update(trt_problems=problems, trt_warnings=self._warnings)
        if problems:
            for item in (*wrong, *filter(options.is_ours, running)):
                item.stash[PROBLEMS] = "\n".join(problems)

    def _get_ready(self, items: list[pytest.Item]) -> None:
        try:
            self.compared.get_ready(self.bench, {item.nodeid: item.stash[DECLARATION] for item in items})
        except TrtError as error:
            self.problems.append(str(error))

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """A misspelt ini setting, of which pytest only warns, would leave a gate open: a problem."""
        problem = options.unknown_setting(str(warning_message.message))
        if problem and problem not in self.problems:
            self.problems.append(problem)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Run nothing where such a warning came, which pytest gives once everything is collected."""
        if self.problems and not self.worker:
            raise pytest.UsageError("\n".join(self.problems))

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Keep what does not run: a budget may be its."""
        if self._given:
            self._deselected += items

    def trial(self, item: pytest.Item, declaration: Declaration) -> Trial:
        """The test's trial, kept where the verdict is asked for."""
        from pytest_trt.trial import Trial

        folders = (item.path.parent, Path(self.settings.rootdir))
        with_what = (self.compared.baselines, self.compared.revision)
        item.stash[TRIAL] = Trial(self.bench, item.nodeid, declaration, folders, *with_what)
        return item.stash[TRIAL]

    def build(self, item: pytest.Item) -> None:
        """Build what the test needs, and run nothing. Raises what building raises."""
        trial = item.stash.get(TRIAL, None) or self.trial(item, item.stash[DECLARATION])
        try:
            item.stash[RESULT] = trial.built()
        finally:
            trial.close()

    def judge(self, item: pytest.Item, *, save: bool = True) -> str:
        """The text with which the test fails, empty where it does not; the result is in its stash."""
        from pytest_trt import keeping
        from pytest_trt.report import failure

        trial = item.stash.get(TRIAL, None)
        if trial is None or RESULT in item.stash:
            return ""
        result = trial.finish()
        if result is None:
            return ""
        if self.settings.disabled:
            result = dataclasses.replace(result, measurement=None)
        if (baselines := self.compared.baselines) is not None:
            result = keeping.offered(result, baselines, self._collected)
            if save:
                result = keeping.saved(result, baselines, self.settings, self.bench.store)
        item.stash[RESULT] = result
        item.user_properties.extend(_properties(result))
        benchmark_plugin.feed(item, result)
        return failure.text(result, self.settings.failing, stored=self.compared.revision is None)

    def judge_skipped(self, item: pytest.Item) -> str:
        """`judge` for a test that measured before it asked to be skipped: a skip is no way around a verdict. Where it
        does not fail it is skipped, and not saved."""
        trial = item.stash.get(TRIAL, None)
        return "" if trial is None or trial.result is None else self.judge(item, save=False)

    def error(self, item: pytest.Item, error: TrtError) -> str:
        """The text of an error that ended a test, with the line of the test where it came up; kept as a result."""
        from pytest_trt.records import Result, Verdict

        trial = item.stash.get(TRIAL, None)
        known = trial.result if trial is not None and trial.result is not None else Result(item.nodeid, ())
        verdict = Verdict("error", "run", "", str(error))
        item.stash[RESULT] = Result(item.nodeid, (verdict, *known.verdicts), known.measurement)
        where = _line_of(error, item.path)
        lost = ""
        if trial is not None and isinstance(error, (BackendError, ProbeError)):
            lost = self.bench.lost_device(trial.backend, item.nodeid)
            self._warnings += [lost] if lost else []
        return "\n".join(filter(None, (f"{type(error).__name__}: {error}", lost, where)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the result that travels with a report, from this process or from a worker."""
        if self.worker:
            return
        if hasattr(report, "trt_begun"):
            self._begun.add(report.nodeid)
        if report.when == "teardown":
            self._ended.add(report.nodeid)
        if hasattr(report, "trt_result"):
            from pytest_trt import codec
            from pytest_trt.records import Result

            result = codec.decode(Result, report.trt_result)
            if self.settings.disabled and not result.verdicts:
                self._unmeasured += 1
            else:
                self._results[result.node_id] = result

    @property
    def results(self) -> list[Result]:
        """What each test came to; of one that was run again, as pytest-rerunfailures does, at its last try."""
        return list(self._results.values())

    def lose(self, node_id: str) -> None:
        """The worker that ran this test is gone, and its verdict with it."""
        from pytest_trt.records import Result, Verdict

        if node_id in self._begun:
            verdict = Verdict("error", "run", "", "the xdist worker that ran this test is lost: there is no verdict")
            self._results[node_id] = Result(node_id, (verdict,))

    def merge(self, worker: str, output: Mapping[str, Any] | None) -> None:
        """Take over what a worker says at its end; one that says nothing was lost."""
        if output is None:
            self._lost.append(f"worker {worker} was lost: what it had not yet reported is in no table and no baseline")
            return
        self.problems += [p for p in output.get("trt_problems", ()) if p not in self.problems]
        self._warnings += [w for w in output.get("trt_warnings", ()) if w not in self._warnings]

    def finish(self, session: pytest.Session) -> None:
        """Write the reports, of runs that ran. With problems in the workers, the run is a usage error; with a worker
        lost, a failure."""
        if self.worker:
            return
        ran = session.exitstatus in _RAN and not self.problems and not self.config.option.collectonly
        if ran and (self._given or self.results):
            from pytest_trt.summary import write_reports

            try:
                self._lines += write_reports(self.results, self.settings, self.compared.worktree)
            except OSError as error:
                self.problems.append(f"a report cannot be written: {error}: make space, or name another path")
            self._keep_last_run()
        if session.exitstatus == pytest.ExitCode.OK and (left := sorted(self._begun - self._ended)):
            text = "was begun and left, as by pytest.exit(): nothing of it is judged"
            self._lost += [f"{node_id} {text}" for node_id in left]
        if self.problems:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        elif self._lost and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _keep_last_run(self) -> None:
        """Leave the results in pytest's cache folder, where `pytest-trt baseline accept` finds them."""
        from pytest_trt.report import Header, write

        cache = getattr(self.config, "cache", None)  # none with -p no:cacheprovider
        if cache is not None and self.results:
            try:
                write("json", cache.mkdir("trt") / "last-run.json", self.results, Header("", ""))
            except OSError as error:  # pytest, too, only warns where it cannot write there
                without = "the last run is not kept, and pytest-trt baseline accept needs --from"
                self._warnings.append(f"{without}: {error}")

    def show(self, reporter: Any) -> None:
        """The table, then where reports were written and what is wrong with the run as a whole."""
        if self.results:
            from pytest_trt.summary import show

            show(reporter, self.results, self.settings, self.compared.worktree, self.config.get_verbosity())
            if self.workers and (text := benchmark_plugin.unheard(self.config)):
                reporter.write_line(text)
        if self._unmeasured:
            from pytest_trt.report.numbers import counted

            unmeasured = counted(self._unmeasured, "test")
            reporter.write_line(f"trt: {unmeasured} ran unmeasured (--trt-disable): nothing was judged")
        for line in self._warnings:
            reporter.write_line(f"warning: {line}", yellow=True)
        for line in self._lines:
            reporter.write_line(line)
        told = self.problems if self.workers or self.results else ()  # pytest shows a UsageError itself
        for problem in (*told, *(self._lost if self._begun else ())):
            reporter.write_line(f"ERROR: {problem}", red=True)

    def close(self) -> None:
        if "bench" in self.__dict__:
            self.bench.close()
        if "compared" in self.__dict__:
            self.compared.close()


def _properties(result: Result) -> Iterator[tuple[str, object]]:
    """What JUnit shows of a result."""
    yield "trt_verdict", result.status
    if result.measurement is not None:
        yield "trt_device", result.measurement.environment.device
        for name, estimate in result.measurement.figures.items():
            yield f"trt_{name}", f"{estimate.value:.6g}"


def _line_of(error: BaseException, path: Path) -> str:
    trace, line = error.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = f"{path.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return line
