"""`pytest-trt explore WHAT [OTHER]`: show the layers of an engine and what they cost, or two engines side by side."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import add_precision_argument, add_run_arguments, parse_precision, run_options
from pytest_trt.cli.choose_tests import choose_tests
from pytest_trt.cli.input_arguments import add_input_arguments, input_fields, run_shape
from pytest_trt.cli.project import Project
from pytest_trt.cli.terminal import output_width, show, show_json, show_progress, show_report
from pytest_trt.core import codec
from pytest_trt.core.atomic import write_atomically
from pytest_trt.core.engine_map import Counterpart, EngineMap
from pytest_trt.core.records import SCHEMA, Environment, LayerProfile
from pytest_trt.engine.backends.tensorrt.exported_layers import read_exported, with_times
from pytest_trt.engine.onnx.operations import operations
from pytest_trt.errors import BaselineError, DeclarationError
from pytest_trt.judge.baselines import BaselineFolder, open_baselines
from pytest_trt.report import engine_map
from pytest_trt.report.header import device_name, environment_line
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case
from pytest_trt.trial.exploration import compare_engines, map_engine

_DESCRIPTION = """Show the layers of an engine in order, with their times, types, kernels, precisions, formats and
sizes, and what they cost by type, precision and ONNX node. With OTHER, show what two engines do for the same nodes."""
_WHAT = """an .onnx model or a plan, which is run; a JSON file of trtexec's --exportLayerInfo or --exportProfile; or a
test whose layers were timed, as its node id or any unique part of it"""
_LAYERS, _PROFILE = (".layers.json", ".graph.json"), ".profile.json"
"""How the names of files of layers end, as this plugin and as TREX write them, and how those of their times end."""


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser("explore", help="show the layers of an engine", description=_DESCRIPTION)
    parser.add_argument("what", metavar="WHAT", help=_WHAT)
    parser.add_argument("other", metavar="OTHER", nargs="?", help="a second engine, in any of these forms")
    for flag, name in (("--profile", "WHAT"), ("--other-profile", "OTHER")):
        parser.add_argument(
            flag,
            type=Path,
            metavar="PATH",
            help=f"the --exportProfile of the layers in {name} (default: NAME{_PROFILE} beside "
            f"{' or '.join('NAME' + end for end in _LAYERS)})",
        )
    parser.add_argument(
        "--from", dest="from_path", type=Path, metavar="RUN.json", help="the run of a test (default: the last run)"
    )
    add_precision_argument(parser, "fp32")
    parser.add_argument("--other-precision", metavar="NAME", help="the precision of OTHER (default: that of WHAT)")
    parser.add_argument("--backend", metavar="NAME", help="the backend (default: the ini setting, or auto)")
    add_run_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the layers and their costs as JSON")
    parser.add_argument("--html", type=Path, metavar="PATH", help="write a page instead, which needs no network")
    add_input_arguments(parser)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    if args.other is None and (args.other_profile or args.other_precision):
        raise DeclarationError("--other-profile and --other-precision need a second engine: name it after the first")
    found = [_load(args, args.what, args.profile, args.precision)]
    if args.other is not None:
        found.append(_load(args, args.other, args.other_profile, args.other_precision or args.precision))
    maps = [one for one, _ in found]
    pairs = compare_engines(*(profile for _, profile in found)) if len(found) == 2 else ()
    if args.html is not None:
        _write_page(args.html, maps, pairs)
    elif args.json:
        show_json(json.dumps({"schema": SCHEMA, "engines": codec.encode(maps), "pairs": codec.encode(pairs)}, indent=1))
    else:
        encoding, colour = sys.stdout.encoding or "utf-8", sys.stdout.isatty()
        show_report(engine_map.render(maps, pairs, width=output_width(), colour=colour, encoding=encoding))
    return 0


def _write_page(path: Path, maps: Sequence[EngineMap], pairs: Sequence[Counterpart]) -> None:
    if importlib.util.find_spec("jinja2") is None:
        raise DeclarationError("--html needs jinja2: pip install 'pytest-trt[report]'")
    from pytest_trt.report.html import engine_page

    try:
        write_atomically(path, engine_page.render(maps, pairs))
    except OSError as error:
        raise DeclarationError(f"--html: {path} cannot be written: {error.strerror or error}") from error
    show(f"wrote {path}")


def _load(args: argparse.Namespace, what: str, times: Path | None, precision: str) -> tuple[EngineMap, LayerProfile]:
    """Return what an argument names, mapped, and its layers.

    Raises:
        TrtError: There is no such engine, file or test, or it cannot be read or run.
    """
    path = Path(what)
    if path.is_file() and path.suffix == ".json":
        return _exported(path, times)
    if times is not None:
        raise DeclarationError(f"--profile and --other-profile belong to a file of --exportLayerInfo, not to {what!r}")
    if path.is_file():
        return _timed(args, what, precision)
    if path.suffix in (".json", ".onnx", ".plan", ".engine", ".trt") and "::" not in what:
        raise DeclarationError(f"there is no file {what!r}: name an engine, a file of layers, or a test")
    return _stored(args, what)


def _exported(path: Path, times: Path | None) -> tuple[EngineMap, LayerProfile]:
    profile, notes = read_exported(path), []
    stem = next((path.name.removesuffix(end) for end in _LAYERS if path.name.endswith(end)), "")
    beside = path.with_name(stem + _PROFILE)
    if times is None and stem and beside.is_file():
        times = beside
    if times is not None:
        profile, unmatched = with_times(profile, times)
        notes.append(f"the times are those in {times}")
        if unmatched:
            notes.append(f"{unmatched} of its layers are not in {path}, and come last")
    return map_engine(str(path), profile, notes), profile


def _timed(args: argparse.Namespace, what: str, precision: str) -> tuple[EngineMap, LayerProfile]:
    """Build the engine, or load the plan, and time its layers."""
    flags = {"backend": ("--backend", args.backend), **run_options(args)}
    spec = EngineSpec(path=what, precision=parse_precision(precision), **input_fields(args))
    declaration = Declaration(spec=spec, run=run_shape(args))
    with Bench(Project(args.rootdir).settings(flags), show_progress) as bench:
        with Case(bench, "explore", declaration, [Path.cwd()]) as case, bench.lock(case.environment):
            profile, notes = case.profile(), [f"{precision} on {environment_line(case.environment)}"]
            nodes = [] if case.model.kind == "plan" else list(operations(case.model.path))
        show_progress("")
    return map_engine(what, profile, notes, nodes), profile


def _stored(args: argparse.Namespace, what: str) -> tuple[EngineMap, LayerProfile]:
    """Return the layers of a test, from a run or else from its baseline."""
    project = Project(args.rootdir)
    timed: dict[str, tuple[Environment, LayerProfile, str]] = {}
    known: set[str] = set()
    if args.from_path is not None or project.last_run.exists():
        for result in project.results(args.from_path):
            known.add(result.node_id)
            if result.measurement is not None and result.measurement.profile is not None:
                timed[result.node_id] = (result.measurement.environment, result.measurement.profile, "run")
    folder = _baselines(project) if args.from_path is None else None
    stored = [one for e in folder.list() if not isinstance(one := e.content, BaselineError)] if folder else []
    known |= {baseline.node_id for baseline in stored}
    chosen = choose_tests(what, sorted(known), "there is no file and no test", "run the tests first, or name a file")
    if len(chosen) > 1:
        raise DeclarationError(f"{what!r} names {len(chosen)} tests, and one has one engine: give more of the id")
    (node_id,) = chosen
    for baseline in stored if node_id not in timed else ():
        data = folder.data(baseline) if folder is not None and baseline.node_id == node_id else None
        if data is not None and data.profile is not None:
            timed[node_id] = (baseline.environment, data.profile, "baseline")
    if node_id not in timed:
        raise DeclarationError(
            f"the layers of {node_id} were not timed: a run with --trt-baseline-save or --trt-report=trtexec:PATH does"
        )
    environment, profile, origin = timed[node_id]
    notes = [f"from its {origin} on {device_name(environment)}; only the files of trtexec have sizes"]
    return map_engine(node_id, profile, notes), profile


def _baselines(project: Project) -> BaselineFolder | None:
    settings = project.settings({})
    if settings.baseline is None:
        return None
    return open_baselines(settings.baseline_dir, settings.baseline, revision=None, rootdir=project.folder)
