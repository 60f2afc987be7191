"""`pytest-trt backends MODEL`: compare the installed backends on one model."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.cli import lineup_table
from pytest_trt.cli.arguments import (
    add_calibration_argument,
    add_run_arguments,
    add_time_arguments,
    find_interpreter,
    parse_calibration,
    parse_precision,
    run_options,
    time_options,
)
from pytest_trt.cli.exit_status import FAILED
from pytest_trt.cli.input_arguments import add_input_arguments, input_fields, run_shape
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import output_width, show_json, show_progress, show_report
from pytest_trt.core import codec
from pytest_trt.core.backends import BACKENDS, REFERENCE
from pytest_trt.core.foreign_text import escape
from pytest_trt.core.records import SCHEMA
from pytest_trt.engine.model.files import RANDOM_CALIBRATION
from pytest_trt.errors import BackendError, DeclarationError
from pytest_trt.report.header import environment_line
from pytest_trt.report.markdown import escape_markdown
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case
from pytest_trt.trial.lineup import Lineup, Row

_COMPARED = tuple(sorted((name for name, info in BACKENDS.items() if info.builds), key=lambda n: BACKENDS[n].kind))
"""The backends that build engines, those of the CPU first."""
_PRECISIONS = ("fp32", "fp16", "int8")
_DESCRIPTION = f"""Build MODEL on each backend in each precision, measure it as a test would, and compare its outputs
with those of {BACKENDS[REFERENCE].label} in fp32 on the CPU for the same inputs."""
_EPILOG = """Exit status: 0 if every row that ran agrees with the reference, 1 if a row does not or could not be
compared, or if none ran, 2 for a usage error."""


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser(
        "backends",
        help="compare speed, size and accuracy of one model on every backend",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument("model", metavar="MODEL", help="an .onnx model")
    for name, default in (("precisions", _PRECISIONS), ("backends", _COMPARED)):
        parser.add_argument(
            f"--{name}",
            default=",".join(default),
            metavar="LIST",
            help=f"the {name} to build with, separated by commas (default: {','.join(default)})",
        )
    add_calibration_argument(parser, "random", takes_cache=False)
    parser.add_argument(
        "--torch",
        metavar="MODULE:FUNCTION",
        help="also run the torch.nn.Module that this function returns, in eager mode, in fp32 and fp16 as far as "
        "--precisions has them; the module takes the model's inputs in their order",
    )
    parser.add_argument(
        "--torch-compile", action="store_true", help="with --torch: also compile the module by torch.compile"
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="BACKEND=PYTHON",
        help="the interpreter that has the package of a backend, or of pytorch, on the host of --host (default: this "
        "one, or that of the host); may be repeated",
    )
    parser.add_argument(
        "--compute-capability",
        metavar="89,120",
        help="build TensorRT-RTX engines for these compute capabilities, without a GPU and without running them",
    )
    parser.add_argument(
        "--optimization-level",
        type=int,
        choices=range(6),
        metavar="N",
        help="the optimization level of TensorRT's builder, from 0 to 5",
    )
    add_time_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument(
        "--format", choices=("table", "md", "json"), default="table", help="the form of the output (default: table)"
    )
    add_input_arguments(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    plain = EngineSpec(path=args.model, backend=REFERENCE, **input_fields(args))
    specs = list(_specs(args, plain))
    flags = {
        "compute_capabilities": ("--compute-capability", args.compute_capability),
        **run_options(args),
        **time_options(args),
    }
    settings = Project(args.rootdir).settings(flags)
    settings = dataclasses.replace(settings, build_only=bool(settings.compute_capabilities))
    pythons = _interpreters(args.python, settings)
    if args.torch is not None and settings.hosts:
        raise DeclarationError("--torch runs a function of this host: leave it out, or add --host=off")
    if plain.is_prebuilt:
        raise DeclarationError(
            f"{args.model} is a plan, which only one backend runs: name the .onnx model it was built from"
        )
    declaration = Declaration(spec=plain, run=run_shape(args))
    folders = [Path.cwd()]
    with contextlib.ExitStack() as stack:

        @functools.cache
        def bench_of(python: str | None) -> Bench:
            return stack.enter_context(Bench(settings, show_progress, python))

        bench = bench_of(pythons.get(REFERENCE))
        if settings.hosts:  # the reference is computed here, like that of a test
            bench = stack.enter_context(Bench(dataclasses.replace(settings, hosts=()), show_progress))
        with Case(bench, args.model, declaration, folders) as case:
            _ = case.shapes  # If the shapes cannot be resolved, this fails the command and not every row.
        lineup = Lineup(declaration, bench, folders)
        rows = list(_torch_rows(lineup, args, bench_of(pythons.get("pytorch"))))
        rows += _rows(lineup, lambda backend: bench_of(pythons.get(backend)), specs)
    if args.format == "json":
        show_json(_as_json(rows, args))
    else:
        show_report(_render(rows, args))
    ran = [row for row in rows if row.ran]
    return 0 if ran and all(row.status == "ok" for row in ran) else FAILED


def _interpreters(values: Sequence[str], settings: Settings) -> dict[str, str | None]:
    """Return the interpreter of each backend that `--python` names. Raises DeclarationError if a value is invalid."""
    found: dict[str, str | None] = {}
    for value in values:
        backend, _, python = value.partition("=")
        if backend not in (*_COMPARED, "pytorch") or not python:
            raise DeclarationError(
                f"--python is {value!r}: write BACKEND=PYTHON, with one of {', '.join(_COMPARED)}, pytorch"
            )
        found[backend] = find_interpreter("--python", python, settings)
    return found


def _torch_rows(lineup: Lineup, args: argparse.Namespace, bench: Bench) -> Iterator[Row]:
    """Yield the rows of PyTorch: eager, then compiled if requested, each in fp32 and fp16 as far as requested."""
    if args.torch is None:
        return
    for compiled in (False, True) if args.torch_compile else (False,):
        for precision in ("fp32", "fp16"):
            if precision in args.precisions.split(","):
                wanted = parse_precision(precision, "--precisions has")
                yield lineup.torch_row(args.torch, Path.cwd(), bench, wanted, compiled=compiled)


def _specs(args: argparse.Namespace, plain: EngineSpec) -> Iterator[tuple[str, EngineSpec]]:
    """Yield the name of each row and the engine to build for it, a variant of `plain`.

    Raises:
        DeclarationError: An argument is invalid.
    """
    if args.torch is not None and not all(args.torch.partition(":")):
        raise DeclarationError(f"--torch is {args.torch!r}: write MODULE:FUNCTION")
    if args.torch_compile and args.torch is None:
        raise DeclarationError("--torch-compile needs --torch: it compiles the module that --torch names")
    calibration = parse_calibration(args.calibration or RANDOM_CALIBRATION)
    for backend in args.backends.split(","):
        if backend not in _COMPARED:
            raise DeclarationError(f"--backends has {backend!r}: choose from {', '.join(_COMPARED)}")
        for precision in args.precisions.split(","):
            spec = dataclasses.replace(
                plain,
                precision=parse_precision(precision, "--precisions has"),
                backend=backend,
                optimization_level=None if BACKENDS[backend].runs_model else args.optimization_level,
                calibration=calibration if precision == "int8" else None,
            )
            yield f"{BACKENDS[backend].label} {precision}", spec


def _rows(lineup: Lineup, bench_of: Callable[[str], Bench], specs: list[tuple[str, EngineSpec]]) -> Iterator[Row]:
    """Yield a row for each spec, or a single row for a backend that cannot be used here."""
    unusable: set[str] = set()
    for name, spec in specs:
        if spec.backend in unusable:
            continue
        bench = bench_of(spec.backend)
        try:
            bench.environment_for(spec.backend, bench.completed(Declaration(spec=spec), spec.backend).spec)
        except BackendError as error:
            unusable.add(spec.backend)
            yield Row(BACKENDS[spec.backend].label, spec.precision, why=str(error))
        else:
            yield lineup.row(name, spec, bench=bench)


def _as_json(rows: list[Row], args: argparse.Namespace) -> str:
    return json.dumps({"schema": SCHEMA, "model": args.model, "rows": codec.encode(rows)}, indent=1) + "\n"


def _render(rows: list[Row], args: argparse.Namespace) -> str:
    name = Path(args.model).name
    environments = dict.fromkeys(environment_line(row.environment) for row in rows if row.environment is not None)
    if args.format == "md":
        return "\n".join(
            [
                f"### {escape_markdown(name)}",
                "",
                *(f"- {escape_markdown(line)}" for line in environments),
                "",
                lineup_table.markdown([("", rows)]),
            ]
        )
    table = lineup_table.plain_text(rows, output_width() if sys.stdout.isatty() else sys.maxsize)
    return "\n".join([escape(name), *(f"  {escape(line)}" for line in environments), "", table])
