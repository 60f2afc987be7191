"""One pytest run: collects what tests declare and what came of them, and writes the reports."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_trt.console import Console
from pytest_trt.errors import DeclarationError, TrtError
from pytest_trt.records import ALWAYS_FAIL, Result, Status, Verdict

if TYPE_CHECKING:
    from pytest_trt.baselines import BaselineFolder
    from pytest_trt.bench import Bench
    from pytest_trt.report import Header
    from pytest_trt.spec import Declaration, Settings
    from pytest_trt.trial import Trial

FIXTURES = frozenset(("trt_runner", "trt_engine", "trt_build", "trt_device", "trt_spec"))
DECLARATION: pytest.StashKey[Declaration] = pytest.StashKey()
TRIAL: pytest.StashKey[Trial] = pytest.StashKey()
RESULT: pytest.StashKey[Result] = pytest.StashKey()
SESSION: pytest.StashKey[Session] = pytest.StashKey()


def of(config: pytest.Config) -> Session:
    """The session of this run; made at configuration."""
    return config.stash[SESSION]


class Session:
    """What one run of pytest (or one xdist worker) knows and holds."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.config, self.settings = config, settings
        self.worker = hasattr(config, "workerinput")
        self.problems: list[str] = []
        self.results: list[Result] = []
        self.lines: list[str] = []
        self._bench: Bench | None = None
        self._baselines: BaselineFolder | None = None

    @property
    def bench(self) -> Bench:
        if self._bench is None:
            from pytest_trt.bench import Bench

            self._bench = Bench(self.settings, Console(self.config))
        return self._bench

    @property
    def baselines(self) -> BaselineFolder | None:
        """The stored baselines; None with --trt-baseline=off."""
        if self._baselines is None and self.settings.baseline is not None:
            from pytest_trt.baselines import open_baselines

            self._baselines = open_baselines(
                self.settings.baseline_dir,
                self.settings.baseline,
                revision=self.settings.baseline_ref,
                rootdir=Path(self.settings.rootdir),
            )
        return self._baselines

    @property
    def failing(self) -> frozenset[Status]:
        """The verdicts that fail a test in this run."""
        return ALWAYS_FAIL | self.settings.fail_on

    def collect(self, items: list[pytest.Item], *, check_devices: bool) -> None:
        """Declare every test of ours. What is wrong is said all at once: raises pytest.UsageError, or, in a worker,
        makes the tests fail with it and tells the controller."""
        for item in items:
            try:
                self._declare(item)
            except TrtError as error:
                self.problems.append(f"{item.nodeid}: {error}")
        declared = [item for item in items if DECLARATION in item.stash]
        if check_devices and declared and not self.problems:
            self.problems += self._check_devices(declared)
        problems = list(dict.fromkeys(self.problems))
        if not problems:
            return
        if not self.worker:
            raise pytest.UsageError("\n".join(problems))
        self.config.workeroutput["trt_problems"] = problems  # type: ignore[attr-defined]
        for item in items:
            _make_fail(item, "\n".join(problems))

    def _declare(self, item: pytest.Item) -> None:
        """Put the test's declaration in its stash. Raises DeclarationError for what cannot be meant."""
        from pytest_trt.markers import declare

        names = set(getattr(item, "fixturenames", ()))
        marks = [mark for mark in item.iter_markers() if mark.name.startswith("trt_")]
        if not names & (FIXTURES - {"trt_build", "trt_device"}):
            unused = [mark.name for mark in marks if mark.name in ("trt_budget", "trt_matrix", "trt_accuracy")]
            if unused:
                raise DeclarationError(f"{unused[0]}: the test asks for no trt_runner, so nothing would be measured")
            return
        params: Mapping[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
        case = params.get("trt_case", {})
        declaration = declare(marks, case, {k: v for k, v in params.items() if k != "trt_case"})
        spec = declaration.spec
        if spec.path is None and spec.onnx is None and spec.build is None and not _overridden(item, "trt_spec"):
            raise DeclarationError(
                "no model is named: mark the test with trt_engine('model.onnx'), or override the fixture trt_spec"
            )
        item.stash[DECLARATION] = declaration

    def _check_devices(self, items: list[pytest.Item]) -> list[str]:
        """What is wrong with the devices that these tests would run on, if anything."""
        from pytest_trt.judge.budgets import names_device

        problems = []
        required = self.settings.require_device
        try:
            for name in sorted({self.bench.backend_name(item.stash[DECLARATION].spec) for item in items}):
                seen = self.bench.environment(name)
                if required and not names_device(required, seen.device, seen.kind, seen.mig_profile):
                    problems.append(
                        f"--trt-require-device={required}: this device is {seen.device} ({name}); run on the one that "
                        "is required, or drop the option"
                    )
        except TrtError as error:
            problems.append(str(error))
        return problems

    def trial(self, item: pytest.Item, declaration: Declaration) -> Trial:
        """The test's trial, kept where the verdict is asked for."""
        from pytest_trt.trial import Trial

        folders = (item.path.parent, Path(self.settings.rootdir))
        baselines = self.baselines
        item.stash[TRIAL] = Trial(self.bench, item.nodeid, declaration, folders, baselines)
        return item.stash[TRIAL]

    def judge(self, item: pytest.Item) -> str:
        """The text with which the test fails, empty where it does not; the result is in its stash."""
        from pytest_trt.report import failure

        trial = item.stash.get(TRIAL, None)
        if trial is None:
            return ""
        result = trial.finish()
        if result is None:
            return ""
        result = self._saved(item, result)
        item.stash[RESULT] = result
        item.user_properties.extend(_properties(result))
        self._feed_benchmark(item, result)
        return failure.text(result, self.failing)

    def error(self, item: pytest.Item, error: TrtError) -> str:
        """The text of an error that ended a test, with the line of the test where it came up; kept as a result."""
        verdict = Verdict("error", "run", "", str(error))
        trial = item.stash.get(TRIAL, None)
        measured = trial.result.measurement if trial is not None and trial.result is not None else None
        item.stash[RESULT] = Result(item.nodeid, (verdict,), measured)
        where = _line_of(error, item.path)
        return f"{type(error).__name__}: {error}" + (f"\n{where}" if where else "")

    def _saved(self, item: pytest.Item, result: Result) -> Result:
        """Store the measurement as the test's baseline where that is asked for, and keep its plan in the cache."""
        if not self.settings.baseline_save or result.measurement is None or self.baselines is None:
            return result
        saved = self.baselines.save(
            result.measurement,
            result.status,
            force=self.settings.baseline_force,
            new_only=self.settings.baseline_new_only,
        )
        if saved.what in ("created", "moved"):
            self.bench.store.pin(result.measurement.engine_digest)
        return dataclasses.replace(result, saved=saved.text)

    def _feed_benchmark(self, item: pytest.Item, result: Result) -> None:
        """Show the latencies in pytest-benchmark's table and files too, where it runs."""
        if result.measurement is None or self.worker or not _benchmark_is_on(self.config):
            return
        from pytest_trt.report.benchmark_json import feed

        feed(item._request.getfixturevalue("benchmark"), result)  # type: ignore[attr-defined]

    def build(self, item: pytest.Function) -> None:
        """Build what the test needs, and run nothing."""
        trial = item.stash.get(TRIAL, None) or self.trial(item, item.stash[DECLARATION])
        try:
            item.stash[RESULT] = trial.built()
        finally:
            trial.close()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the result that travels with a report, from this process or from a worker."""
        from pytest_trt import codec

        if not self.worker and hasattr(report, "trt_result"):
            self.results.append(codec.decode(Result, report.trt_result))

    def merge(self, output: Mapping[str, Any]) -> None:
        """Take over what a worker says at its end."""
        self.problems += [p for p in output.get("trt_problems", ()) if p not in self.problems]

    def finish(self, session: pytest.Session) -> None:
        """Write the reports; with problems in the workers, the run is a usage error."""
        if self.worker:
            return
        try:
            self.lines += self._write_reports()
        except OSError as error:
            self.problems.append(f"a report cannot be written: {error}")
        if self.problems:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def show(self, reporter: Any) -> None:
        """The table, then where reports were written and what is wrong with the run as a whole."""
        if self.results:
            writer = reporter._tw
            encoding = getattr(writer._file, "encoding", None) or "utf-8"
            verbosity = self.config.get_verbosity()
            shown = self._summary(
                width=writer.fullwidth, colour=writer.hasmarkup, verbosity=verbosity, encoding=encoding
            )
            reporter.write_line("")
            reporter.write(shown)
        for line in (*self._saved_lines(), *self.lines):
            reporter.write_line(line)
        for problem in self.problems:
            reporter.write_line(f"ERROR: {problem}", red=True)

    def _saved_lines(self) -> Iterator[str]:
        counts = collections.Counter(result.saved for result in self.results if result.saved)
        for text, count in counts.items():
            yield f"{count} of {len(self.results)}: {text} ({self.settings.baseline_dir}/{self.settings.baseline})"

    def header(self) -> Header:
        from pytest_trt.report import Header

        environments = [r.measurement.environment for r in self.results if r.measurement is not None]
        if not environments:
            return Header("nothing measured", "", self.settings.baseline, self.failing)
        return Header.of(environments[0], self.settings.baseline, self.failing)

    def _summary(self, *, width: int, colour: bool, verbosity: int, encoding: str) -> str:
        from pytest_trt.report import terminal

        return terminal.render(
            self.results, self.header(), width=width, colour=colour, verbosity=verbosity, encoding=encoding
        )

    def _write_reports(self) -> Iterator[str]:
        """Write what --trt-report asks for, and CI's summary; yields a line for each. Raises OSError as it comes."""
        from pytest_trt.report import write

        for form, path in self.settings.reports:
            target = Path(self.settings.rootdir) / path
            write(form, target, self.results, self.header())
            yield f"{form} report: {target}"
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary and self.results:
            from pytest_trt.report import markdown

            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(markdown.render(self.results, self.header()) + "\n")

    def close(self) -> None:
        if self._bench is not None:
            self._bench.close()


def _make_fail(item: pytest.Item, text: str) -> None:
    """Let the item fail as a test, without setting anything up."""

    def fail() -> None:
        pytest.fail(text, pytrace=False)

    if DECLARATION in item.stash:
        del item.stash[DECLARATION]
    item.setup, item.runtest = (lambda: None), fail  # type: ignore[method-assign]


def _overridden(item: pytest.Item, fixture: str) -> bool:
    definitions = item._fixtureinfo.name2fixturedefs.get(fixture, ())  # type: ignore[attr-defined]
    return bool(definitions) and definitions[-1].func.__module__ != "pytest_trt.fixtures"


def _benchmark_is_on(config: pytest.Config) -> bool:
    if not config.pluginmanager.hasplugin("benchmark"):
        return False
    state = getattr(config, "_benchmarksession", None)
    return state is not None and not state.skip and not state.disabled


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
