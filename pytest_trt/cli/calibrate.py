"""`pytest-trt calibrate MODEL`: measure how far two probes of one plan differ on this device."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import add_inputs, add_running, run_shape, said_of_inputs, said_of_running
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


def add(parts: Any) -> None:
    text = "measure how far two probes of one plan differ on this device (A/A), for tests to reckon with"
    parser = parts.add_parser("calibrate", help=text, description=text)
    parser.add_argument("model", metavar="MODEL", help="an .onnx model or a plan, such as the smallest you test")
    parser.add_argument("--pairs", type=int, default=PAIRS, metavar="K", help=f"pairs of probes ({PAIRS})")
    add_inputs(parser)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--backend", metavar="NAME", help="as --trt-backend (the ini file's, or auto)")
    add_running(parser)
    parser.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    if given.pairs < LEAST:
        raise DeclarationError(f"--pairs is {given.pairs}: give at least {LEAST}, and rather {PAIRS}")
    settings = Project(given.rootdir).settings({
        "backend": ("--backend", given.backend), **said_of_running(given),
    })  # fmt: skip
    spec = EngineSpec(path=given.model, precision=given.precision, **said_of_inputs(given))
    declaration = Declaration(spec=spec, run=run_shape(given))
    with Bench(settings) as bench, Case(bench, "calibrate", declaration, [Path.cwd()]) as case:
        engine, environment = case.engine, case.environment
        differences = []
        with bench.lock(environment):
            for number in range(given.pairs):
                differences.append(probe_spread.aa_pair(bench.server(case.backend), case.subject(engine)))
                print(f"pair {number + 1} of {given.pairs}: {differences[-1]:+.3%}", flush=True)
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
