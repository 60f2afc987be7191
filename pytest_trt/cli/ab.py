"""`pytest-trt ab MODEL`: measure one model alternately under two interpreters, such as with two TensorRT versions."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import (
    add_gate_argument,
    add_precision_argument,
    add_run_arguments,
    add_time_arguments,
    find_interpreter,
    parse_precision,
    run_options,
    time_options,
)
from pytest_trt.cli.exit_status import UNDECIDED, exit_status
from pytest_trt.cli.input_arguments import add_input_arguments, input_fields, run_shape
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import show, show_json, show_progress
from pytest_trt.core import codec
from pytest_trt.core.records import ALWAYS_FAIL, SCHEMA, Result
from pytest_trt.errors import BuildError, ProbeError
from pytest_trt.report import failure
from pytest_trt.report.header import backend_name, device_name
from pytest_trt.report.numbers import format_with_unit
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.trial.ab import AbComparison, AbOutcome, AbSide
from pytest_trt.trial.bench import Bench

_DESCRIPTION = """Build MODEL under two interpreters, A and B, each with its own backend, and measure the two engines
alternately. If MODEL is a plan, both run it as it is. B is judged against A."""
_EPILOG = """Exit status: 0 if B is not worse than A, 1 if it is, 2 for a usage error, 125 if the comparison is
inconclusive or invalid, or if an engine cannot be built or run."""
_FAILING = ALWAYS_FAIL - {"invalid"}


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser(
        "ab", help="compare one model under two interpreters", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("model", metavar="MODEL", help="an .onnx model or a plan")
    for side in "ab":
        parser.add_argument(
            f"--{side}-python",
            metavar="PYTHON",
            help=f"the interpreter of {side.upper()}, on the host of --host (default: this one, or that of the host); "
            "it does not need pytest",
        )
        parser.add_argument(
            f"--backend-{side}",
            metavar="NAME",
            help=f"the backend of {side.upper()} (default: the ini setting, or auto)",
        )
    parser.add_argument(
        "--plan-from", choices=("a", "b"), help="build only under this interpreter, and run its plan under both"
    )
    parser.add_argument(
        "--version-compatible",
        action="store_true",
        help="build a version-compatible plan; if MODEL is such a plan, trust the code that it contains",
    )
    add_precision_argument(parser, "fp32")
    parser.add_argument(
        "--max-slowdown", metavar="P", help="how much slower B may be (default: the ini setting, or 5%%)"
    )
    parser.add_argument(
        "--max-memory-growth",
        metavar="P",
        help="how much more device memory B may use (default: the ini setting, or 5%%)",
    )
    add_gate_argument(parser)
    parser.add_argument("--energy", action="store_true", help="also measure the energy of an inference, in 32 s")
    add_time_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the measurements and verdicts as JSON")
    add_input_arguments(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    spec = EngineSpec(
        path=args.model,
        precision=parse_precision(args.precision),
        version_compatible=args.version_compatible,
        **input_fields(args),
    )
    declaration = Declaration(spec=spec, run=run_shape(args))
    project = Project(args.rootdir)
    with contextlib.ExitStack() as stack:
        sides = [
            stack.enter_context(AbSide(side.upper(), _bench(project, args, side), declaration, [Path.cwd()]))
            for side in "ab"
        ]
        comparison = AbComparison(sides[0], sides[1], args.plan_from)
        try:
            outcome = comparison.run()
        except (BuildError, ProbeError) as error:
            show(*f"pytest-trt: nothing to compare: {error}".split("\n"), error=True)
            return UNDECIDED
    if args.json:
        show_json(_as_json(outcome))
    else:
        show(*_describe(outcome, args.model, [side.interpreter for side in sides]))
    return exit_status((Result(args.model, outcome.verdicts),), _FAILING)


def _bench(project: Project, args: argparse.Namespace, side: str) -> Bench:
    flags = {
        "backend": (f"--backend-{side}", getattr(args, f"backend_{side}")),
        **run_options(args),
        **time_options(args),
        "max_slowdown": ("--max-slowdown", args.max_slowdown),
        "max_memory_growth": ("--max-memory-growth", args.max_memory_growth),
        "gates": ("--gate", args.gate),
        "energy": ("--energy", "true" if args.energy else None),
    }
    settings = project.settings(flags)
    python = find_interpreter(f"--{side}-python", getattr(args, f"{side}_python"), settings)
    return Bench(settings, show_progress, python)


def _describe(outcome: AbOutcome, model: str, interpreters: Sequence[str]) -> list[str]:
    lines = [f"{Path(model).name} on {device_name(outcome.new.environment)}"]
    labels = {"ms": "", "p99_ms": "p99 ", "memory_mb": "", "host_mb": "host ", "energy_mj": "", "power_w": ""}
    for name, measurement, python in zip("AB", (outcome.old, outcome.new), interpreters, strict=True):
        environment = measurement.environment
        figures = [
            label + format_with_unit(figure, measurement.figures[figure].value)
            for figure, label in labels.items()
            if figure in measurement.figures
        ]
        interpreter = f"Python {environment.python} ({python})"
        lines.append(f"  {name}  {backend_name(environment)}, {interpreter}: {', '.join(figures)}")
    if outcome.old.plan_sha256 == outcome.new.plan_sha256:
        lines.append("  both ran the same plan")
    for verdict in outcome.verdicts:
        lines.append(failure.sentence(verdict, outcome.new))
        lines += [f"  {line}" for line in verdict.details]
    return lines


def _as_json(outcome: AbOutcome) -> str:
    sides = {"a": outcome.old, "b": outcome.new, "verdicts": outcome.verdicts}
    return json.dumps({"schema": SCHEMA, "status": outcome.status, **codec.encode(sides)}, indent=1)
