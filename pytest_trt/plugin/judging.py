"""Turn the end of a test's body into the test's result, and into the text of its failure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_trt.core.foreign_text import escape, escape_lines
from pytest_trt.core.records import Result, Verdict
from pytest_trt.errors import BackendError, ProbeError, TrtError
from pytest_trt.judge.regression.fleet import without_pending
from pytest_trt.plugin import pytest_benchmark, unittest_cases
from pytest_trt.plugin.baseline_source import BaselineSource
from pytest_trt.plugin.options import plugin_markers
from pytest_trt.plugin.stash import COUNTED_MARKERS, DECLARATION, RESULT, STORED, TRIAL
from pytest_trt.report import failure
from pytest_trt.spec.settings import Settings
from pytest_trt.trial import save_baseline
from pytest_trt.trial.missing_measurement import missing_measurement

if TYPE_CHECKING:
    from pytest_trt.trial.bench import Bench
    from pytest_trt.trial.trial import Trial

_NO_RUNNER = (
    "a baseline is stored, but the test does not request trt_runner, so it measured nothing: request it and call its "
    "measure(), or remove the baseline with pytest-trt baseline prune"
)


class ItemJudge:
    """Judges the tests of a run after their bodies.

    Args:
        settings: The settings of the run.
        bench: The resources of the run.
        source: What tests are compared with.
        warnings: The warnings of the run, to which a lost GPU is added.
    """

    def __init__(self, settings: Settings, bench: Bench, source: BaselineSource, warnings: list[str]) -> None:
        self._settings, self._bench, self._source = settings, bench, source
        self._warnings = warnings

    def judge(self, item: pytest.Item) -> str:
        """Store the test's result in its stash.

        Returns:
            The text with which the test fails; empty if it does not.
        """
        if RESULT in item.stash:
            return ""
        trial = item.stash.get(TRIAL, None)
        if late := _late_markers(item):
            result: Result | None = Result(item.nodeid, (Verdict("error", "run", "", late),))
        elif trial is not None:
            result = trial.finish() or self._unused(item, trial)
        else:
            result = self._result_without_trial(item)
        if result is None:
            return ""
        if self._settings.disabled:
            result = dataclasses.replace(result, measurement=None)
        item.stash[RESULT] = result
        item.user_properties.extend(_properties(result))
        pytest_benchmark.add_latencies(item, result)
        return failure.text(without_pending(result), self._settings.failing, stored=self._source.revision is None)

    def judge_missing(self, item: pytest.Item, reason: str) -> str:
        """Store the verdict `missing` for a test that cannot run here; return the text of its failure, if it fails."""
        result = item.stash[RESULT] = Result(item.nodeid, (Verdict("missing", "run", "", reason),))
        return failure.text(result, self._settings.failing, stored=self._source.revision is None)

    def judge_after_error(self, item: pytest.Item, error: BaseException) -> str:
        """Judge a test that `error` ended after it had measured.

        A skip does not hide a verdict. A test that fails with its own error keeps that error, and the verdict is shown
        in a section of the report.

        Returns:
            The text with which the test fails instead of `error`; empty if the test ends with `error`.

        Raises:
            TrtError: `error` is one.
        """
        if isinstance(error, TrtError):
            raise error
        trial = item.stash.get(TRIAL, None)
        if trial is None or trial.result is None or isinstance(error, (KeyboardInterrupt, pytest.exit.Exception)):
            return ""
        try:
            text = self.judge(item)
        except TrtError as judging_error:
            text = self.error_text(item, judging_error)
        if text and not unittest_cases.is_overridden(item, error):
            item.add_report_section("call", "trt", escape_lines(text))
            return ""
        return text

    def save(self, item: pytest.Item, *, failed: bool) -> str:
        """Save the measurement of a test that has ended, if the settings request it.

        Args:
            item: The test.
            failed: Whether the test was skipped, or failed for another reason than a verdict of this plugin.

        Returns:
            A sentence that says what was saved; empty if the settings request no saving.
        """
        result, baselines = item.stash[RESULT], self._source.baselines
        if baselines is None or not self._settings.baseline_save or result.measurement is None:
            return ""
        if failed:
            return "not saved: the test was skipped, or failed by itself"
        engines = self._bench.host(result.measurement.environment).engines
        return save_baseline.save_measurement(result, baselines, self._settings, engines).saved

    def _unused(self, item: pytest.Item, trial: Trial) -> Result | None:
        """Warn about a test that has a runner and never runs the engine; return an error with --trt-strict.

        Nothing else requires this test to measure. A test that infers may check the outputs by itself.
        """
        requested = "trt_runner" in item._fixtureinfo.argnames  # type: ignore[attr-defined]
        if self._settings.disabled or trial.serves_inferences or not requested:
            return None
        text = "the test requests trt_runner but never calls its measure(): nothing is judged"
        if self._settings.strict:
            return Result(item.nodeid, (Verdict("error", "run", "", f"{text} (--trt-strict)"),))
        self._warnings.append(f"{item.nodeid}: {text}")
        return None

    def _result_without_trial(self, item: pytest.Item) -> Result | None:
        """Return the result of a test that never had a runner of ours; None if nothing requires a measurement."""
        if STORED in item.stash:
            text = _NO_RUNNER
        elif self._settings.disabled:
            return None
        else:
            stored = self._source.has_baseline(item.nodeid)
            text = missing_measurement(item.stash.get(DECLARATION, None), stored=stored)
        return Result(item.nodeid, (Verdict("error", "run", "", text),)) if text else None

    def error_text(self, item: pytest.Item, error: TrtError) -> str:
        """Record the error that ended the test as its result.

        Returns:
            The text with which the test fails: the error, whether the GPU was lost, the line of the test.
        """
        trial = item.stash.get(TRIAL, None)
        known = trial.result if trial is not None and trial.result is not None else Result(item.nodeid, ())
        verdict = Verdict("error", "run", "", str(error))
        item.stash[RESULT] = Result(item.nodeid, (verdict, *known.verdicts), known.measurement)
        lost = ""
        if trial is not None and isinstance(error, (BackendError, ProbeError)):
            lost = self._bench.lost_device(trial.backend, item.nodeid)
            self._warnings += [lost] if lost else []
        parts = (f"{type(error).__name__}: {error}", lost, _line_of(error, item.path))
        return "\n".join(filter(None, parts))


def _late_markers(item: pytest.Item) -> str:
    """Return what is wrong if the test got markers after it was declared, which have no effect; empty otherwise."""
    if DECLARATION not in item.stash:
        return ""
    counted = item.stash[COUNTED_MARKERS]
    late = sorted({mark.name for mark in plugin_markers(item) if mark not in counted})
    if not late:
        return ""
    return (
        f"{', '.join(late)} was added after the collection, by a fixture or a hook, and had no effect: put it on the "
        "test, its class or its module"
    )


def _properties(result: Result) -> Iterator[tuple[str, object]]:
    """Yield the names and values that JUnit reports show of a result."""
    yield "trt_verdict", result.status
    judged = [f"{verdict.figure} {verdict.status}" for verdict in result.verdicts if verdict.figure]
    if judged:
        yield "trt_verdicts", ", ".join(judged)
    if result.measurement is not None:
        yield "trt_device", escape(result.measurement.environment.device)
        for name, estimate in result.measurement.figures.items():
            yield f"trt_{name}", f"{estimate.value:.6g}"


def _line_of(error: BaseException, path: Path) -> str:
    """Return the last line of the test's file that the error passed through."""
    trace, line = error.__traceback__, ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = f"{path.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return line
