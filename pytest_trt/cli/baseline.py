"""`pytest-trt baseline`: list, show, accept, rename and prune stored baselines."""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import add_project_arguments, add_subcommand
from pytest_trt.cli.choose_tests import HELP, choose_tests
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import show, show_table
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.node_patterns import matches
from pytest_trt.core.records import Measurement, Result
from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.core.thinning import without_samples
from pytest_trt.errors import BaselineError, DeclarationError
from pytest_trt.judge.baselines import Baseline, BaselineFolder, device_slug
from pytest_trt.judge.baselines.baseline import baseline_of
from pytest_trt.judge.baselines.known_tests import KnownTests
from pytest_trt.judge.baselines.updating import Judged, Saved
from pytest_trt.judge.regression.card_levels import run_spread
from pytest_trt.judge.regression.changes import age
from pytest_trt.judge.regression.offline import RUN_SPREAD
from pytest_trt.report.header import environment_line
from pytest_trt.report.numbers import format_figure, format_percent, format_share, format_with_unit
from pytest_trt.report.result_json import RunFile

_BATCH = 200
"""How many measurements are accepted together: all samples of thousands of tests would not fit into memory."""


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser("baseline", help="list, show, accept, rename and prune baselines")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = functools.partial(add_subcommand, commands, add_project_arguments)

    listing = add("list", _list, "list the stored baselines with their age and commit")
    listing.add_argument(
        "test", nargs="?", default="*", metavar="TEXT", help="list only the tests whose id has this part or pattern"
    )

    show = add("show", _show, "show the baseline of a test on every device")
    show.add_argument("test", metavar="TEST", help=HELP)

    accept = add("accept", _accept, "make the measurements of a run the baselines of these tests")
    accept.add_argument("test", nargs="+", metavar="TEST", help=f"for each test, {HELP}")
    accept.add_argument(
        "--reason", required=True, metavar="TEXT", help="why the new cost is accepted; stored in the history"
    )
    accept.add_argument(
        "--from",
        dest="run_file",
        type=Path,
        metavar="RUN.json",
        help="a file that --trt-report=json:PATH wrote, such as a CI job's (default: the last run here)",
    )

    rename = add("rename", _rename, "give the baseline of a renamed test its new name")
    rename.add_argument("old", metavar="OLD", help="the node id that the baseline has, or any unique part of it")
    rename.add_argument("new", metavar="NEW", help="the node id that the test has now")

    prune = add("prune", _prune, "remove the baselines of tests that no longer exist")
    prune.add_argument("--yes", action="store_true", help="remove them; without this they are only listed")
    prune.add_argument(
        "pytest",
        nargs="*",
        metavar="PATH",
        help="the paths that pytest collects (default: what it collects without arguments)",
    )


def _list(args: argparse.Namespace) -> int:
    folder = Project(args.rootdir).baselines(args)
    pattern = args.test if {"*", "?"} & set(args.test) else f"*{args.test}*"
    rows: list[tuple[str, ...]] = [("test", "device", "ms", "memory MB", "commit", "age", "runs")]
    errors = []
    for entry in folder.list():
        if isinstance(entry.content, BaselineError):
            errors.append(entry.content)
        elif matches(pattern, entry.content.node_id):
            rows.append(_list_row(entry.content))
    if len(rows) > 1:
        show_table(rows)
    else:
        show(f"no baseline is stored in {folder.where}")
    for error in errors:
        show(*f"ERROR: {error}".split("\n"), error=True)
    return 1 if errors else 0


def _list_row(baseline: Baseline) -> tuple[str, ...]:
    figures = baseline.figures
    return (
        baseline.node_id,
        baseline.environment.device,
        *(format_figure(name, figures[name].value) if name in figures else "-" for name in ("ms", "memory_mb")),
        baseline.commit or "-",
        age(baseline.time),
        str(len(baseline.history)),
    )


def _show(args: argparse.Namespace) -> int:
    folder = Project(args.rootdir).baselines(args)
    for baseline in _find(folder, args.test):
        show(*_describe(baseline))
    return 0


def _find(folder: BaselineFolder, test: str) -> list[Baseline]:
    """Return the baselines of the tests that `test` names, on every device; DeclarationError if there are none."""
    readable = [entry.content for entry in folder.list() if not isinstance(entry.content, BaselineError)]
    chosen = choose_tests(
        test,
        (baseline.node_id for baseline in readable),
        f"{folder.where} has no baseline of",
        "run pytest-trt baseline list to see all",
    )
    return [baseline for baseline in readable if baseline.node_id in chosen]


def _describe(baseline: Baseline) -> Iterator[str]:
    yield baseline.node_id
    yield f"  {environment_line(baseline.environment)}"
    yield f"  measured {baseline.time} ({age(baseline.time)}), plan {baseline.plan_sha256[:12]}"
    yield "  " + ", ".join(f"{name}={value}" for name, value in sorted(baseline.spec.items()))
    for name in (name for name in FIGURES if name in baseline.figures):
        estimate = baseline.figures[name]
        interval = f" [{format_figure(name, estimate.low)}, {format_figure(name, estimate.high)}]"
        value = format_with_unit(name, estimate.value)
        yield f"  {FIGURES[name].title:<30} {value}{interval if estimate.low < estimate.high else ''}"
    if baseline.history:
        spread = format_share(run_spread(baseline, "ms", RUN_SPREAD[baseline.environment.kind]))
        yield f"  two runs are assumed to differ by up to {spread}; the last {len(baseline.history)}:"
    for run in baseline.history:
        moved = f"   reference{': ' + run.reason if run.reason else ''}" if run.moved else ""
        value = format_with_unit("ms", run.figures["ms"]) if "ms" in run.figures else "-"
        judged = f"   judged {format_percent(run.ratios['ms'])} %" if "ms" in run.ratios else ""
        yield f"    {run.time}   {run.commit or '-':<14} {value}{judged}{moved}"


def _accept(args: argparse.Namespace) -> int:
    if not args.reason.strip():
        raise DeclarationError("--reason is empty: say why the new cost is accepted")
    project = Project(args.rootdir)
    run = project.results(args.run_file)
    chosen = _choose(run, args.test)
    folder = project.baselines(args)
    devices = {r.measurement.environment.device for r in chosen.values() if r.measurement is not None}
    accepted, refused = {}, []
    for number, result in chosen.items():
        if result.measurement is None or result.status in ("error", "invalid", "inaccurate"):
            refused.append(f"{result.node_id}: not accepted: it is {result.status}, so its figures cannot be used")
        else:
            _check(result.measurement)
            device = f" on {result.measurement.environment.device}" if len(devices) > 1 else ""
            accepted[number] = f"{result.node_id}{device}"
    measured = (
        Judged(r.measurement, verdicts=r.verdicts)
        for number, r in enumerate(run)
        if number in accepted and r.measurement is not None
    )
    saved: list[Saved] = []
    while batch := list(itertools.islice(measured, _BATCH)):
        saved += folder.accept(batch, args.reason)
    for label, text in sorted(zip(accepted.values(), (one.text for one in saved), strict=True)):
        show(f"{label}: {text}")
    for line in sorted(refused):
        show(line, error=True)
    return 1 if refused else 0


def _check(measurement: Measurement) -> None:
    """Raise DeclarationError if the measurement cannot become a baseline. Nothing is accepted then."""
    try:
        baseline_of(measurement)
    except ValueError as error:
        raise DeclarationError(f"the run cannot become a baseline: {error}: use the file as pytest wrote it") from error


def _choose(run: RunFile, tests: Sequence[str]) -> dict[int, Result]:
    """Return the results of the tests that `tests` name, without samples, by their number in the run.

    Of several results of a test on one device, the last one counts. Raise DeclarationError if one of `tests` names
    none.
    """
    results = list(map(without_samples, run))
    known = list(dict.fromkeys(result.node_id for result in results))
    more = f" and {len(known) - 2} more" if len(known) > 2 else ""
    hint = f"it has {', '.join(known[:2]) or 'none'}{more}; name another run with --from"
    named = frozenset().union(*(choose_tests(test, known, "the run has no test", hint) for test in tests))
    last: dict[tuple[str, str], int] = {}
    for number, result in enumerate(results):
        if result.node_id in named:
            device = device_slug(result.measurement.environment) if result.measurement is not None else ""
            last[device, result.node_id] = number
    return {number: results[number] for number in sorted(last.values())}


def _rename(args: argparse.Namespace) -> int:
    folder = Project(args.rootdir).baselines(args)
    old = _find(folder, args.old)[0].node_id
    for path in folder.rename(old, args.new):
        show(f"{args.new}: has the baseline of {old} now ({path})")
    return 0


def _prune(args: argparse.Namespace) -> int:
    project = Project(args.rootdir)
    folder = project.baselines(args)
    known = _collect(project.folder, args.pytest)
    paths = folder.prune(known.is_gone, dry_run=not args.yes)
    for path in paths:
        show(f"{'removed' if args.yes else 'would be removed'}: {path}")
    if not paths:
        show("nothing to remove: the test of every baseline exists, or may exist in a file that was not collected")
    elif not args.yes:
        show(f"{len(paths)} in all: add --yes to remove them")
    return 0


def _collect(folder: Path, arguments: Sequence[str]) -> KnownTests:
    """Return what pytest collects in `folder`, deselected tests included.

    Raises:
        DeclarationError: pytest fails to collect a test, or finds none. Missing tests are then no reason to remove
            their baselines. The message has pytest's output.
    """
    with ScratchFolder("collection") as scratch:
        listed = scratch / "collected.json"
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "pytest_trt.plugin.collect_node_ids"]
        environment = {**os.environ, "PYTEST_TRT_COLLECTED": str(listed)}
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not listed.exists():
            output = (done.stdout + done.stderr).strip().splitlines()[-20:]
            raise DeclarationError(f"pytest cannot collect every test in {folder}, so no baseline is removed:", *output)
        found = json.loads(listed.read_text(encoding="utf-8"))
        return KnownTests(frozenset(found["node_ids"]), frozenset(found["files"]), Path(found["rootdir"]))
