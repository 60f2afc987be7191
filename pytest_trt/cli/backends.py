"""`pytest-trt backends MODEL`: one model on every backend that is here, side by side."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import (
    add_calibration_argument,
    add_input_arguments,
    add_run_arguments,
    find_interpreter,
    input_fields,
    parse_calibration,
    run_options,
    run_shape,
)
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import show_progress
from pytest_trt.core.backends import BACKENDS, REFERENCE
from pytest_trt.core.records import SCHEMA, Environment
from pytest_trt.engine.model.files import RANDOM_CALIBRATION
from pytest_trt.errors import BackendError, DeclarationError
from pytest_trt.report.header import environment_line
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case
from pytest_trt.trial.lineup import Lineup, Row

_COMPARED = tuple(sorted((name for name, info in BACKENDS.items() if info.builds), key=lambda n: BACKENDS[n].kind))
"""The backends that build engines, those of the CPU first."""
_DESCRIPTION = """Builds MODEL on each backend at each precision, measures it as a test would be, and holds it against
ONNX Runtime in fp32 on the CPU, on the same inputs. Exit status: 0 every row that ran agrees with it, 1 one does not
or was compared with nothing, or none ran, 2 usage."""


def add_command(subparsers: Any) -> None:
    parser = subparsers.add_parser("backends", help="one model on every backend: speed, size, accuracy",
                              description=_DESCRIPTION)  # fmt: skip
    parser.add_argument("model", metavar="MODEL", help="an .onnx model")
    parser.add_argument("--precisions", default="fp32,fp16,int8", metavar="LIST", help="(fp32,fp16,int8)")
    parser.add_argument("--backends", default=",".join(_COMPARED), metavar="LIST", help=f"({','.join(_COMPARED)})")
    add_input_arguments(parser)
    add_calibration_argument(parser, "random")
    parser.add_argument("--torch", metavar="MODULE:FUNCTION",
                        help="a function that returns the torch.nn.Module to run beside them, in eager mode; it takes "
                             "the model's inputs in their order")  # fmt: skip
    parser.add_argument("--torch-python", metavar="PYTHON", default=sys.executable,
                        help="the interpreter that has torch (this one)")  # fmt: skip
    parser.add_argument("--compute-capability", metavar="89,120",
                        help="build TensorRT-RTX's engines ahead of time for these, and run them not")  # fmt: skip
    parser.add_argument("--optimization-level", type=int, metavar="N", help="TensorRT's builder's, 0 to 5")
    parser.add_argument("--max-time", metavar="S", help="stop measuring a row after this many seconds (10)")
    parser.add_argument("--wait", metavar="S", help="how long to wait for a busy GPU (60)")
    add_run_arguments(parser)
    parser.add_argument("--format", choices=("table", "md", "json"), default="table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    plain = EngineSpec(path=args.model, backend=REFERENCE, **input_fields(args))
    specs = list(_specs(args, plain))
    settings = Project(args.rootdir).settings({
        "compute_capabilities": ("--compute-capability", args.compute_capability),
        **run_options(args),
        "max_time_s": ("--max-time", args.max_time),
        "wait_s": ("--wait", args.wait),
    })  # fmt: skip
    settings = dataclasses.replace(settings, build_only=bool(settings.compute_capabilities))
    torch_python = find_interpreter("--torch-python", args.torch_python)
    if plain.is_prebuilt:
        raise DeclarationError(f"{args.model} is a plan, which one backend runs: name the .onnx model it was built of")
    declaration = Declaration(spec=plain, run=run_shape(args))
    with Bench(settings, show_progress) as bench, Bench(settings, show_progress, torch_python) as torch_bench:
        with Case(bench, args.model, declaration, [Path.cwd()]) as case:
            _ = case.shapes  # what cannot be run at all is no row's fault
        lineup = Lineup(declaration, bench, [Path.cwd()])
        rows = list(_rows(lineup, bench, specs))
        if args.torch is not None:
            rows.append(lineup.torch_row(args.torch, Path.cwd(), torch_bench))
    print(_rendered(rows, args), end="")
    ran = [row for row in rows if row.ran]
    return 0 if ran and all(row.status == "ok" for row in ran) else 1


def _specs(args: argparse.Namespace, plain: EngineSpec) -> Iterator[tuple[str, EngineSpec]]:
    """What is built of the model that `plain` says, with the names of the rows. Raises DeclarationError for what
    cannot be meant."""
    if args.torch is not None and not all(args.torch.partition(":")):
        raise DeclarationError(f"--torch is {args.torch!r}: write MODULE:FUNCTION")
    calibrated = parse_calibration(args.calibration or RANDOM_CALIBRATION)
    for backend in args.backends.split(","):
        if backend not in _COMPARED:
            raise DeclarationError(f"--backends has {backend!r}: choose from {', '.join(_COMPARED)}")
        for precision in args.precisions.split(","):
            level = args.optimization_level if not BACKENDS[backend].runs_model else None
            spec = dataclasses.replace(
                plain, precision=precision, backend=backend, optimization_level=level,
                calibration=calibrated if precision == "int8" else None,
            )  # fmt: skip
            yield f"{BACKENDS[backend].label} {precision}", spec


def _rows(lineup: Lineup, bench: Bench, specs: list[tuple[str, EngineSpec]]) -> Iterator[Row]:
    """A row for each spec; one alone for a backend that is not here."""
    absent: dict[str, str] = {}
    for name, spec in specs:
        if spec.backend in absent:
            continue
        try:
            bench.environment_for(spec.backend, bench.completed(Declaration(spec=spec), spec.backend).spec)
        except BackendError as error:
            absent[spec.backend] = str(error)
            yield Row(BACKENDS[spec.backend].label, spec.precision, why=str(error))
        else:
            yield lineup.row(name, spec)


def _rendered(rows: list[Row], args: argparse.Namespace) -> str:
    from pytest_trt.cli import lineup_table
    from pytest_trt.core import codec

    if args.format == "json":
        return json.dumps({"schema": SCHEMA, "model": args.model, "rows": codec.encode(rows)}, indent=1) + "\n"
    seen: list[Environment] = [row.environment for row in rows if row.environment is not None]
    where = list(dict.fromkeys(map(environment_line, seen)))
    if args.format == "md":
        head = [f"### {Path(args.model).name}", "", *(f"- {line}" for line in where), ""]
        return "\n".join(head) + "\n" + lineup_table.markdown([("", rows)])
    return (
        "\n".join([Path(args.model).name, *(f"  {line}" for line in where), ""]) + "\n" + lineup_table.plain_text(rows)
    )
