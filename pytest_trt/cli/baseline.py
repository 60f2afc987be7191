"""`pytest-trt baseline`: see what is stored, accept a change on purpose, follow a renamed test, remove what is gone."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.cli.arguments import add_project_arguments
from pytest_trt.cli.project import Project
from pytest_trt.errors import BaselineError, DeclarationError

if TYPE_CHECKING:
    from pytest_trt.core.records import Result
    from pytest_trt.judge.baselines import BaselineFolder
    from pytest_trt.judge.baselines.baseline import Baseline


def add_command(subparsers: Any) -> None:
    parser = subparsers.add_parser("baseline", help="list, show, accept, rename and prune baselines")
    commands = parser.add_subparsers(metavar="WHAT", required=True)

    listing = _command(commands, "list", _list, "every stored baseline with its age and commit")
    listing.add_argument("test", nargs="?", default="*", metavar="GLOB", help="only these tests")

    show = _command(commands, "show", _show, "one test's baseline, on every device")
    show.add_argument("test", metavar="TEST", help="its node id, or a pattern with * and ?")

    accept = _command(commands, "accept", _accept, "make what was measured the baseline, on purpose")
    accept.add_argument("test", nargs="+", metavar="TEST", help="node ids, or patterns with * and ?")
    accept.add_argument("--reason", required=True, help="why it may cost what it costs now; kept in the history")
    accept.add_argument(
        "--from", dest="run_file", type=Path, metavar="RUN.json",
        help="a run that --trt-report=json:PATH wrote, such as a CI job's (the last run here)",
    )  # fmt: skip

    rename = _command(commands, "rename", _rename, "let a renamed test keep its baseline")
    rename.add_argument("old", metavar="OLD")
    rename.add_argument("new", metavar="NEW")

    prune = _command(commands, "prune", _prune, "remove the baselines of tests that are no longer there")
    prune.add_argument("--yes", action="store_true", help="remove them; without this, only say which they are")
    prune.add_argument("pytest", nargs="*", metavar="PATH", help="what pytest collects (all that it would)")


def _command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    add_project_arguments(parser)
    parser.set_defaults(run=run)
    return parser


def _list(args: argparse.Namespace) -> int:
    from pytest_trt.core.node_patterns import matches
    from pytest_trt.judge.regression.changes import age
    from pytest_trt.report.numbers import format_figure

    folder = Project(args.rootdir).baselines(args)
    rows: list[tuple[str, ...]] = [("test", "device", "ms", "memory MB", "commit", "age", "runs")]
    faults = []
    for entry in folder.list():
        found = entry.content
        if isinstance(found, BaselineError):
            faults.append(str(found))
        elif matches(args.test, found.node_id):
            values = [
                format_figure(f, found.figures[f].value) if f in found.figures else "-" for f in ("ms", "memory_mb")
            ]
            runs = str(len(found.history))
            rows.append((found.node_id, found.environment.device, *values, found.commit or "-", age(found.time), runs))
    for line in _columns(rows) if len(rows) > 1 else (f"no baseline is stored in {folder.where}",):
        print(line)
    for fault in faults:
        print(f"ERROR: {fault}", file=sys.stderr)
    return 1 if faults else 0


def _show(args: argparse.Namespace) -> int:
    folder = Project(args.rootdir).baselines(args)
    for baseline in _found(folder, args.test):
        print("\n".join(_described(baseline)))
    return 0


def _found(folder: BaselineFolder, test: str) -> list[Baseline]:
    """The baselines whose test matches. Raises DeclarationError, with the nearest that there are, where none does."""
    from pytest_trt.core.node_patterns import matches

    there = [entry.content for entry in folder.list() if not isinstance(entry.content, BaselineError)]
    found = [baseline for baseline in there if matches(test, baseline.node_id)]
    if not found:
        near = _nearest(test, [baseline.node_id for baseline in there], ": pytest-trt baseline list shows all")
        raise DeclarationError(f"{folder.where} has no baseline of {test!r}{near}")
    return found


def _nearest(test: str, node_ids: Sequence[str], otherwise: str) -> str:
    import difflib

    near = difflib.get_close_matches(test, list(dict.fromkeys(node_ids)), 3, 0.5)
    return ": did you mean " + " or ".join(map(repr, near)) + "?" if near else otherwise


def _described(baseline: Baseline) -> Iterator[str]:
    from pytest_trt.core.figures import FIGURES
    from pytest_trt.judge.regression.changes import age
    from pytest_trt.judge.regression.offline import RUN_SPREAD
    from pytest_trt.judge.regression.stored import run_spread
    from pytest_trt.report.header import environment_line
    from pytest_trt.report.numbers import format_figure, format_share, format_with_unit

    yield baseline.node_id
    yield f"  {environment_line(baseline.environment)}"
    yield f"  measured {baseline.time} ({age(baseline.time)}), plan {baseline.plan_sha256[:12]}"
    yield "  " + ", ".join(f"{name}={value}" for name, value in sorted(baseline.spec.items()))
    for name in (name for name in FIGURES if name in baseline.figures):
        estimate = baseline.figures[name]
        ends = (
            f" [{format_figure(name, estimate.low)}, {format_figure(name, estimate.high)}]"
            if estimate.low < estimate.high
            else ""
        )
        yield f"  {FIGURES[name].title:<30} {format_with_unit(name, estimate.value)}{ends}"
    if baseline.history:
        differ = format_share(run_spread(baseline, "ms", RUN_SPREAD[baseline.environment.kind]))
        yield f"  runs are taken to differ by up to {differ}; the last {len(baseline.history)}:"
    for run in baseline.history:
        moved = f"   reference{': ' + run.reason if run.reason else ''}" if run.moved else ""
        value = format_with_unit("ms", run.figures["ms"]) if "ms" in run.figures else "-"
        yield f"    {run.time}   {run.commit or '-':<14} {value}{moved}"


def _accept(args: argparse.Namespace) -> int:
    from pytest_trt.core.node_patterns import matches

    if not args.reason.strip():
        raise DeclarationError("--reason is empty: say why it may cost what it costs now")
    project = Project(args.rootdir)
    results = project.results(args.run_file)
    chosen: dict[str, Result] = {}
    for test in args.test:
        found = {r.node_id: r for r in results if matches(test, r.node_id)}
        if not found:
            known = list(dict.fromkeys(r.node_id for r in results))
            has = ", ".join(known[:2]) + (f" and {len(known) - 2} more" if len(known) > 2 else "")
            near = _nearest(test, known, f": it has {has or 'none'}; --from names another run")
            raise DeclarationError(f"the run has no test {test!r}{near}")
        chosen.update(found)
    folder = project.baselines(args)
    good, refused = [], []
    for node_id, result in sorted(chosen.items()):
        if result.measurement is None or result.status in ("error", "invalid", "inaccurate"):
            refused.append(f"{node_id}: not accepted: it is {result.status}, so that its figures mean nothing")
        else:
            good.append(result.measurement)
    try:
        saved = folder.accept(good, args.reason)
    except ValueError as error:
        raise DeclarationError(f"the run was not written as it is: {error}") from error
    for measurement, what in zip(good, saved, strict=True):
        print(f"{measurement.node_id}: {what.text}")
    for line in refused:
        print(line, file=sys.stderr)
    return 1 if refused else 0


def _rename(args: argparse.Namespace) -> int:
    folder = Project(args.rootdir).baselines(args)
    for path in folder.rename(args.old, args.new):
        print(f"{args.new}: has the baseline of {args.old} now ({path})")
    return 0


def _prune(args: argparse.Namespace) -> int:
    project = Project(args.rootdir)
    folder = project.baselines(args)
    gone = folder.prune(collect_node_ids(project.folder, args.pytest), dry_run=not args.yes)
    for path in gone:
        print(f"{'removed' if args.yes else 'would be removed'}: {path}")
    if not gone:
        print("nothing to remove: every baseline's test is there")
    elif not args.yes:
        print(f"{len(gone)} in all; --yes removes them")
    return 0


def collect_node_ids(folder: Path, arguments: Sequence[str]) -> frozenset[str]:
    """The node ids that pytest collects there, deselected ones too. Raises DeclarationError, with pytest's own words,
    where it does not collect everything or finds nothing: that is no reason to remove anything."""
    with tempfile.TemporaryDirectory() as scratch:
        listed = Path(scratch) / "collected"
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "pytest_trt.plugin.collect_node_ids"]
        environment = {**os.environ, "PYTEST_TRT_COLLECTED": str(listed)}
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider", *arguments],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode or not listed.exists():
            said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
            raise DeclarationError(f"pytest does not collect everything in {folder}, so nothing is removed:\n{said}")
        return frozenset(listed.read_text(encoding="utf-8").split("\0")[:-1])


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
