"""`pytest-trt inspect MODEL`: show what a model or a plan contains, and what a backend or a precision refuses."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import add_host_argument, add_precision_argument, find_interpreter, parse_precision
from pytest_trt.cli.exit_status import FAILED
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import output_width, show_json, show_progress, show_report
from pytest_trt.core import codec
from pytest_trt.core.records import SCHEMA
from pytest_trt.report.inspection import render
from pytest_trt.spec.engine_spec import Precision
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.inspection import inspect

_DESCRIPTION = """Show the inputs, outputs, operators and weights of an ONNX model, the marker that declares it, and
what stays in fp32 in a precision. Of a plan, show what its header contains. With --backend, let that backend read the
file. Nothing is built, and no GPU is needed except for TensorRT's own parser."""
_EPILOG = (
    """Exit status: 0, 1 if the backend or the --precision that you name refuses the model, 2 for a usage error."""
)
_SHOWN_PRECISION: Precision = "fp16"


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser(
        "inspect", help="show what a model or a plan contains", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("model", metavar="MODEL", help="an .onnx model or a plan")
    add_precision_argument(parser, _SHOWN_PRECISION)
    parser.set_defaults(precision=None)
    parser.add_argument(
        "--backend", metavar="NAME", help="let this backend read the file, such as tensorrt_rtx (default: none)"
    )
    parser.add_argument(
        "--python",
        metavar="PYTHON",
        help="the interpreter of the backend, which may have another version of TensorRT, on the host of --host "
        "(default: this one, or that of the host)",
    )
    add_host_argument(parser)
    parser.add_argument("--json", action="store_true", help="print the facts as JSON")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    precision = _SHOWN_PRECISION if args.precision is None else parse_precision(args.precision)
    settings = Project(Path.cwd()).host_settings({"hosts": ("--host", args.host)})
    with Bench(settings, show_progress, find_interpreter("--python", args.python, settings)) as bench:
        facts = inspect(bench, args.model, precision, args.backend)
    if args.json:
        show_json(json.dumps({"schema": SCHEMA, **codec.encode(facts)}, indent=1))
    else:
        encoding, colour = sys.stdout.encoding or "utf-8", sys.stdout.isatty()
        show_report(render(args.model, facts, width=output_width(), colour=colour, encoding=encoding))
    is_refused = facts.refused if args.precision is not None else bool(facts.backend and facts.backend.refusal)
    return FAILED if is_refused else 0
