"""Write a run as JSON, one result in each line, and read it one result at a time, as untrusted input."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pytest_trt.core import codec
from pytest_trt.core.json_stream import ArrayReader
from pytest_trt.core.json_text import JsonLimits
from pytest_trt.core.records import SCHEMA, Measurement, Result
from pytest_trt.core.scalars import short_repr
from pytest_trt.core.thinning import fit_samples
from pytest_trt.errors import DeclarationError, RecordError
from pytest_trt.report import result_line
from pytest_trt.report.header import Header, RunHead
from pytest_trt.report.stored_results import StoredResults

T = TypeVar("T")

RESULT_LIMITS = JsonLimits(text_bytes=256 << 20, memory_bytes=64 << 20, memory_per_byte=8)
"""How large one result may be. All samples of a test that is measured for a minute take about 60 MB."""

MAX_RESULTS = 100_000
"""The most results that are read from a file."""

SAMPLE_BYTES = 4096
"""About how many bytes the samples of a result take, unless all are requested. The rest takes 3 to 5 kB."""

LAST_RUN = "last-run.json"
"""The file of the last run, in this plugin's folder of pytest's cache."""

UNFINISHED = ".unfinished"
"""The end of the name of a file whose run goes on, or was killed: it is JSON that ends early."""

REMEDY = "name a file that --trt-report=json:PATH wrote"


@dataclasses.dataclass(frozen=True)
class Run:
    """The content of the file.

    Attributes:
        schema: The version of the format.
        head: What was run, where and when. Files of earlier versions have none.
        results: One result for each test.
    """

    results: tuple[Result, ...]
    head: RunHead | None = None
    schema: int = SCHEMA


def render(results: Sequence[Result], header: Header | None = None) -> Iterator[str]:
    """Yield the parts of the JSON, with a few samples of each result. Numbers keep all their digits.

    Args:
        results: The results of the tests.
        header: The facts about the run as a whole; only its `run` is used.
    """
    if isinstance(results, StoredResults) and not results.have_all_samples:
        lines = results.lines()
    else:
        lines = (result_line.render(with_few_samples(result)) for result in results)
    return document(lines, header.run if header is not None else None)


def document(lines: Iterator[str], head: RunHead | None) -> Iterator[str]:
    """Yield the parts of the JSON whose results have these lines."""
    yield opening(head)
    separator = ""
    for line in lines:
        yield f"{separator}{line}"
        separator = ",\n"
    yield "\n]}\n"


def opening(head: RunHead | None) -> str:
    """Return the JSON up to the first result."""
    described = f'"head":{json.dumps(codec.encode(head), separators=(",", ":"))},' if head is not None else ""
    return f'{{"schema":{SCHEMA},{described}"results":[\n'


def with_few_samples(result: Result) -> Result:
    """Return the result with about SAMPLE_BYTES of samples a side, and without the report of the engine inspector."""
    measurement, reference = map(_with_few_samples, (result.measurement, result.reference))
    return dataclasses.replace(result, measurement=measurement, reference=reference)


def _with_few_samples(measurement: Measurement | None) -> Measurement | None:
    if measurement is None:
        return None
    profile = measurement.profile
    if profile is not None and profile.inspected:
        profile = dataclasses.replace(profile, inspected={})
    return dataclasses.replace(measurement, samples=fit_samples(measurement.samples, SAMPLE_BYTES), profile=profile)


class RunReader:
    """Yields the results in a file that `render` wrote, or a part of it that a killed run left.

    Args:
        file: The JSON. It is read once.
        where: The name of the file, for errors.
        may_end_early: Whether the file may end inside the results.

    Attributes:
        head: What was run. It is known once all results were read.
    """

    def __init__(self, file: BinaryIO, where: str, *, may_end_early: bool = False) -> None:
        self._reader = ArrayReader(file, "results", RESULT_LIMITS, MAX_RESULTS, may_end_early=may_end_early)
        self._where = where
        self.head: RunHead | None = None

    def __iter__(self) -> Iterator[Result]:
        """Yield the results.

        Raises:
            RecordError: The text is not such JSON, or has a newer schema. The message names the file and the field.
        """
        for count, data in enumerate(self._elements()):
            if not count:
                self._check_schema()
            yield _with_remedy(result_line.decode, data, f"{self._where}.results[{count}]")
        self._check_schema()
        fields: dict[str, Any] = {"results": []} if self._reader.found else {}
        self.head = _with_remedy(_decode_run, {**fields, **self._reader.fields}, self._where).head

    def _elements(self) -> Iterator[Any]:
        try:
            yield from self._reader
        except RecordError as error:
            raise RecordError(f"{self._where} {error}: {REMEDY}") from error

    def _check_schema(self) -> None:
        schema = self._reader.fields.get("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            raise RecordError(
                f"{self._where} has schema {short_repr(schema)}, and this pytest-trt reads schemas up to {SCHEMA}: "
                "install a newer one"
            )


def _decode_run(data: Any, where: str) -> Run:
    return codec.decode(Run, data, where)


def _with_remedy(decode: Callable[[Any, str], T], data: Any, where: str) -> T:
    """Return what `decode` returns, and add the remedy to the message of its error."""
    try:
        return decode(data, where)
    except RecordError as error:
        raise RecordError(f"{error}: {REMEDY}") from error


class RunFile:
    """The results in a file, which are read one at a time and anew by each iteration.

    Args:
        path: A file that --trt-report=json:PATH wrote, or the UNFINISHED one of a run that was killed. A test that was
            run again may have several results in the latter, the last of which counts.

    Attributes:
        head: What was run; None in files of earlier versions. It is known once all results were read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_unfinished = path.name.endswith(UNFINISHED)
        self.head: RunHead | None = None

    def __iter__(self) -> Iterator[Result]:
        """Yield the results.

        Raises:
            DeclarationError: The file cannot be read.
            RecordError: The file is not the report of a run.
        """
        try:
            with self.path.open("rb") as file:
                reader = RunReader(file, str(self.path), may_end_early=self.is_unfinished)
                yield from reader
                self.head = reader.head
        except OSError as error:
            raise DeclarationError(f"{self.path} cannot be read ({error}): {REMEDY}") from error
