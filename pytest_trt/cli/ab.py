"""`pytest-trt ab MODEL`: two interpreters with two TensorRTs (or ONNX Runtimes) take turns on one model."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import (
    add_input_arguments,
    add_run_arguments,
    find_interpreter,
    input_fields,
    run_options,
    run_shape,
)
from pytest_trt.cli.exit_status import UNDECIDED, exit_status
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import show_progress
from pytest_trt.core.records import ALWAYS_FAIL, SCHEMA, Result
from pytest_trt.errors import BuildError, ProbeError
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.trial.ab import Duel, Outcome, Side
from pytest_trt.trial.bench import Bench

_DESCRIPTION = """Builds MODEL with each interpreter's own backend and lets the two engines take turns; a plan is run by
both as it is. Is B slower than A? Exit status: 0 no, 1 yes, 2 usage, 125 inconclusive, invalid, or an engine that
cannot be built or run."""
_FAILING = ALWAYS_FAIL - {"invalid"}


def add_command(subparsers: Any) -> None:
    parser = subparsers.add_parser("ab", help="pair two interpreters with two TensorRTs on one model",
                              description=_DESCRIPTION)  # fmt: skip
    parser.add_argument("model", metavar="MODEL", help="an .onnx model, or a plan")
    for side in "ab":
        name = side.upper()
        parser.add_argument(f"--{side}-python", metavar="PYTHON", default=sys.executable,
                            help=f"the interpreter of {name} (this one); it needs no pytest")  # fmt: skip
        parser.add_argument(f"--backend-{side}", metavar="NAME", help=f"the backend of {name}, as --trt-backend")
    parser.add_argument("--plan-from", choices=("a", "b"), help="build with that one alone, and run its plan in both")
    parser.add_argument("--version-compatible", action="store_true",
                        help="build such a plan, or trust the given one, which carries code of its own")  # fmt: skip
    parser.add_argument("--precision", default="fp32")
    add_input_arguments(parser)
    parser.add_argument("--max-slowdown", metavar="P", help="how much slower B may be (5%%)")
    parser.add_argument("--max-memory-growth", metavar="P", help="how much more device memory B may use (5%%)")
    parser.add_argument("--max-time", metavar="S", help="stop measuring after this many seconds (10)")
    parser.add_argument("--wait", metavar="S", help="how long to wait for a busy GPU (60)")
    add_run_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print JSON: both measurements, and the verdicts")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    spec = EngineSpec(
        path=args.model, precision=args.precision, version_compatible=args.version_compatible,
        **input_fields(args),
    )  # fmt: skip
    declaration = Declaration(spec=spec, run=run_shape(args))
    project = Project(args.rootdir)
    with contextlib.ExitStack() as held:
        sides = [
            held.enter_context(Side(side.upper(), _bench(project, args, side), declaration, [Path.cwd()]))
            for side in "ab"
        ]
        duel = Duel(sides[0], sides[1], args.plan_from)
        try:
            outcome = duel.fought()
        except (BuildError, ProbeError) as error:
            print(f"pytest-trt: nothing to compare: {error}", file=sys.stderr)
            return UNDECIDED
    print(_as_json(outcome) if args.json else _as_text(outcome, args))
    return exit_status((Result(args.model, outcome.verdicts),), _FAILING)


def _bench(project: Project, args: argparse.Namespace, side: str) -> Bench:
    settings = project.settings({
        "backend": (f"--backend-{side}", getattr(args, f"backend_{side}")),
        **run_options(args),
        "max_slowdown": ("--max-slowdown", args.max_slowdown),
        "max_memory_growth": ("--max-memory-growth", args.max_memory_growth),
        "max_time_s": ("--max-time", args.max_time),
        "wait_s": ("--wait", args.wait),
    })  # fmt: skip
    return Bench(settings, show_progress, find_interpreter(f"--{side}-python", getattr(args, f"{side}_python")))


def _as_text(outcome: Outcome, args: argparse.Namespace) -> str:
    from pytest_trt.report import failure
    from pytest_trt.report.header import backend_name, device_name
    from pytest_trt.report.numbers import format_with_unit

    lines = [f"{Path(args.model).name} on {device_name(outcome.new.environment)}"]
    for name, measured, python in (("A", outcome.old, args.a_python), ("B", outcome.new, args.b_python)):
        seen = measured.environment
        shown = {"ms": "", "p99_ms": "p99 ", "memory_mb": "", "host_mb": "host "}
        figures = [label + format_with_unit(figure, measured.figures[figure].value)
                   for figure, label in shown.items() if figure in measured.figures]  # fmt: skip
        lines.append(f"  {name}  {backend_name(seen)}, Python {seen.python} ({python}): {', '.join(figures)}")
    if outcome.old.plan_sha256 == outcome.new.plan_sha256:
        lines.append("  both ran one plan")
    for verdict in outcome.verdicts:
        lines.append(failure.sentence(verdict, outcome.new))
        lines += [f"  {line}" for line in verdict.details]
    return "\n".join(lines)


def _as_json(outcome: Outcome) -> str:
    from pytest_trt.core import codec

    sides = {"a": outcome.old, "b": outcome.new, "verdicts": outcome.verdicts}
    return json.dumps({"schema": SCHEMA, "status": outcome.status, **codec.encode(sides)}, indent=1)
