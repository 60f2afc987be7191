"""`pytest-trt calibrate MODEL`: measure how much two probes of the same plan differ on this device."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import add_precision_argument, add_run_arguments, parse_precision, run_options
from pytest_trt.cli.input_arguments import add_input_arguments, input_fields, run_shape
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import show, show_progress
from pytest_trt.errors import DeclarationError
from pytest_trt.measure.figures import DEFAULT_PROBE_SPREAD
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.trial import probe_spread
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case

_DESCRIPTION = """Measure how much two probes that run the same plan differ on this device. A probe is the process that
measures an engine. The result is stored in the engine cache, and later comparisons on this device include it in their
intervals."""

DEFAULT_PAIRS = 12

MIN_PAIRS = 4
"""Fewer pairs say so little about their own scatter that the spread would be greatly overestimated."""


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser(
        "calibrate", help="measure how much two probes of the same plan differ", description=_DESCRIPTION
    )
    parser.add_argument("model", metavar="MODEL", help="an .onnx model or a plan, such as the smallest one you test")
    parser.add_argument(
        "--pairs",
        type=int,
        default=DEFAULT_PAIRS,
        metavar="K",
        help=f"how many pairs of probes to measure (default: {DEFAULT_PAIRS})",
    )
    add_precision_argument(parser, "fp32")
    parser.add_argument("--backend", metavar="NAME", help="the backend (default: the ini setting, or auto)")
    add_run_arguments(parser)
    add_input_arguments(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    if args.pairs < MIN_PAIRS:
        raise DeclarationError(
            f"--pairs is {args.pairs}: give at least {MIN_PAIRS}; {DEFAULT_PAIRS} or more are recommended"
        )
    settings = Project(args.rootdir).settings({"backend": ("--backend", args.backend), **run_options(args)})
    spec = EngineSpec(path=args.model, precision=parse_precision(args.precision), **input_fields(args))
    declaration = Declaration(spec=spec, run=run_shape(args))
    with Bench(settings, show_progress) as bench, Case(bench, "calibrate", declaration, [Path.cwd()]) as case:
        engine, environment = case.engine, case.environment
        differences = []
        with bench.lock(environment):
            for number in range(args.pairs):
                differences.append(probe_spread.aa_pair(bench.server(case.backend, environment), case.subject(engine)))
                show(f"pair {number + 1} of {args.pairs}: {differences[-1]:+.3%}")
        calibration = probe_spread.load(bench.store.folder, environment).with_more(tuple(differences))
        path = probe_spread.save(bench.store.folder, environment, calibration)
    show(
        f"{environment.device}: two probes of one plan differ by at most {calibration.spread:.2%}; "
        f"the order in which they are opened adds {calibration.open_order_effect:.2%} ({path})"
    )
    default = DEFAULT_PROBE_SPREAD[environment.kind]
    if calibration.spread > default:
        show(
            f"warning: this exceeds the {default:.1%} that is assumed without a calibration; if the machine was busy, "
            f"remove {path} and calibrate again when it is idle"
        )
    return 0
