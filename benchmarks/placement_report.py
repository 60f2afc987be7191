"""The rows and the report of placement.py."""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
    """The result of one case of an experiment.

    Attributes:
        model: The name of the model.
        experiment: The name of the experiment.
        case: The condition in which the engine ran.
        values: The latency in ms of each engine, or ratios of latencies.
        unit: `ms`, or `ratio`.
        fresh_ms: The median latency in ms of the model in the fresh probes of the first experiment.
        error: Why the experiment failed.
        details: Further data of the experiment.
        state: The state of the GPU after the case.
        seconds: The duration of the case.
    """

    model: str
    experiment: str
    case: str
    values: tuple[float, ...] = ()
    unit: str = "ms"
    fresh_ms: float | None = None
    error: str = ""
    details: Any = None
    state: Mapping[str, float] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    @property
    def apart(self) -> float:
        """The largest value relative to the smallest, as a share."""
        return max(self.values) / min(self.values) - 1

    @property
    def against_fresh(self) -> float | None:
        """The median relative to `fresh_ms`, as a share."""
        return statistics.median(self.values) / self.fresh_ms - 1 if self.fresh_ms and self.unit == "ms" else None


class Report:
    """All rows so far. The files in `folder` are written again after each row.

    Args:
        folder: The folder of placement.json and placement.md.
        about: The device and the software.
        experiments: The names of the experiments, in the order of the report.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], experiments: Iterable[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._about, self._experiments = folder, about, tuple(experiments)
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Add a row, print it, and write the files."""
        self.rows.append(row)
        print(self._line(row), flush=True)
        found = {"about": self._about, "rows": [dataclasses.asdict(row) for row in self.rows]}
        (self._folder / "placement.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        (self._folder / "placement.md").write_text("\n".join(self._markdown()) + "\n", "utf-8")

    def _line(self, row: Row) -> str:
        if row.error:
            return f"| {row.model} | {row.case or row.experiment} | failed: {' '.join(row.error.split())} | | | |"
        shown = f"{statistics.median(row.values):.4f}"
        fresh = "" if row.against_fresh is None else f"{row.against_fresh:+.2%}"
        values = " ".join(f"{value:.4f}" for value in row.values)
        return f"| {row.model} | {row.case} | {shown} | {fresh} | {row.apart:.2%} | {values} |"

    def _markdown(self) -> Iterator[str]:
        yield "# One plan in different processes\n"
        yield "; ".join(f"{name} {value}" for name, value in self._about.items()) + ".\n"
        yield "The median is that of the block medians of `gpu_ms` in ms, or of their ratios. *Range* is the largest"
        yield "value relative to the smallest. *Against fresh* is the median relative to that of the first row.\n"
        for name in self._experiments:
            if rows := [row for row in self.rows if row.experiment == name]:
                yield f"## {name[0].upper()}{name[1:]}\n"
                yield "| model | condition | median | against fresh | range | values |\n|---|---|---|---|---|---|"
                yield from map(self._line, rows)
                yield ""
        for row in self.rows:
            if row.experiment == "layers" and row.details:
                yield f"The slowest layers of {row.model}: ms fresh, ms after 2 GiB, ratio.\n"
                for layer, (plain, padded) in list(row.details.items())[:8]:
                    yield f"- `{layer[:60]}`: {plain:.4f}, {padded:.4f}, {padded / plain - 1:+.1%}" if padded else layer
                yield ""
            if row.details and "copy_ms" in row.details:
                times, copies = row.values, row.details["copy_ms"]
                correlation = statistics.correlation(times, copies) if len(set(copies)) > 1 and row.apart else math.nan
                again = ", ".join(f"{value:+.2%}" for value in row.details["again"])
                yield f"{row.model}, {row.case}: change at the second time in the same arena: {again}. Correlation"
                yield f"of the latency with the time to copy the content of the arena: {correlation:+.2f}.\n"
