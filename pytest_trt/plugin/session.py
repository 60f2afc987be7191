"""One pytest run, or one xdist worker of it: collects what tests declare, and judges them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trt.errors import BackendError, ProbeError, TrtError
from pytest_trt.plugin import pytest_benchmark, unittest_cases
from pytest_trt.plugin.options import given, is_marked, is_ours, unknown_setting
from pytest_trt.plugin.outcome import RunOutcome
from pytest_trt.plugin.progress import Console
from pytest_trt.plugin.stash import DECLARATION, PROBLEMS, RESULT, STORED, TRIAL

if TYPE_CHECKING:
    import warnings

    from pytest_trt.core.records import Result
    from pytest_trt.plugin.baseline_source import Compared
    from pytest_trt.spec.budget_file import BudgetFile
    from pytest_trt.spec.declaration import Declaration
    from pytest_trt.spec.settings import Settings
    from pytest_trt.trial.bench import Bench
    from pytest_trt.trial.trial import Trial

SESSION: pytest.StashKey[Session] = pytest.StashKey()


def of(config: pytest.Config) -> Session:
    """The session of this run; made at configuration."""
    return config.stash[SESSION]


class Session:
    """What one run of pytest (or one xdist worker) knows and holds. Raises pytest.UsageError for wrong options."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.worker = hasattr(config, "workerinput")
        self.workers = False
        self.outcome = RunOutcome(lambda: self.settings)
        self.problems, self._warnings = self.outcome.problems, self.outcome.warnings
        self._deselected: list[pytest.Item] = []
        self._collected: set[str] = set()
        try:
            self._given = given(config)
        except ValueError as error:
            raise pytest.UsageError(str(error)) from error
        if self._given:  # else it waits until a test of ours needs it: a pytest run without any pays nothing
            assert self.settings

    @cached_property
    def settings(self) -> Settings:
        """What was asked for."""
        from pytest_trt.spec.parse_settings import parse

        try:
            return parse(self._given, str(self.config.rootpath))
        except TrtError as error:
            raise pytest.UsageError(str(error)) from error

    @cached_property
    def bench(self) -> Bench:
        """What tests are run with."""
        from pytest_trt.trial.bench import Bench

        return Bench(self.settings, Console(self.config))

    @cached_property
    def budgets(self) -> BudgetFile:
        """The budgets in a file; none where there is no file, or one that cannot be meant, which is a problem."""
        from pytest_trt.spec.budget_file import BudgetFile, read_budgets

        path = Path(self.settings.rootdir) / (self.settings.budgets or "")
        try:
            return read_budgets(path) if self.settings.budgets else BudgetFile(path)
        except TrtError as error:
            self.problems.append(str(error))
            return BudgetFile(path)

    @cached_property
    def compared(self) -> Compared:
        """What tests are compared with."""
        from pytest_trt.plugin.baseline_source import Compared

        asked, inifile = self.config.invocation_params, str(self.config.inipath or "")
        sent = self.config.workerinput.get("trt_against") if self.worker else None  # type: ignore[attr-defined]
        return Compared(self.settings, (tuple(map(str, asked.args)), str(asked.dir), inifile), sent)

    def prepare(self, workerinput: dict[str, Any]) -> None:
        """Tell a worker what the controller alone has. Raises pytest.UsageError where it cannot be had."""
        self.workers = True
        if not self._given:
            return
        from pytest_trt.plugin.checks import is_whole

        workerinput["trt_whole"] = is_whole(self.config)
        try:
            workerinput["trt_against"] = self.compared.encoded()
        except TrtError as error:
            raise pytest.UsageError(str(error)) from error

    def collect(self, items: list[pytest.Item]) -> None:
        """Choose the tests that run; declare them, check them together, and read what they are compared with.

        Raises pytest.UsageError with every problem at once; in a worker, the tests fail with it and the controller is
        told.
        """
        if not self._given and not any(is_ours(item) or is_marked(item) for item in items):
            return
        from pytest_trt.plugin import checks, collection

        known, whole = [*items, *self._deselected], checks.is_whole(self.config)
        if whole:  # otherwise a test that is not here may only not have been requested
            self._collected = {item.nodeid for item in known}
        running = collection.select(self.config, self.settings, items, self._mark_stored(items))
        problems, wrong = collection.declare_all(running, self.budgets, build_only=self.settings.build_only)
        self.problems += problems
        unmatched = checks.without_tests(self.config, self.budgets, known)
        (self.problems if self.settings.strict else self._warnings).extend(unmatched)
        self.problems += checks.without_own_id(self.config, known)
        self.problems += checks.unmatched_where(running, known, whole=whole)
        self._get_ready([item for item in running if DECLARATION in item.stash])
        self._end_collection([*wrong, *filter(is_ours, running)])

    def _mark_stored(self, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """Mark the tests that no longer use a fixture of this plugin but still have a baseline, and return them."""
        far = "://" in self.settings.baseline_dir or self.settings.baseline_ref
        if far and not any(map(is_ours, items)):  # a run without tests of this plugin must not wait for a remote place
            return []
        try:
            stored = [item for item in items if not is_ours(item) and self._is_stored(item.nodeid)]
        except TrtError as error:
            self.problems.append(str(error))
            return []
        for item in stored:
            item.stash[STORED] = True
        return stored

    def _get_ready(self, declared: Sequence[pytest.Item]) -> None:
        """Check the devices and read the baselines, unless there are problems or nothing is to run."""
        lists = any(map(self.config.getoption, ("collectonly", "showfixtures", "show_fixtures_per_test")))
        if not declared or self.problems or lists:
            return
        from pytest_trt.plugin.checks import wrong_devices

        self.problems += wrong_devices(self.bench, [item.stash[DECLARATION] for item in declared])
        if self.problems:
            return
        try:
            self.compared.get_ready(self.bench, {item.nodeid: item.stash[DECLARATION] for item in declared})
        except TrtError as error:
            self.problems.append(str(error))

    def _end_collection(self, ours: Sequence[pytest.Item]) -> None:
        """Raise the problems; in a worker, hand them to the controller and to each of `ours`, which fails with them."""
        problems = list(dict.fromkeys(self.problems))
        if problems and not self.worker:
            raise pytest.UsageError("\n".join(problems))
        if self.worker:
            output: dict[str, Any] = self.config.workeroutput  # type: ignore[attr-defined]
            output.update(trt_problems=problems, trt_warnings=self._warnings)
        if problems:
            for item in ours:
                item.stash[PROBLEMS] = "\n".join(problems)

    def _is_stored(self, node_id: str) -> bool:
        """Whether a baseline says that the test measured once, on whatever device."""
        said = self.settings
        baselines = None if said.disabled or said.skip or said.against else self.compared.baselines
        return baselines is not None and baselines.has_test(node_id)

    def pytest_warning_recorded(self, warning_message: warnings.WarningMessage) -> None:
        """A misspelt ini setting, of which pytest only warns, would leave a gate open: a problem."""
        problem = unknown_setting(str(warning_message.message))
        if problem and problem not in self.problems:
            self.problems.append(problem)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        """Run nothing where such a warning came, which pytest gives once everything is collected."""
        if self.problems and not self.worker:
            raise pytest.UsageError("\n".join(self.problems))

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Keep what does not run: a budget may be its."""
        self._deselected += items

    def trial(self, item: pytest.Item, declaration: Declaration) -> Trial:
        """The test's trial, kept where the verdict is asked for."""
        from pytest_trt.trial.trial import Trial

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
        from pytest_trt.report import failure
        from pytest_trt.trial import save_baseline

        if RESULT in item.stash:
            return ""
        trial = item.stash.get(TRIAL, None)
        result = trial.finish() if trial is not None else self._without_trial(item)
        if result is None:
            return ""
        if self.settings.disabled:
            result = dataclasses.replace(result, measurement=None)
        if (baselines := self.compared.baselines) is not None:
            result = save_baseline.suggest_renamed(result, baselines, self._collected)
            if save:
                result = save_baseline.save_measurement(result, baselines, self.settings, self.bench.store)
            elif self.settings.baseline_save:
                result = dataclasses.replace(result, saved="not saved: the test was skipped, or failed by itself")
        item.stash[RESULT] = result
        item.user_properties.extend(_properties(result))
        pytest_benchmark.feed(item, result)
        return failure.text(result, self.settings.failing, stored=self.compared.revision is None)

    def judge_ended(self, item: pytest.Item, error: BaseException) -> str:
        """`judge` for a test that `error` ended, if it measured before that; it is not saved. A skip is no way around a
        verdict. A test that fails by itself does so, with what was judged beside it. Raises TrtError, if it is one."""
        if isinstance(error, TrtError):
            raise error
        trial = item.stash.get(TRIAL, None)
        if trial is None or trial.result is None or isinstance(error, (KeyboardInterrupt, pytest.exit.Exception)):
            return ""
        try:
            text = self.judge(item, save=False)
        except TrtError as wrong:
            text = self.error(item, wrong)
        if text and not unittest_cases.is_overridden(item, error):
            item.add_report_section("call", "trt", text)
            return ""
        return text

    def _without_trial(self, item: pytest.Item) -> Result | None:
        """What came of a test that never had a runner of ours; None where nothing asks for a measurement."""
        from pytest_trt.core.records import Result, Verdict
        from pytest_trt.trial.trial import missing_measurement

        if STORED in item.stash:
            text = (
                "a baseline is stored, but the test asks for no trt_runner, and measured nothing: ask for it and call "
                "its measure(), or drop the baseline with pytest-trt baseline prune"
            )
        else:
            stored = self._is_stored(item.nodeid)
            text = (
                "" if self.settings.disabled else missing_measurement(item.stash.get(DECLARATION, None), stored=stored)
            )
        return Result(item.nodeid, (Verdict("error", "run", "", text),)) if text else None

    def error(self, item: pytest.Item, error: TrtError) -> str:
        """The text of an error that ended a test, with the line of the test where it came up; kept as a result."""
        from pytest_trt.core.records import Result, Verdict

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
        if not self.worker:
            self.outcome.hear(report)

    def finish(self, session: pytest.Session) -> None:
        """Write the reports, and set the exit status."""
        if not self.worker:
            self.outcome.finish(session, lambda: self.compared.worktree, given=bool(self._given))
            pytest_benchmark.quieten(session.config)

    def show(self, reporter: Any) -> None:
        """What came of it, on the terminal."""
        self.outcome.show(reporter, lambda: self.compared.worktree, workers=self.workers)

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
