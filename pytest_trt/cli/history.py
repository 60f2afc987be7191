"""`pytest-trt history TEST`: a figure over commits, with its changes of level marked."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_trt.cli.arguments import add_project_arguments
from pytest_trt.cli.project import Project
from pytest_trt.core.figures import FIGURES
from pytest_trt.errors import BaselineError, DeclarationError

if TYPE_CHECKING:
    from pytest_trt.judge.baselines.baseline import Run
    from pytest_trt.report.history import Point


def add_command(subparsers: Any) -> None:
    about = "draw a test's figure over commits"
    parser = subparsers.add_parser("history", help=about, description=about)
    parser.add_argument("test", metavar="TEST", help="its node id, or a pattern with * and ?")
    parser.add_argument("--figure", choices=tuple(FIGURES), default="ms")
    parser.add_argument("--no-git", action="store_true", help="only the runs that the baseline remembers itself")
    add_project_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from pytest_trt.core.node_patterns import matches
    from pytest_trt.judge.baselines.history import runs_in_git
    from pytest_trt.report.header import device_name
    from pytest_trt.report.history import draw

    folder = Project(args.rootdir).baselines(args)
    drawn = 0
    for entry in folder.list():
        baseline = entry.content
        if isinstance(baseline, BaselineError) or not matches(args.test, baseline.node_id):
            continue
        runs = {found.time: found for found in baseline.history}
        if not args.no_git:
            runs = {**{found.time: found for found in runs_in_git(folder, entry.path)}, **runs}
        points = _points([runs[time] for time in sorted(runs)], args.figure)
        print(f"{baseline.node_id}, {device_name(baseline.environment)}")
        width = shutil.get_terminal_size().columns
        print(draw(points, args.figure, width=width, encoding=sys.stdout.encoding or "utf-8"))
        drawn += 1
    if not drawn:
        raise DeclarationError(f"{folder.where} has no baseline of {args.test!r}: pytest-trt baseline list shows all")
    return 0


def _points(runs: Sequence[Run], figure: str) -> list[Point]:
    from pytest_trt.judge.regression.change_points import LONGEST, change_points
    from pytest_trt.report.history import Point

    known = [run for run in runs if run.figures.get(figure, 0.0) > 0][-LONGEST:]
    changes = set(change_points([run.figures[figure] for run in known]))
    return [
        Point(run.commit or "no commit", run.time, run.figures[figure], index in changes, run.moved)
        for index, run in enumerate(known)
    ]
