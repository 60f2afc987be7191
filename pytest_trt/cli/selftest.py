"""`pytest-trt selftest MODEL`: slow an engine down by known times, and report what would have been caught."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import (
    add_precision_argument,
    add_run_arguments,
    add_time_arguments,
    parse_precision,
    run_options,
    time_options,
)
from pytest_trt.cli.exit_status import FAILED, UNDECIDED
from pytest_trt.cli.input_arguments import add_input_arguments, input_fields, run_shape
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import show, show_progress
from pytest_trt.core.records import Result
from pytest_trt.core.selftest_record import SelftestRecord
from pytest_trt.core.thinning import without_samples
from pytest_trt.core.validation import parse_share
from pytest_trt.errors import DeclarationError
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.judge.suite import reason_unable_to_fail
from pytest_trt.report import selftest as report
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.trial import selftest
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case
from pytest_trt.trial.measuring import MeasuringDevice

_DESCRIPTION = """Compare MODEL with itself, and with itself slowed down by known times, as a test would. Report what
this device and these settings catch, and which tests of the last run cannot fail. Later runs show the result in their
header."""
_EPILOG = """Exit status: 0 if every slowdown beyond the tolerance was caught, 1 for a false alarm or a wrong direction,
2 for a usage error, 125 if a slowdown beyond the tolerance was missed."""

DEFAULT_COMPARISONS = 6
MOST_COMPARISONS = 1000
MOST_FACTOR = 100.0

AT_TOLERANCE = 0.2
"""No default slowdown lies nearer to the tolerance than this share of it. Such a slowdown is never decided, so each of
its comparisons would take the longest time."""


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser(
        "selftest", help="check what this device and these settings catch", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("model", metavar="MODEL", help="an .onnx model or a plan")
    parser.add_argument(
        "--slowdown",
        action="append",
        default=[],
        metavar="P|xF",
        help="a slowdown, such as 3%% or x1.5; may be repeated (default: 1%%, 5%%, twice the tolerance, and x2, "
        "but none at the tolerance)",
    )
    parser.add_argument(
        "--comparisons",
        type=int,
        default=DEFAULT_COMPARISONS,
        metavar="N",
        help=f"the comparisons of each slowdown, and of the engine with itself (default: {DEFAULT_COMPARISONS})",
    )
    parser.add_argument(
        "--max-slowdown", metavar="P", help="how much slower an engine may be (default: the ini setting, or 5%%)"
    )
    parser.add_argument(
        "--from", dest="run_file", type=Path, metavar="RUN.json", help="a run's JSON report (default: the last run)"
    )
    add_precision_argument(parser, "fp32")
    parser.add_argument("--backend", metavar="NAME", help="the backend (default: the ini setting, or auto)")
    add_time_arguments(parser)
    add_run_arguments(parser)
    add_input_arguments(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    if not 2 <= args.comparisons <= MOST_COMPARISONS:
        raise DeclarationError(f"--comparisons is {args.comparisons}: give a number from 2 to {MOST_COMPARISONS}")
    project = Project(args.rootdir)
    flags = {"backend": ("--backend", args.backend), "max_slowdown": ("--max-slowdown", args.max_slowdown)}
    settings = project.settings({**flags, **run_options(args), **time_options(args)})
    slowdowns = read_slowdowns(args.slowdown, settings.max_slowdown)
    results = _last_results(project, args.run_file)
    unable = [(result.node_id, reason_unable_to_fail(result, settings.failing)) for result in results]
    spec = EngineSpec(path=args.model, precision=parse_precision(args.precision), **input_fields(args))
    declaration = Declaration(spec=spec, run=run_shape(args))
    with Bench(settings, show_progress) as bench, Case(bench, "selftest", declaration, [Path.cwd()]) as case:
        engine, environment = case.engine, case.environment
        device = MeasuringDevice(bench, environment)
        question = RegressionQuestion(
            tolerance=settings.max_slowdown,
            spread=device.spread.share,
            open_order_effect=device.spread.open_order_effect,
        )
        test = selftest.Selftest(
            device,
            bench.server(case.backend, case.environment),
            case.subject(engine),
            question,
            comparisons=args.comparisons,
            report=show,
        )
        with device.exclusively():
            same = test.same()
            counts = tuple(test.slowed(share) for share in slowdowns)
        record = SelftestRecord(
            device=environment.device,
            model=Path(args.model).name,
            time=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            tolerance=settings.max_slowdown,
            max_time_s=settings.max_time_s,
            same=args.comparisons,
            false_alarms=same["regressed"] + same["improved"],
            same_inconclusive=same["inconclusive"],
            slowdowns=counts,
            tests=len(results),
            unable=tuple((name, reason) for name, reason in unable if reason),
        )
        path = selftest.save(bench.store.folder, environment, record)
    show(*report.lines(record), *device.spread.advice())
    show(f"later runs on this device show this in their header ({path})")
    return _status(record)


def read_slowdowns(texts: list[str], tolerance: float) -> tuple[float, ...]:
    """Return the slowdowns as shares, in ascending order.

    Raises:
        DeclarationError: One of them is no slowdown.
    """
    if not texts:
        defaults = {0.01, 0.05, 2 * tolerance or 0.1, 1.0}
        return tuple(sorted(share for share in defaults if abs(share - tolerance) > AT_TOLERANCE * tolerance))
    return tuple(sorted(set(map(_parse_slowdown, texts))))


def _parse_slowdown(text: str) -> float:
    wrong = f"--slowdown is {text!r}: write a share such as 3%, or a factor from x1 to x{MOST_FACTOR:g}, such as x1.5"
    if text[:1] in ("x", "X"):
        try:
            factor = float(text[1:])
        except ValueError:
            raise DeclarationError(wrong) from None
        if not 1 < factor <= MOST_FACTOR:
            raise DeclarationError(wrong)
        return factor - 1
    share = parse_share(text, "--slowdown")
    if not share:
        raise DeclarationError(wrong)
    return share


def _last_results(project: Project, path: Path | None) -> tuple[Result, ...]:
    """Return the results of a run's file, or of the last run; none if there was no run yet."""
    if path is None and not project.last_run.exists():
        return ()
    return tuple(map(without_samples, project.results(path)))


def _status(record: SelftestRecord) -> int:
    beyond = [count for count in record.slowdowns if count.share > record.tolerance]
    within = [count for count in record.slowdowns if count.share <= record.tolerance]
    if record.false_alarms or any(count.inverted for count in record.slowdowns) or any(c.caught for c in within):
        return FAILED
    return UNDECIDED if any(count.caught < count.slower for count in beyond) else 0
