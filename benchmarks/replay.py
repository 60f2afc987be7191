"""Recorded traces as block sources: the judge cannot tell them from probes.

A trace file (.npz) holds arrays `<question>/<engine>` in ms, shape (rounds, samples); the engines took turns round by
round, so one round's rows were measured within a moment. A block is the start of a round, long enough for a block;
what a round holds beyond that is not used, as though the measuring had moved on to the other side.
"""

from __future__ import annotations

import dataclasses
import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_trt.core.records import Block
from pytest_trt.core.stats import median
from pytest_trt.measure.engine_probe import samples_in_block

REFERENCE = "cached"
TIMES_MS = (1e-6, 1e6)  # shorter or longer than any inference: another unit, or rubbish
RUN = 8  # rounds that are resampled together: the clock's swings last two to four of them

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Trace:
    """All engines of one question: samples in ms, shape (rounds, samples), and their SM clock by round, if known."""

    question: str
    engines: Mapping[str, Array]
    clocks: Mapping[str, Mapping[int, float]]

    @property
    def rounds(self) -> int:
        """How many rounds every engine has."""
        return min(map(len, self.engines.values()))

    def true_ratio(self, engine: str) -> float:
        """exp of the median over rounds of the log ratio of round medians, from all rounds."""
        return math.exp(float(np.median(self.log_ratios(engine))))

    def log_ratios(self, engine: str) -> Array:
        """Of round medians to the reference's, shape (rounds,)."""
        sides = (self.engines[engine], self.engines[REFERENCE])
        rounds = min(len(side) for side in sides)
        ours, theirs = (np.log(np.median(side[:rounds], axis=1)) for side in sides)
        ratios: Array = ours - theirs
        return ratios

    def blocks(self, engine: str, block_ms: float, block_samples: int, scale: float = 1.0) -> list[Block]:
        """One block a round: its first samples, times `scale`, as many as a probe would take or as there are."""
        samples = self.engines[engine] * scale
        count = samples_in_block(float(np.median(samples)), block_ms, block_samples)
        clocks = self.clocks.get(engine, {})
        blocks = []
        for number, row in enumerate(samples[:, :count].tolist()):
            state = {"sm_mhz": clocks[number]} if number in clocks else {}
            blocks.append(Block({"ms": tuple(row)}, sum(row) / 1000, state))
        return blocks


class TraceError(ValueError):
    """A file that is no trace, or no telemetry of one: which, what is wrong there, and what belongs there."""


def load(traces: Path, telemetry: Path | None) -> list[Trace]:
    """The questions of a trace file in its order. Raises TraceError for anything that cannot be one."""
    found: dict[str, dict[str, Array]] = {}
    if traces.exists() and not zipfile.is_zipfile(traces):
        raise TraceError(f"{traces} is no .npz file of arrays: numpy.savez writes one")
    try:
        with np.load(traces, allow_pickle=False) as arrays:
            for name in arrays.files:
                question, _, engine = name.rpartition("/")
                if not (question and engine):
                    raise TraceError(f"{traces}: the array {name!r} has no name of the form <question>/<engine>")
                found.setdefault(question, {})[engine] = _checked(arrays[name], f"{traces}: {name}")
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise TraceError(f"{traces} is no .npz file of arrays: {error}") from error
    except ValueError as error:
        raise error if isinstance(error, TraceError) else TraceError(f"{traces}: {error}") from error
    if not found:
        raise TraceError(f"{traces} holds no array: name them <question>/<engine>, rounds x samples in ms")
    rows = _rows(telemetry) if telemetry else []
    for question, engines in found.items():
        if REFERENCE not in engines:
            known = ", ".join(map(repr, engines))
            raise TraceError(f"{traces}: {question!r} has no engine {REFERENCE!r} to compare with: it has {known}")
    return [Trace(question, engines, _clocks(question, rows)) for question, engines in found.items()]


def _checked(values: Any, where: str) -> Array:
    """Times in ms, shape (rounds, samples)."""
    if values.dtype.kind not in "fiu":
        raise TraceError(f"{where} holds {values.dtype}: times in ms are numbers")
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < 1:
        raise TraceError(f"{where} has the shape {values.shape}: rounds x samples are wanted, two rounds at least")
    times: Array = np.asarray(values, dtype=np.float64)
    wrong = np.argwhere(~((times >= TIMES_MS[0]) & (times <= TIMES_MS[1])))
    if len(wrong):
        number, sample = wrong[0]
        value = f"{times[number, sample]:g} in round {number}, sample {sample}"
        raise TraceError(f"{where} has {len(wrong)} times that cannot be in ms: {value}")
    return times


def _rows(telemetry: Path) -> list[Sequence[Any]]:
    try:
        rows = json.loads(telemetry.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TraceError(f"{telemetry} is no JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) >= 3 for row in rows):
        raise TraceError(f"{telemetry}: a list of rows (question or batch, round, engine, host ms, MHz, ...) is wanted")
    return rows


def _clocks(question: str, rows: Sequence[Sequence[Any]]) -> dict[str, dict[int, float]]:
    """SM clocks by engine and round, where rows (question or batch, round, engine, host ms, MHz, ...) tell them."""
    clocks: dict[str, dict[int, float]] = {}
    for row in rows:
        told = len(row) > 4 and isinstance(row[4], (int, float)) and row[4] > 0 and isinstance(row[1], int)
        if told and {str(row[0]), f"b{row[0]}"} & {question, question.rpartition("/")[2]}:
            clocks.setdefault(str(row[2]), {})[row[1]] = float(row[4])
    return clocks


def rounds(count: int, generator: np.random.Generator, run: int = RUN) -> Iterator[tuple[int, bool]]:
    """Rounds without end, resampled in runs of neighbours (the circular block bootstrap of Politis and Romano 1992);
    with each a coin that falls once a run."""
    while True:
        starts, coins = generator.integers(count, size=64).tolist(), generator.integers(2, size=64).tolist()
        for start, coin in zip(starts, coins, strict=True):
            for step in range(run):
                yield (start + step) % count, bool(coin)


class PairedReplay:
    """A block source with two sides that takes both sides' blocks from the same rounds. `exchange` swaps the sides in
    every other run, by chance: whatever the engines are, the truth is then a ratio of 1."""

    sides = 2
    levels = ("block",)

    def __init__(
        self, new: Sequence[Block], old: Sequence[Block], generator: np.random.Generator, *, exchange: bool = False
    ) -> None:
        self._blocks = (new, old)
        self._exchange = exchange
        self._rounds = rounds(min(len(new), len(old)), generator)
        self._drawn: list[tuple[int, bool]] = []
        self._taken = [0, 0]

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        turn = self._taken[side]
        self._taken[side] += 1
        if turn == len(self._drawn):
            self._drawn.append(next(self._rounds))
        number, coin = self._drawn[turn]
        return self._blocks[1 - side if self._exchange and coin else side][number]

    def renew(self) -> None:
        raise NotImplementedError("a trace has no probes to renew")


class Replay:
    """A block source with one side: neighbouring rounds from `start` on, round the trace's `window` and round again."""

    sides = 1
    levels = ("block",)

    def __init__(self, blocks: Sequence[Block], start: int, window: int) -> None:
        self._blocks, self._start, self._window = blocks, start, window
        self._taken = 0

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        number = (self._start + self._taken % self._window) % len(self._blocks)
        self._taken += 1
        return self._blocks[number]

    def renew(self) -> None:
        raise NotImplementedError("a trace has no probes to renew")


def block_medians(blocks: Sequence[Block]) -> tuple[float, ...]:
    return tuple(median(block.times["ms"]) for block in blocks)
