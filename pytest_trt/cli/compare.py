"""`pytest-trt compare A B`: two runs or two sets of baselines, without a device."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.cli.exit_status import exit_status
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import ALWAYS_FAIL, Measurement, Result, Status
from pytest_trt.errors import BaselineError, DeclarationError

if TYPE_CHECKING:
    from pytest_trt.judge.baselines.baseline import Baseline
    from pytest_trt.judge.regression.offline import Key

_DESCRIPTION = """Compares B with A, test by test. Each is a file that --trt-report=json:PATH wrote, or a folder or
fsspec URL of baselines, with #NAME for another one than main. Exit status: 0 nothing is worse, 1 something is, 2 usage,
125 something is inconclusive, invalid or was not measured again."""


def add_command(subparsers: Any) -> None:
    parser = subparsers.add_parser("compare", help="compare two runs or baselines", description=_DESCRIPTION)
    parser.add_argument("old", metavar="A")
    parser.add_argument("new", metavar="B")
    parser.add_argument("--max-slowdown", metavar="P", help="how much slower a test may be (5%%)")
    parser.add_argument("--max-memory-growth", metavar="P", help="how much more memory (5%%)")
    parser.add_argument("--figure", action="append", choices=tuple(FIGURES), help="what to compare (ms, memory_mb)")
    parser.add_argument("--fail-on", metavar="LIST", help="further verdicts that fail, such as missing,new")
    parser.add_argument("--strict", action="store_true", help="fail also on what is undecided or in B alone")
    parser.add_argument("--test", metavar="GLOB", help="compare only these tests; * and ? are wildcards")
    parser.add_argument("--format", choices=("table", "md", "json"), default="table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from pytest_trt.cli.project import read_settings
    from pytest_trt.core.node_patterns import matches
    from pytest_trt.judge.regression.offline import Tolerances, compare_runs

    settings = read_settings({}, {
        "max_slowdown": ("--max-slowdown", args.max_slowdown),
        "max_memory_growth": ("--max-memory-growth", args.max_memory_growth),
        "fail_on": ("--fail-on", args.fail_on),
    })  # fmt: skip
    tolerances = Tolerances(
        max_slowdown=settings.max_slowdown,
        max_memory_growth=settings.max_memory_growth,
        figures=tuple(args.figure or ("ms", "memory_mb")),
    )
    strict: frozenset[Status] = frozenset(("inconclusive", "invalid", "new") if args.strict else ())
    failing = (ALWAYS_FAIL - {"invalid"}) | settings.fail_on | strict
    wanted = args.test or "*"
    old = {key: value for key, value in _references(args.old).items() if matches(wanted, key[1])}
    new = {key: value for key, value in _results(args.new).items() if matches(wanted, key[1])}
    _check_common(old, new, args)
    results = compare_runs(old, new, tolerances)
    print(_rendered(results, args, failing), end="")
    return exit_status(results, failing)


def _references(source: str) -> Mapping[Key, Baseline]:
    """What stands in `source` as references; a test that was not measured is none."""
    from pytest_trt.cli.project import read_results
    from pytest_trt.judge.baselines import device_slug

    path = Path(source)
    if not path.is_file():
        return _stored(source)
    measured = ((result.node_id, result.measurement) for result in read_results(path) if result.measurement)
    return {(device_slug(m.environment), node_id): _reference(path, m) for node_id, m in measured}


def _reference(path: Path, measurement: Measurement) -> Baseline:
    """Raises DeclarationError for a measurement that cannot be one."""
    from pytest_trt.judge.baselines.baseline import baseline_of

    try:
        return baseline_of(measurement)
    except ValueError as error:
        raise DeclarationError(f"{path}: {measurement.node_id}: {error}") from error


def _results(source: str) -> Mapping[Key, Result]:
    from pytest_trt.cli.project import read_results
    from pytest_trt.judge.baselines import device_slug
    from pytest_trt.judge.baselines.baseline import measurement_of

    if not Path(source).is_file():
        return {
            key: Result(key[1], (), measurement=measurement_of(baseline)) for key, baseline in _stored(source).items()
        }
    results = read_results(Path(source))
    for result in results:
        if result.measurement is not None:
            _reference(Path(source), result.measurement)
    slugs = [device_slug(r.measurement.environment) for r in results if r.measurement is not None]
    lone = slugs[0] if len(set(slugs)) == 1 else ""
    return {(device_slug(r.measurement.environment) if r.measurement else lone, r.node_id): r for r in results}


def _stored(source: str) -> Mapping[Key, Baseline]:
    """Every baseline in a folder or at a URL. Raises BaselineError for the first that cannot be read: what is compared
    with half of them would pass for the whole."""
    from pytest_trt.judge.baselines import device_slug, open_baselines

    location, _, name = source.partition("#")
    if "://" not in location and not Path(location).is_dir():
        raise DeclarationError(f"{source} is neither a file nor a folder: name a run's file, or a folder of baselines")
    found = {}
    for entry in open_baselines(location, name or "main", revision=None, rootdir=Path()).list():
        if isinstance(entry.content, BaselineError):
            raise entry.content
        found[device_slug(entry.content.environment), entry.content.node_id] = entry.content
    return found


def _check_common(old: Mapping[Key, Baseline], new: Mapping[Key, Result], args: argparse.Namespace) -> None:
    """Raise DeclarationError where nothing can be compared: nothing that was compared is nothing that passed."""
    from pytest_trt.judge.regression.offline import devices

    for name, side in ((args.old, old), (args.new, new)):
        if not side:
            wanted = f" that matches {args.test!r}" if args.test else ""
            raise DeclarationError(f"{name} has no measured test{wanted}: nothing can be compared")
    if not old.keys() & new.keys():
        raise DeclarationError(
            f"{args.old} and {args.new} have no test on one device in common: the first is of {devices(old)}, "
            f"the second of {devices(new)}"
        )


def _rendered(results: tuple[Result, ...], args: argparse.Namespace, failing: frozenset[Status]) -> str:
    from pytest_trt.report import markdown, result_json, terminal
    from pytest_trt.report.header import Header

    if args.format == "json":
        return result_json.render([_without_samples(result) for result in results])
    environment = next(r.measurement.environment for r in results if r.measurement is not None)
    header = Header.from_environment(environment, Path(args.old).name, failing)
    if args.format == "md":
        return markdown.render(results, header)
    encoding = sys.stdout.encoding or "utf-8"
    return terminal.render(results, header, colour=sys.stdout.isatty(), encoding=encoding)


def _without_samples(result: Result) -> Result:
    if result.measurement is None:
        return result
    return dataclasses.replace(result, measurement=dataclasses.replace(result.measurement, samples=(), profile=None))
