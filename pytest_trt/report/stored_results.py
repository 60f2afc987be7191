"""The results of a run, in a file that grows with them: only a summary of each is held in memory."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO, overload

from pytest_trt.core.records import Environment, Result, Verdict
from pytest_trt.core.thinning import without_samples
from pytest_trt.report import result_line


class StoredResults(Sequence[Result]):
    """The last result of each test, in the order of the tests. To iterate over them reads each from the file.

    Args:
        file: A file that is open for reading and writing. It gets one line for each result, with a comma before it,
            so that with `]}` at its end it is the JSON of a run.
        have_all_samples: Whether the results have all of their samples.

    Attributes:
        summaries: The results without samples, layers and outputs, by their keys.
        error: The error that ended the writing, such as a full disk. Later results have no samples.
    """

    def __init__(self, file: BinaryIO, *, have_all_samples: bool = False) -> None:
        self._file, self.have_all_samples = file, have_all_samples
        self.summaries: dict[str, Result] = {}
        self.error: OSError | None = None
        self._places: dict[str, tuple[int, int]] = {}
        self._environments: dict[Environment, Environment] = {}

    def begin(self, opening: str) -> None:
        """Write the JSON that comes before the first result."""
        self._append(opening.encode("ascii"))

    def add(self, result: Result, line: str = "", *, key: str = "") -> None:
        """Store a result in place of an earlier one.

        Args:
            result: The result.
            line: The result as one line of JSON, if that is known.
            key: What the result is known by. The default is the test's node id.
        """
        line = line or result_line.render(result)
        key, raw = key or result.node_id, line.encode("ascii")
        self._places.pop(key, None)
        start = self._append(raw + b",\n")
        if start is not None:
            self._places[key] = start, len(raw)
        self.summaries[key] = self._shared(without_samples(result))

    def _append(self, raw: bytes) -> int | None:
        """Write at the end of the file, and return where; None if this or an earlier write failed."""
        if self.error is not None:
            return None
        try:
            start = self._file.seek(0, os.SEEK_END)
            self._file.write(raw)
            self._file.flush()
        except OSError as error:
            self.error = error
            return None
        return start

    def _shared(self, summary: Result) -> Result:
        """Return the summary with the environment that equal ones have, so that it is held only once."""
        measurement = summary.measurement
        if measurement is None:
            return summary
        environment = self._environments.setdefault(measurement.environment, measurement.environment)
        return dataclasses.replace(summary, measurement=dataclasses.replace(measurement, environment=environment))

    def set_saved(self, node_id: str, saved: str) -> None:
        """Add the sentence on saving to the result of the test, if it has one."""
        if node_id in self.summaries:
            self.summaries[node_id] = dataclasses.replace(self.summaries[node_id], saved=saved)

    def set_verdicts(self, key: str, verdicts: tuple[Verdict, ...]) -> None:
        """Replace the verdicts of a result."""
        self.add(dataclasses.replace(result_line.parse(self._line(key)), verdicts=verdicts), key=key)

    def lines(self) -> Iterator[str]:
        """Yield the JSON of each result in one line."""
        return map(self._line, self.summaries)

    def _line(self, node_id: str) -> str:
        summary, place = self.summaries[node_id], self._places.get(node_id)
        if place is None:
            return result_line.render(summary)
        self._file.seek(place[0])
        line = self._file.read(place[1]).decode("ascii")
        if summary.saved:
            line = json.dumps({**json.loads(line), "saved": summary.saved}, separators=(",", ":"))
        return line

    def __len__(self) -> int:
        return len(self.summaries)

    def __iter__(self) -> Iterator[Result]:
        return map(result_line.parse, self.lines())

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Result, ...]: ...
    def __getitem__(self, index: int | slice) -> Result | tuple[Result, ...]:
        node_ids = list(self.summaries)[index]
        if isinstance(node_ids, str):
            return result_line.parse(self._line(node_ids))
        return tuple(result_line.parse(self._line(node_id)) for node_id in node_ids)


def summaries(results: Sequence[Result]) -> Sequence[Result]:
    """Return the results for a report that needs all of them at once: without samples if they are stored in a file."""
    return tuple(results.summaries.values()) if isinstance(results, StoredResults) else results
