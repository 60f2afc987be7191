"""`pytest-trt bisect MODEL`: the first layer whose output departs from ONNX Runtime's."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import (
    add_calibration_argument,
    add_input_arguments,
    add_run_arguments,
    input_fields,
    parse_calibration,
    run_options,
    run_shape,
)
from pytest_trt.cli.exit_status import FAILED, UNDECIDED
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import show_progress
from pytest_trt.core.records import SCHEMA
from pytest_trt.errors import DeclarationError
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.expectations import Accuracy
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.bisection import AT_ONCE, MOST_BUILDS, Found, bisect, lines
from pytest_trt.trial.reference_outputs import given_inputs

_DESCRIPTION = """Builds MODEL, runs it beside ONNX Runtime in fp32, and where outputs depart looks for the first layer
that does: tensors in between are marked as outputs, many in one build, and the span is narrowed until one layer is
left, which is built again with nothing else marked. Exit status: 0 every output agrees, 1 a layer was found, 2 usage,
125 the layer is not certain."""


def add_command(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "bisect", help="find the first layer whose output is wrong", description=_DESCRIPTION
    )
    parser.add_argument("model", metavar="MODEL", help="an .onnx model")
    parser.add_argument("--backend", metavar="NAME", help="what runs it, as --trt-backend")
    parser.add_argument("--precision", default="fp16", help="what it is built in (fp16)")
    parser.add_argument("--calibrator", choices=("entropy", "minmax"), help="int8 by TensorRT's own calibration")
    add_calibration_argument(parser, "none, and int8 needs one unless the model has Q/DQ")
    add_input_arguments(parser)
    parser.add_argument("--inputs", metavar="PATH.npz", help="inputs by name (drawn from the seed)")
    parser.add_argument("--seed", type=int, default=0, help="from which inputs are drawn (0)")
    parser.add_argument("--rtol", type=float, help="as in trt_accuracy (by precision)")
    parser.add_argument("--atol", type=float, help="likewise")
    parser.add_argument("--cosine", type=float, help="likewise")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, metavar="N",
                        help=f"tensors that one build marks ({AT_ONCE})")  # fmt: skip
    parser.add_argument("--max-builds", type=int, default=MOST_BUILDS, metavar="N",
                        help=f"builds of marked models ({MOST_BUILDS})")  # fmt: skip
    add_run_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    for name in ("at_once", "max_builds"):
        if getattr(args, name) < 1:
            raise DeclarationError(f"--{name.replace('_', '-')} is {getattr(args, name)}: it must be at least 1")
    declaration = Declaration(
        spec=EngineSpec(
            path=args.model, precision=args.precision, seed=args.seed, calibrator=args.calibrator,
            calibration=parse_calibration(args.calibration, args.calibrator), **input_fields(args),
        ),
        run=run_shape(args),
        accuracy=Accuracy(rtol=args.rtol, atol=args.atol, cosine=args.cosine),
    )  # fmt: skip
    settings = Project(args.rootdir).settings({
        "backend": ("--backend", args.backend),
        **run_options(args),
    })  # fmt: skip
    folders = [Path.cwd()]
    inputs = given_inputs(args.inputs, folders)
    with Bench(settings, show_progress) as bench:
        found = bisect(
            bench, declaration, folders, inputs, at_once=args.at_once, most_builds=args.max_builds
        )  # fmt: skip
    print(_as_json(found) if args.json else "\n".join(lines(found)))
    if found.first is None:
        return 0
    return FAILED if found.confirmed else UNDECIDED


def _as_json(found: Found) -> str:
    from pytest_trt.core import codec

    return json.dumps({"schema": SCHEMA, **codec.encode(found)}, indent=1)
