"""`pytest-trt merge RUN... -o all.json`: put the results of several runs together, such as the shards of a CI job."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pytest_trt.cli.project import read_settings
from pytest_trt.cli.terminal import show
from pytest_trt.core.atomic import write_atomically
from pytest_trt.core.records import Result
from pytest_trt.core.version import __version__
from pytest_trt.errors import DeclarationError
from pytest_trt.judge.baselines import device_slug
from pytest_trt.report import result_json, result_line
from pytest_trt.report.header import Header, RunHead
from pytest_trt.report.result_json import MAX_RESULTS, RunFile
from pytest_trt.report.stored_results import StoredResults, summaries
from pytest_trt.report.write import write

_DESCRIPTION = """Put the results of several runs together, such as the shards of a CI job or a matrix over devices, for
compare, baseline accept and reports. Two results of one test on one device are an error. A file that a killed run left
(*.json.unfinished) is read up to its last whole result."""

_MAX_NAMED = 5
"""How many conflicts an error names."""

Key = tuple[str, str]
"""A device, which is empty if it is not known, and a test's node id."""


def add_command(subparsers: Any) -> None:
    """Add the command's parser to `subparsers`."""
    parser = subparsers.add_parser("merge", help="put the results of several runs together", description=_DESCRIPTION)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a file that --trt-report=json:PATH wrote, or a killed run"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PATH", help="the file to write")
    parser.add_argument(
        "--report",
        action="append",
        metavar="FORMAT:PATH",
        help="also write a report of all results, in a format of --trt-report; may be repeated",
    )
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    reports = read_settings({}, {"reports": ("--report", args.report)}).reports
    runs = [RunFile(path) for path in args.runs]
    keys = _read_keys(runs)
    head = _merged_head(runs)
    try:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        lines = (result_line.render(result) for _, result in _results(runs, keys))
        write_atomically(args.output, result_json.document(lines, head))
        for form, path in reports:
            _write_report(form, Path(path), runs, keys, head)
    except OSError as error:
        raise DeclarationError(f"the merged run cannot be written ({error}): name another path") from error
    count = sum(len(numbers) for numbers in keys)
    show(f"{args.output}: {count} results of {len(runs)} runs")
    for form, path in reports:
        show(f"{form} report: {path}")
    return 0


def _read_keys(runs: Sequence[RunFile]) -> list[dict[int, Key]]:
    """Return the device and test of each result to keep, by its number, for each of the runs.

    Raises:
        DeclarationError: Two results are of one test on one device, or there are too many.
    """
    owners: dict[Key, Path] = {}
    conflicts: list[str] = []
    keys: list[dict[int, Key]] = []
    for run in runs:
        known = dict(enumerate(map(_key, run)))
        devices = {device for device, _ in known.values()} - {""}
        if len(devices) == 1:  # A test without a measurement does not know its device. It ran where the others did.
            (device,) = devices
            known = {number: (device, node_id) for number, (_, node_id) in known.items()}
        if run.is_unfinished:  # The last result of a test that was run again counts.
            last = {key: number for number, key in known.items()}
            known = {number: key for key, number in last.items()}
        for key in known.values():
            if key in owners:
                where = f"on {key[0]}" if key[0] else "without a measurement"
                conflicts.append(f"{key[1]} {where}: in {owners[key]} and in {run.path}")
            owners[key] = run.path
        keys.append(known)
    if conflicts:
        more = f"and {len(conflicts) - _MAX_NAMED} more" if len(conflicts) > _MAX_NAMED else ""
        raise DeclarationError(
            "two runs have a result of one test on one device: leave one of the runs out:",
            *filter(None, (*conflicts[:_MAX_NAMED], more)),
        )
    if len(owners) > MAX_RESULTS:
        raise DeclarationError(f"the runs have {len(owners)} results, but at most {MAX_RESULTS} are read from a file")
    return keys


def _key(result: Result) -> Key:
    return (device_slug(result.measurement.environment) if result.measurement is not None else "", result.node_id)


def _results(runs: Sequence[RunFile], keys: Sequence[dict[int, Key]]) -> Iterator[tuple[Key, Result]]:
    for run, kept in zip(runs, keys, strict=True):
        yield from ((kept[number], result) for number, result in enumerate(run) if number in kept)


def _merged_head(runs: Sequence[RunFile]) -> RunHead | None:
    """Return a head that spans the runs; None if none of them has one."""
    parts = [part for run in runs if run.head is not None for part in (run.head.parts or (run.head,))]
    if not parts:
        return None
    first = min(parts, key=lambda head: head.start)
    return dataclasses.replace(
        first,
        plugin=__version__,
        command=(),
        host=_common([head.host for head in parts]) or "",
        project=_common([head.project for head in parts]) or "",
        commit=_common([head.commit for head in parts]),
        branch=_common([head.branch for head in parts]),
        duration_s=_span_s(parts),
        interrupted=any(head.interrupted or head.duration_s is None for head in parts),
        parts=tuple(parts),
    )


def _common(values: Sequence[str | None]) -> str | None:
    """Return the value that all have; None if they differ."""
    return values[0] if len(set(values)) == 1 else None


def _span_s(heads: Sequence[RunHead]) -> float | None:
    """Return the seconds from the first start to the last end; None if an end is not known."""
    try:
        spans = [(datetime.fromisoformat(head.start), timedelta(seconds=head.duration_s or 0.0)) for head in heads]
        span = max(start + duration for start, duration in spans) - min(start for start, _ in spans)
    except (ValueError, TypeError, OverflowError):  # a start that is no time, or has no time zone
        return None
    return None if any(head.duration_s is None for head in heads) else round(span.total_seconds(), 3)


def _write_report(
    form: str, path: Path, runs: Sequence[RunFile], keys: Sequence[dict[int, Key]], head: RunHead | None
) -> None:
    with tempfile.TemporaryFile() as file:
        stored = StoredResults(file, have_all_samples=True)
        for key, result in _results(runs, keys):
            stored.add(result, key=" ".join(key))
        if stored.error is not None:
            raise stored.error
        write(form, path, stored, Header.from_results(summaries(stored), None, run=head))
