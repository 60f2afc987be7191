"""The end of a run: reports in files, and the table on the terminal."""

from __future__ import annotations

import collections
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_trt.core.foreign_text import escape
from pytest_trt.core.records import Environment, Result
from pytest_trt.engine.cache.folder import cache_folder
from pytest_trt.errors import CacheError
from pytest_trt.judge.suite import doubtful_failures
from pytest_trt.report import builds, console, markdown, terminal
from pytest_trt.report import selftest as selftest_report
from pytest_trt.report.header import Header, RunHead
from pytest_trt.report.stored_results import summaries
from pytest_trt.report.write import write
from pytest_trt.spec.settings import Settings
from pytest_trt.trial import selftest
from pytest_trt.trial.against.revision import Worktree


def write_reports(
    results: Sequence[Result],
    settings: Settings,
    worktree: Worktree | None,
    run: RunHead,
    findings: Sequence[str] = (),
) -> tuple[list[str], list[OSError]]:
    """Write the reports of --trt-report, and GitHub's step summary. A report that cannot be written stops no other.

    Returns:
        A line for each report that was written, and the error of each that could not be.
    """
    header, lines, errors = _header(results, settings, worktree, run, findings), [], []
    for form, path in settings.reports:
        target = Path(settings.rootdir) / path
        try:
            write(form, target, results, header)
        except OSError as error:
            errors.append(error)
        else:
            lines.append(f"{form} report: {target}")
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary and results:
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(markdown.render(results, header) + "\n")
        except OSError as error:
            errors.append(error)
    return lines, errors


def show_results(
    reporter: Any,
    results: Sequence[Result],
    settings: Settings,
    worktree: Worktree | None,
    run: RunHead,
    findings: Sequence[str] = (),
) -> None:
    """Write the table to pytest's terminal reporter, and a line for each outcome of saving."""
    if results:
        writer, header = reporter._tw, _header(results, settings, worktree, run, findings)
        width = writer.fullwidth if reporter.isatty else console.PIPED_WIDTH
        if settings.build_only:
            shown = builds.render(summaries(results), width=width)
        else:
            shown = terminal.render(
                results,
                header,
                width=width,
                colour=writer.hasmarkup,
                verbosity=reporter.config.get_verbosity(),
                encoding=getattr(writer._file, "encoding", None) or "utf-8",
            )
        reporter.write_line("")
        reporter.write(shown)
    for text, count in collections.Counter(result.saved for result in summaries(results) if result.saved).items():
        reporter.write_line(escape(f"{count} of {len(results)}: {text} ({settings.baseline_dir}/{settings.baseline})"))


def _header(
    results: Sequence[Result],
    settings: Settings,
    worktree: Worktree | None,
    run: RunHead,
    findings: Sequence[str],
) -> Header:
    baseline, commit = (settings.baseline, "") if worktree is None else (worktree.name, worktree.short)
    known = summaries(results)
    seen = next((result.measurement.environment for result in known if result.measurement is not None), None)
    return Header.from_results(
        known,
        baseline,
        failing=settings.failing,
        commit=commit,
        run=run,
        selftest=_selftest(settings, seen) if seen is not None else "",
        doubtful=doubtful_failures(known),
        run_file=next((path for form, path in settings.reports if form == "json"), ""),
        findings=tuple(findings),
    )


def _selftest(settings: Settings, environment: Environment) -> str:
    """Return what the last self-test of the device caught, in one line; empty if there was none."""
    if settings.no_cache:
        return ""
    try:
        record = selftest.load(cache_folder(settings), environment)
    except CacheError as error:
        return str(error)
    return selftest_report.headline(record) if record is not None else ""
