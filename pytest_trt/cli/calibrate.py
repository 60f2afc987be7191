"""`pytest-trt calibrate MODEL`: measure how far two probes of one plan differ on this device."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import add_input_arguments, add_run_arguments, input_fields, run_options, run_shape
from pytest_trt.cli.project import Project
from pytest_trt.errors import DeclarationError
from pytest_trt.measure.figures import DEFAULT_PROBE_SPREAD
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.trial import probe_spread
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case

PAIRS, LEAST = 12, 4
"""Of fewer pairs than the least, their own scatter says next to nothing: it would be taken to be huge."""


def add_command(subparsers: Any) -> None:
    text = "measure how far two probes of one plan differ on this device (A/A), for tests to reckon with"
    parser = subparsers.add_parser("calibrate", help=text, description=text)
    parser.add_argument("model", metavar="MODEL", help="an .onnx model or a plan, such as the smallest you test")
    parser.add_argument("--pairs", type=int, default=PAIRS, metavar="K", help=f"pairs of probes ({PAIRS})")
    add_input_arguments(parser)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--backend", metavar="NAME", help="as --trt-backend (the ini file's, or auto)")
    add_run_arguments(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    if args.pairs < LEAST:
        raise DeclarationError(f"--pairs is {args.pairs}: give at least {LEAST}, and rather {PAIRS}")
    settings = Project(args.rootdir).settings({
        "backend": ("--backend", args.backend), **run_options(args),
    })  # fmt: skip
    spec = EngineSpec(path=args.model, precision=args.precision, **input_fields(args))
    declaration = Declaration(spec=spec, run=run_shape(args))
    with Bench(settings) as bench, Case(bench, "calibrate", declaration, [Path.cwd()]) as case:
        engine, environment = case.engine, case.environment
        differences = []
        with bench.lock(environment):
            for number in range(args.pairs):
                differences.append(probe_spread.aa_pair(bench.server(case.backend), case.subject(engine)))
                print(f"pair {number + 1} of {args.pairs}: {differences[-1]:+.3%}", flush=True)
        known = probe_spread.load(bench.store.folder, environment).with_more(tuple(differences))
        path = probe_spread.save(bench.store.folder, environment, known)
        print(
            f"{environment.device}: two probes of one plan differ by at most {known.spread:.2%}, and by "
            f"{known.open_order_effect:.2%} with the order in which they are opened ({path})"
        )
        if known.spread > DEFAULT_PROBE_SPREAD[environment.kind]:
            print(
                f"warning: that is wider than the {DEFAULT_PROBE_SPREAD[environment.kind]:.0%} that is reckoned with "
                f"before; if something else was running, remove {path} and calibrate again when it is not"
            )
    return 0
