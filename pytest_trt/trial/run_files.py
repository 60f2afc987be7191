"""Read what the history of tests needs of the JSON of runs. Samples and layers, which take most of it, are skipped."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_trt.core import codec, json_text
from pytest_trt.core.json_stream import ArrayReader
from pytest_trt.core.records import SCHEMA, STATUSES, Environment, Status, worst
from pytest_trt.errors import DeclarationError, RecordError
from pytest_trt.judge.baselines.run import IN_HISTORY, Run, is_judged_ratio, software_of
from pytest_trt.report.header import RunHead, device_name
from pytest_trt.report.result_json import MAX_RESULTS, REMEDY, RESULT_LIMITS, UNFINISHED

_SKIPPED = (
    (b'"reference":{', b'"history":['),
    (b'"samples":[', b'"notes":['),
    (b'"spec":{', b'"plan_sha256":"'),
    (b'"proof":{', b'"time":"'),
)
"""The first of some fields that are skipped, and the field after them, as the plugin writes them. No string contains
either text, since its quotes would be escaped."""

_STATUSES = frozenset(STATUSES)

_ENVIRONMENT = (b'"environment":', b',"figures":{')
"""What precedes and what follows an environment, as the plugin writes it."""


class OtherFile(RecordError):
    """The file is JSON, but does not claim to be that of a run, such as a `package.json`."""


@dataclasses.dataclass(frozen=True)
class FoundRun:
    """A run of a test in a file.

    Attributes:
        node_id: The test's node id.
        device: The name of the device.
        run: The run. Whether it became the reference is not known.
        status: Its verdict.
        reference_time: When the reference that it was compared with was measured.
    """

    node_id: str
    device: str
    run: Run
    status: Status
    reference_time: str


def read_runs(path: Path, branch: str | None) -> list[FoundRun]:
    """Return the measured tests in a file of `--trt-report=json:PATH`.

    Args:
        path: The file.
        branch: The branch whose runs are wanted; None for all.

    Raises:
        DeclarationError: The file cannot be read.
        OtherFile: The file is JSON of another kind.
        RecordError: The file is not the report of a run, or is damaged.
    """
    lines = _Lines()
    try:
        with path.open("rb") as file:
            if file.peek(1)[:1] == b"[":  # Even a long list needs not be read.
                raise OtherFile("must be an object")
            may_end_early = path.name.endswith(UNFINISHED)
            reader = ArrayReader(
                file, "results", RESULT_LIMITS, MAX_RESULTS, may_end_early=may_end_early, shorten=lines.shorten
            )
            found = list(_found_runs(reader, lines.environments))
    except OSError as error:
        raise DeclarationError(f"{path} cannot be read ({error}): {REMEDY}") from error
    except RecordError as error:
        kind = OtherFile if isinstance(error, OtherFile) else RecordError
        raise kind(f"{path} {error}: {REMEDY}") from error
    schema = reader.fields.get("schema")
    if not isinstance(schema, int) or schema > SCHEMA or not reader.found:
        kind = RecordError if isinstance(schema, int) and reader.found else OtherFile
        raise kind(f"{path} is not the JSON of a run that this pytest-trt reads: {REMEDY}")
    head = codec.decode(RunHead, reader.fields["head"], f"{path}.head") if reader.fields.get("head") else None
    return found if branch is None or (head is not None and head.branch == branch) else []


class _Lines:
    """Leaves out of the lines of results what is not used. Most results of a file have the same environment.

    Attributes:
        environments: The environments that were left out, by the number that a line has in place of its environment.
    """

    def __init__(self) -> None:
        self.environments: dict[int, Environment] = {}
        self._numbers: dict[bytes, int] = {}

    def shorten(self, line: bytes) -> bytes:
        """Return a line of the plugin without the fields that are skipped. Another text may not be JSON then."""
        for begin, follows in _SKIPPED:
            start = line.find(begin)
            if start >= 0 and (end := line.find(follows, start)) >= 0:
                line = line[:start] + line[end:]
        before, found, rest = line.partition(_ENVIRONMENT[0])
        environment, after, _ = rest.partition(_ENVIRONMENT[1])
        if not after:
            return line
        number = self._numbers.get(environment)
        if number is None:
            number = self._numbers[environment] = len(self._numbers)
            self.environments[number] = codec.decode(Environment, json_text.parse(environment, RESULT_LIMITS))
        return b"%s%s%d%s" % (before, found, number, rest[len(environment) :])


def _found_runs(reader: ArrayReader, environments: Mapping[int, Environment]) -> Iterator[FoundRun]:
    for number, data in enumerate(reader):
        try:
            if data["measurement"] is not None:
                yield _found_run(data, environments)
        except (AttributeError, KeyError, TypeError, ValueError, RecordError) as error:
            detail = f"no {error}" if isinstance(error, KeyError) else str(error)
            kind = RecordError if "schema" in reader.fields else OtherFile  # The plugin writes the schema first.
            raise kind(f"has a results[{number}] that is no result ({detail[:200]})") from error


def _found_run(data: Mapping[str, Any], environments: Mapping[int, Environment]) -> FoundRun:
    """Return the run in a result. Only the fields that are used are checked, for speed."""
    measurement, verdicts, node_id = data["measurement"], data["verdicts"], data["node_id"]
    known = measurement["environment"]
    environment = environments[known] if type(known) is int else codec.decode(Environment, known, "environment")
    figures, statuses = measurement["figures"], tuple(verdict["status"] for verdict in verdicts)
    if not isinstance(node_id, str) or not _STATUSES.issuperset(statuses):
        raise TypeError("its id or a status is none")
    run = Run(
        time=measurement["time"],
        commit=environment.commit,
        figures={name: float(figure["value"]) for name in IN_HISTORY if (figure := figures.get(name)) is not None},
        plan=measurement["plan_sha256"][:16],
        card=environment.card,
        ratios={
            v["figure"]: float(v["ratio"]["value"])
            for v in verdicts
            if v["ratio"] and is_judged_ratio(v["basis"], v["figure"])
        },
        limits={v["figure"]: float(v["limit"]) for v in verdicts if v["basis"] == "budget" and v["limit"] is not None},
        software=software_of(environment),
    )
    return FoundRun(node_id, device_name(environment), run, worst(statuses), data.get("baseline_time") or "")
