"""`pytest-trt site OUT`: write static pages about all tests over time, for GitHub or GitLab Pages."""

from __future__ import annotations

import argparse
import gc
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import add_project_arguments
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import show, show_progress
from pytest_trt.errors import DeclarationError
from pytest_trt.report.numbers import format_count
from pytest_trt.trial.suite_history import SuiteHistory

_DESCRIPTION = """Write static pages about all tests over time: the trend of every figure on every device, what got
worse, what was accepted and why, the headroom of budgets, and what engines cost. They are read from the project's
baselines and the versions of their files in git, and from the JSON of runs."""
_EPILOG = """Exit status: 0, 1 if a file could not be read (the site has the others), 2 for a usage error."""


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser(
        "site", help="write static pages about all tests over time", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("out", metavar="OUT", type=Path, help="a new or empty folder, or an earlier site to replace")
    parser.add_argument(
        "--from",
        dest="runs",
        action="append",
        type=Path,
        default=[],
        metavar="PATH",
        help="a file of --trt-report=json:PATH, or a folder with such files at any depth; may be repeated",
    )
    parser.add_argument("--branch", metavar="NAME", help="of the files in --from, use only the runs of this branch")
    add_project_arguments(parser)
    parser.add_argument(
        "--no-baselines", action="store_true", help="use only the files in --from, and no baselines of the project"
    )
    parser.add_argument("--no-git", action="store_true", help="use only the last runs in each baseline")
    parser.add_argument(
        "--days", type=_days, default=30, metavar="N", help="how many days back changes are recent (default: 30)"
    )
    parser.add_argument("--title", metavar="TEXT", help="the title (default: the name of the project's folder)")
    parser.set_defaults(run=_run)


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 3660:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number from 1 to 3660")
    return int(text)


def _run(args: argparse.Namespace) -> int:
    missing = [name for name in ("jinja2", "plotly") if importlib.util.find_spec(name) is None]
    if missing:
        raise DeclarationError(f"a site needs {' and '.join(missing)}: pip install 'pytest-trt[report]'")
    if args.branch is not None and not args.runs:
        raise DeclarationError("--branch chooses among the files in --from: name some")
    if args.no_baselines and not args.runs:
        raise DeclarationError("--no-baselines leaves nothing to show: name files with --from")
    from pytest_trt.report.html.site import write_site

    project = Project(args.rootdir)
    history, sources = SuiteHistory(), []
    if not args.no_baselines:
        show_progress("reading baselines")
        folder = project.baselines(args)
        history.add_baselines(folder, with_git=not args.no_git)
        sources.append(f"the baselines {folder.name}" + ("" if args.no_git else " and their versions in git"))
    files = list(_files(args.runs))
    if args.runs:
        sources.append(format_count(len(files), "file") + (f" of branch {args.branch}" if args.branch else ""))
    for number, file in enumerate(files, 1):
        show_progress(f"reading {file.name}, {number} of {len(files)}")
        history.add_file(file, args.branch, named=file in args.runs)
    for error in history.errors:
        show(*f"ERROR: {error}".split("\n"), error=True)
    if not len(history):
        raise DeclarationError(f"there is no run to show in {' and '.join(sources)}: run the tests, or name files")
    show_progress("writing pages")
    gc.freeze()  # The runs remain until the end: the collector would search all of them again every few pages.
    title = args.title or project.folder.resolve().name
    pages = write_site(args.out, history, history.last_time, sources, title=title, days=args.days)
    show_progress("")
    show(f"wrote {args.out / 'index.html'}, with {format_count(pages, 'test')}")
    return 1 if history.errors else 0


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files of runs: those that are named, and all .json files below the folders."""
    for path in paths:
        if path.is_dir():
            yield from sorted(path.rglob("*.json"))
        elif path.exists():
            yield path
        else:
            raise DeclarationError(f"--from: there is no {str(path)!r}: name a file or a folder")
