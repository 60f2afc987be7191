"""`pytest-trt bisect MODEL`: find the first layer whose output differs from ONNX Runtime's."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import (
    add_calibration_argument,
    add_precision_argument,
    add_run_arguments,
    parse_calibration,
    parse_precision,
    run_options,
)
from pytest_trt.cli.exit_status import FAILED, UNDECIDED
from pytest_trt.cli.input_arguments import add_input_arguments, input_fields, run_shape
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import show, show_json, show_progress
from pytest_trt.core import codec
from pytest_trt.core.records import SCHEMA
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Accuracy
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.bisection import AT_ONCE, MAX_BUILDS, BisectionResult, bisect, describe
from pytest_trt.trial.reference_outputs import accuracy_inputs

_DESCRIPTION = """Build MODEL and compare its outputs with those of ONNX Runtime in fp32. If an output differs, find the
first layer that does: intermediate tensors are marked as outputs, many in one build, and the range of suspects is
narrowed until one layer is left. It is confirmed by a build in which nothing else is marked."""
_EPILOG = """Exit status: 0 if every output agrees, 1 if a layer was found, 2 for a usage error, 125 if the layer could
not be confirmed."""


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser(
        "bisect", help="find the first layer whose output is wrong", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("model", metavar="MODEL", help="an .onnx model")
    parser.add_argument("--backend", metavar="NAME", help="the backend to check (default: the ini setting, or auto)")
    add_precision_argument(parser, "fp16")
    parser.add_argument(
        "--calibrator", choices=("entropy", "minmax"), help="calibrate int8 with this calibrator of TensorRT"
    )
    add_calibration_argument(parser, "none; int8 needs one unless the model has Q/DQ nodes", takes_cache=True)
    for name in ("rtol", "atol", "cosine"):
        parser.add_argument(
            f"--{name}", type=float, metavar="X", help=f"the limit {name} of trt_accuracy (default: by precision)"
        )
    parser.add_argument(
        "--at-once",
        type=int,
        default=AT_ONCE,
        metavar="N",
        help=f"how many tensors to mark in one build (default: {AT_ONCE})",
    )
    parser.add_argument(
        "--max-builds",
        type=int,
        default=MAX_BUILDS,
        metavar="N",
        help=f"how many marked models to build at most (default: {MAX_BUILDS})",
    )
    add_run_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    inputs = add_input_arguments(parser)
    inputs.add_argument(
        "--inputs", metavar="PATH.npz", help="a file with the input arrays by name (default: random values)"
    )
    inputs.add_argument("--seed", type=int, default=0, metavar="N", help="the seed of the random values (default: 0)")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    for name in ("at_once", "max_builds"):
        if getattr(args, name) < 1:
            raise DeclarationError(f"--{name.replace('_', '-')} is {getattr(args, name)}: it must be at least 1")
    spec = EngineSpec(
        path=args.model,
        precision=parse_precision(args.precision),
        seed=args.seed,
        calibrator=args.calibrator,
        calibration=parse_calibration(args.calibration, args.calibrator),
        **input_fields(args),
    )
    accuracy = Accuracy(rtol=args.rtol, atol=args.atol, cosine=args.cosine)
    declaration = Declaration(spec=spec, run=run_shape(args), accuracy=accuracy)
    settings = Project(args.rootdir).settings({"backend": ("--backend", args.backend), **run_options(args)})
    folders = [Path.cwd()]
    inputs = accuracy_inputs(args.inputs, folders)
    with Bench(settings, show_progress) as bench:
        found = bisect(bench, declaration, folders, inputs, at_once=args.at_once, max_builds=args.max_builds)
    if args.json:
        show_json(_as_json(found))
    else:
        show(*describe(found))
    if found.first is None:
        return 0
    return FAILED if found.confirmed else UNDECIDED


def _as_json(found: BisectionResult) -> str:
    return json.dumps({"schema": SCHEMA, **codec.encode(found)}, indent=1)
