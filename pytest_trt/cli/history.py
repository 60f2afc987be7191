"""`pytest-trt history TEST`: draw a figure over commits, and mark where its level changes."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from pytest_trt.cli.arguments import add_project_arguments
from pytest_trt.cli.choose_tests import HELP, choose_tests
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import output_width, show, show_report
from pytest_trt.core.figures import FIGURES
from pytest_trt.errors import BaselineError
from pytest_trt.judge.baselines.history import runs_in_git
from pytest_trt.judge.regression.trend import trend
from pytest_trt.report.header import device_name
from pytest_trt.report.history import draw

_DESCRIPTION = """Draw a figure of a test over commits, on every device, from the history in its baseline and from the
versions of that file in git. Level changes are marked."""


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser("history", help="draw a figure of a test over commits", description=_DESCRIPTION)
    parser.add_argument("test", metavar="TEST", help=HELP)
    parser.add_argument(
        "--figure",
        choices=tuple(FIGURES),
        default="ms",
        metavar="NAME",
        help=f"the figure to draw (default: ms); one of {', '.join(FIGURES)}",
    )
    parser.add_argument("--no-git", action="store_true", help="use only the history in the baseline itself")
    add_project_arguments(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    folder = Project(args.rootdir).baselines(args)
    stored = [(entry.path, entry.content) for entry in folder.list() if not isinstance(entry.content, BaselineError)]
    chosen = choose_tests(
        args.test,
        (baseline.node_id for _, baseline in stored),
        f"{folder.where} has no baseline of",
        "run pytest-trt baseline list to see all",
    )
    stored = [(path, baseline) for path, baseline in stored if baseline.node_id in chosen]
    committed = {} if args.no_git else runs_in_git(folder, [path for path, _ in stored])
    for path, baseline in stored:
        runs = {one.run.time: one.run for one in committed.get(path, ())}
        runs |= {run.time: run for run in baseline.history}
        points = trend([runs[time] for time in sorted(runs)], args.figure)
        show(f"{baseline.node_id}, {device_name(baseline.environment)}")
        show_report(draw(points, args.figure, width=output_width(), encoding=sys.stdout.encoding or "utf-8") + "\n")
    return 0
