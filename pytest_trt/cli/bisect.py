"""`pytest-trt bisect MODEL`: the first layer whose output departs from ONNX Runtime's."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import (
    add_calibration,
    add_inputs,
    add_running,
    calibration,
    run_shape,
    said_of_inputs,
    said_of_running,
)
from pytest_trt.cli.exit_status import GATED, UNDECIDED
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import say
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


def add(parts: Any) -> None:
    parser = parts.add_parser("bisect", help="find the first layer whose output is wrong", description=_DESCRIPTION)
    parser.add_argument("model", metavar="MODEL", help="an .onnx model")
    parser.add_argument("--backend", metavar="NAME", help="what runs it, as --trt-backend")
    parser.add_argument("--precision", default="fp16", help="what it is built in (fp16)")
    parser.add_argument("--calibrator", choices=("entropy", "minmax"), help="int8 by TensorRT's own calibration")
    add_calibration(parser, "none, and int8 needs one unless the model has Q/DQ")
    add_inputs(parser)
    parser.add_argument("--inputs", metavar="PATH.npz", help="inputs by name (drawn from the seed)")
    parser.add_argument("--seed", type=int, default=0, help="from which inputs are drawn (0)")
    parser.add_argument("--rtol", type=float, help="as in trt_accuracy (by precision)")
    parser.add_argument("--atol", type=float, help="likewise")
    parser.add_argument("--cosine", type=float, help="likewise")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, metavar="N",
                        help=f"tensors that one build marks ({AT_ONCE})")  # fmt: skip
    parser.add_argument("--max-builds", type=int, default=MOST_BUILDS, metavar="N",
                        help=f"builds of marked models ({MOST_BUILDS})")  # fmt: skip
    add_running(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    for name in ("at_once", "max_builds"):
        if getattr(given, name) < 1:
            raise DeclarationError(f"--{name.replace('_', '-')} is {getattr(given, name)}: it must be at least 1")
    declaration = Declaration(
        spec=EngineSpec(
            path=given.model, precision=given.precision, seed=given.seed, calibrator=given.calibrator,
            calibration=calibration(given.calibration, given.calibrator), **said_of_inputs(given),
        ),
        run=run_shape(given),
        accuracy=Accuracy(rtol=given.rtol, atol=given.atol, cosine=given.cosine),
    )  # fmt: skip
    settings = Project(given.rootdir).settings({
        "backend": ("--backend", given.backend),
        **said_of_running(given),
    })  # fmt: skip
    folders = [Path.cwd()]
    inputs = given_inputs(given.inputs, folders)
    with Bench(settings, say) as bench:
        found = bisect(
            bench, declaration, folders, inputs, at_once=given.at_once, most_builds=given.max_builds
        )  # fmt: skip
    print(_as_json(found) if given.json else "\n".join(lines(found)))
    if found.first is None:
        return 0
    return GATED if found.confirmed else UNDECIDED


def _as_json(found: Found) -> str:
    from pytest_trt.core import codec

    return json.dumps({"schema": SCHEMA, **codec.encode(found)}, indent=1)
