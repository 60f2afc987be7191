"""`pytest-trt compare A B`: compare two runs or two sets of baselines, without a device."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_trt.cli.arguments import add_gate_argument
from pytest_trt.cli.exit_status import exit_status
from pytest_trt.cli.project import read_settings
from pytest_trt.cli.terminal import output_width, show_json, show_report
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.location import Location
from pytest_trt.core.node_patterns import matches
from pytest_trt.core.records import ALWAYS_FAIL, Measurement, Result, Status
from pytest_trt.core.thinning import without_samples
from pytest_trt.errors import BaselineError, DeclarationError
from pytest_trt.judge.baselines import Baseline, device_slug, open_baselines
from pytest_trt.judge.baselines.baseline import baseline_of, measurement_of
from pytest_trt.judge.regression.fleet import settle_cards
from pytest_trt.judge.regression.offline import Key, Tolerances, compare_runs, devices
from pytest_trt.report import markdown, result_json, terminal
from pytest_trt.report.header import Header
from pytest_trt.report.result_json import RunFile
from pytest_trt.spec.case_ids import current_node_id

_DESCRIPTION = """Compare B with A, test by test. Each of them is a file that --trt-report=json:PATH wrote, or a folder
or fsspec URL of baselines. #NAME after a folder or URL names another baseline than main."""
_EPILOG = """Exit status: 0 if nothing is worse, 1 if something is, 2 for a usage error, 125 if something is
inconclusive, invalid, or in A but not in B."""
_GATED = tuple(name for name, about in FIGURES.items() if about.gated)


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser(
        "compare", help="compare two runs or baselines", description=_DESCRIPTION, epilog=_EPILOG
    )
    parser.add_argument("old", type=Location, metavar="A", help="the run or baselines to compare with")
    parser.add_argument("new", type=Location, metavar="B", help="the run or baselines to judge")
    parser.add_argument("--max-slowdown", metavar="P", help="how much slower a test may be (default: 5%%)")
    parser.add_argument("--max-memory-growth", metavar="P", help="how much more memory a test may use (default: 5%%)")
    add_gate_argument(parser)
    parser.add_argument(
        "--figure",
        action="append",
        choices=tuple(FIGURES),
        metavar="NAME",
        help=f"compare only this figure; may be repeated (default: {', '.join(_GATED)}); one of {', '.join(FIGURES)}",
    )
    parser.add_argument("--fail-on", metavar="LIST", help="further verdicts that fail, such as missing,new")
    parser.add_argument("--strict", action="store_true", help="also fail on inconclusive, invalid and new")
    parser.add_argument("--test", metavar="TEXT", help="compare only the tests whose id has this part or pattern")
    parser.add_argument(
        "--format", choices=("table", "md", "json"), default="table", help="the form of the output (default: table)"
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    flags = {
        "max_slowdown": ("--max-slowdown", args.max_slowdown),
        "max_memory_growth": ("--max-memory-growth", args.max_memory_growth),
        "gates": ("--gate", args.gate),
        "fail_on": ("--fail-on", args.fail_on),
    }
    settings = read_settings({}, flags)
    tolerances = Tolerances(
        max_slowdown=settings.max_slowdown,
        max_memory_growth=settings.max_memory_growth,
        requested=dict(settings.gates),
        figures=tuple(args.figure or ()),
    )
    strict: frozenset[Status] = frozenset(("inconclusive", "invalid", "new") if args.strict else ())
    failing = (ALWAYS_FAIL - {"invalid"}) | settings.fail_on | strict
    text = args.test or "*"
    pattern = text if {"*", "?"} & set(text) else f"*{text}*"
    old = {key: value for key, value in _read_references(args.old).items() if matches(pattern, key[1])}
    new = {key: value for key, value in _read_new_results(args.new).items() if matches(pattern, key[1])}
    _check_common_tests(old, new, args)
    results, findings = settle_cards(compare_runs(old, new, tolerances))
    if args.format == "json":
        show_json("".join(result_json.render([without_samples(result) for result in results])))
    else:
        show_report(_render(results, args, failing, findings))
    return exit_status(results, failing)


def _read_references(source: Location) -> Mapping[Key, Baseline]:
    """Return the references in `source`. A test without a measurement has none."""
    path = Path(source.reveal())
    if not path.is_file():
        return _read_baselines(source)
    measured = ((result.node_id, result.measurement) for result in RunFile(path) if result.measurement)
    return {(device_slug(m.environment), current_node_id(node_id)): _as_reference(path, m) for node_id, m in measured}


def _as_reference(path: Path, measurement: Measurement) -> Baseline:
    """Return the measurement as a baseline. Raise DeclarationError if it cannot be one."""
    try:
        return baseline_of(measurement)
    except ValueError as error:
        raise DeclarationError(f"{path}: {measurement.node_id}: {error}") from error


def _read_new_results(source: Location) -> Mapping[Key, Result]:
    """Return the results in `source` by device and test."""
    path = Path(source.reveal())
    if not path.is_file():
        baselines = _read_baselines(source)
        return {key: Result(key[1], (), measurement=measurement_of(baseline)) for key, baseline in baselines.items()}
    read = map(without_samples, RunFile(path))
    results = [dataclasses.replace(result, node_id=current_node_id(result.node_id)) for result in read]
    for result in results:
        if result.measurement is not None:
            _as_reference(path, result.measurement)
    devices_of_run = [device_slug(r.measurement.environment) for r in results if r.measurement is not None]
    # A test without a measurement does not know its device. If all others ran on one device, it did too.
    only_device = devices_of_run[0] if len(set(devices_of_run)) == 1 else ""
    return {(device_slug(r.measurement.environment) if r.measurement else only_device, r.node_id): r for r in results}


def _read_baselines(source: Location) -> Mapping[Key, Baseline]:
    """Return every baseline in a folder or at a URL.

    Raises:
        DeclarationError: There is no such file or folder.
        BaselineError: A baseline cannot be read. A comparison of the others would look complete.
    """
    location, name = source.split_name()
    if not location.is_url and not Path(location.reveal()).is_dir():
        raise DeclarationError(f"{source} is neither a file nor a folder: name a run's file, or a folder of baselines")
    found = {}
    for entry in open_baselines(location, name or "main", revision=None, rootdir=Path()).list():
        if isinstance(entry.content, BaselineError):
            raise entry.content
        found[device_slug(entry.content.environment), current_node_id(entry.content.node_id)] = entry.content
    return found


def _check_common_tests(old: Mapping[Key, Baseline], new: Mapping[Key, Result], args: argparse.Namespace) -> None:
    """Raise DeclarationError if there is nothing to compare, so that an empty comparison cannot pass."""
    for name, side in ((args.old, old), (args.new, new)):
        if not side:
            condition = f" that matches {args.test!r}" if args.test else ""
            raise DeclarationError(f"{name} has no measured test{condition}: nothing can be compared")
    if not old.keys() & new.keys():
        raise DeclarationError(
            f"{args.old} and {args.new} have no test on the same device: the first has tests on {devices(old)}, "
            f"the second on {devices(new)}"
        )


def _render(
    results: Sequence[Result], args: argparse.Namespace, failing: frozenset[Status], findings: Sequence[str]
) -> str:
    environment = next(r.measurement.environment for r in results if r.measurement is not None)
    header = Header.from_environment(environment, Path(str(args.old)).name, failing)
    header = dataclasses.replace(header, findings=tuple(findings))
    if args.format == "md":
        return markdown.render(results, header)
    encoding = sys.stdout.encoding or "utf-8"
    return terminal.render(results, header, width=output_width(), colour=sys.stdout.isatty(), encoding=encoding)
