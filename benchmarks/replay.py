"""Replay recorded traces as block sources, which the judge uses like probes.

A trace file (.npz) contains arrays `<question>/<engine>` in ms, with the shape (rounds, samples). The engines were
measured alternately, round by round, so the rows of one round were measured at almost the same time. A block consists
of the first samples of a round. The other samples of the round are not used, as if the other side was measured then.
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
TIMES_MS = (1e-6, 1e6)  # a time outside this range has another unit, or is invalid
RUN = 8  # the number of rounds that are resampled together: swings of the clock last two to four rounds

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Trace:
    """All engines of one question.

    Attributes:
        question: The name of the question, such as `b1`.
        engines: The samples of each engine in ms, with the shape (rounds, samples).
        clocks: The SM clock of each engine in MHz, by round, if it is known.
    """

    question: str
    engines: Mapping[str, Array]
    clocks: Mapping[str, Mapping[int, float]]

    @property
    def rounds(self) -> int:
        """The number of rounds that every engine has."""
        return min(map(len, self.engines.values()))

    def true_ratio(self, engine: str) -> float:
        """Return exp of the median of `log_ratios`, over all rounds."""
        return math.exp(float(np.median(self.log_ratios(engine))))

    def log_ratios(self, engine: str) -> Array:
        """Return the log ratios of the round medians to those of the reference, with the shape (rounds,)."""
        sides = (self.engines[engine], self.engines[REFERENCE])
        rounds = min(len(side) for side in sides)
        ours, theirs = (np.log(np.median(side[:rounds], axis=1)) for side in sides)
        ratios: Array = ours - theirs
        return ratios

    def blocks(self, engine: str, block_ms: float, block_samples: int, scale: float = 1.0) -> list[Block]:
        """Return one block for each round: its first samples, times `scale`, as many as a probe takes if possible."""
        samples = self.engines[engine] * scale
        count = samples_in_block(float(np.median(samples)), block_ms, block_samples)
        clocks = self.clocks.get(engine, {})
        blocks = []
        for number, row in enumerate(samples[:, :count].tolist()):
            state = {"sm_mhz": clocks[number]} if number in clocks else {}
            blocks.append(Block({"ms": tuple(row)}, sum(row) / 1000, state))
        return blocks


class TraceError(ValueError):
    """A file that is not a trace or not its telemetry. The message names the file, the problem and the right form."""


def load(traces: Path, telemetry: Path | None) -> list[Trace]:
    """Return the questions of a trace file, in its order.

    Raises:
        TraceError: The file is not a trace, or the telemetry is invalid.
    """
    found: dict[str, dict[str, Array]] = {}
    if traces.exists() and not zipfile.is_zipfile(traces):
        raise TraceError(f"{traces} is not an .npz file of arrays: write it with numpy.savez")
    try:
        with np.load(traces, allow_pickle=False) as arrays:
            for name in arrays.files:
                question, _, engine = name.rpartition("/")
                if not (question and engine):
                    raise TraceError(
                        f"{traces}: the name of the array {name!r} does not have the form <question>/<engine>"
                    )
                found.setdefault(question, {})[engine] = _checked(arrays[name], f"{traces}: {name}")
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise TraceError(f"{traces} is not an .npz file of arrays: {error}") from error
    except ValueError as error:
        raise error if isinstance(error, TraceError) else TraceError(f"{traces}: {error}") from error
    if not found:
        raise TraceError(f"{traces} contains no array: add arrays <question>/<engine>, rounds x samples in ms")
    rows = _rows(telemetry) if telemetry else []
    for question, engines in found.items():
        if REFERENCE not in engines:
            known = ", ".join(map(repr, engines))
            raise TraceError(f"{traces}: {question!r} lacks the reference engine {REFERENCE!r}: it has {known}")
    return [Trace(question, engines, _clocks(question, rows)) for question, engines in found.items()]


def _checked(values: Any, where: str) -> Array:
    """Return the times in ms, with the shape (rounds, samples), as float64."""
    if values.dtype.kind not in "fiu":
        raise TraceError(f"{where} contains {values.dtype}: times in ms must be numbers")
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < 1:
        raise TraceError(f"{where} has the shape {values.shape}: it must be rounds x samples, with at least two rounds")
    times: Array = np.asarray(values, dtype=np.float64)
    wrong = np.argwhere(~((times >= TIMES_MS[0]) & (times <= TIMES_MS[1])))
    if len(wrong):
        number, sample = wrong[0]
        value = f"{times[number, sample]:g} in round {number}, sample {sample}"
        raise TraceError(f"{where} has {len(wrong)} times that cannot be in ms, such as {value}")
    return times


def _rows(telemetry: Path) -> list[Sequence[Any]]:
    try:
        rows = json.loads(telemetry.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TraceError(f"{telemetry} is not JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) >= 3 for row in rows):
        raise TraceError(f"{telemetry} must be a list of rows (question or batch, round, engine, host ms, MHz, ...)")
    return rows


def _clocks(question: str, rows: Sequence[Sequence[Any]]) -> dict[str, dict[int, float]]:
    """Return the SM clocks by engine and round, from rows of (question or batch, round, engine, host ms, MHz, ...)."""
    clocks: dict[str, dict[int, float]] = {}
    for row in rows:
        has_clock = len(row) > 4 and isinstance(row[4], (int, float)) and row[4] > 0 and isinstance(row[1], int)
        if has_clock and {str(row[0]), f"b{row[0]}"} & {question, question.rpartition("/")[2]}:
            clocks.setdefault(str(row[2]), {})[row[1]] = float(row[4])
    return clocks


def rounds(count: int, generator: np.random.Generator, run: int = RUN) -> Iterator[tuple[int, bool]]:
    """Yield resampled rounds without end, each with a coin that is tossed once for each run.

    Runs of neighbouring rounds are resampled together: the circular block bootstrap of Politis and Romano (1992).
    """
    while True:
        starts, coins = generator.integers(count, size=64).tolist(), generator.integers(2, size=64).tolist()
        for start, coin in zip(starts, coins, strict=True):
            for step in range(run):
                yield (start + step) % count, bool(coin)


class PairedReplay:
    """A block source with two sides that takes the blocks of both sides from the same rounds.

    `exchange` swaps the sides at random, in half of the runs. The true ratio is then 1 for any two engines.
    """

    sides = 2
    levels = ("block",)

    def __init__(
        self, new: Sequence[Block], old: Sequence[Block], generator: np.random.Generator, *, exchange: bool = False
    ) -> None:
        self._blocks = (new, old)
        self._exchange = exchange
        self._rounds = rounds(min(len(new), len(old)), generator)
        self._resampled: list[tuple[int, bool]] = []
        self._used = [0, 0]

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        turn = self._used[side]
        self._used[side] += 1
        if turn == len(self._resampled):
            self._resampled.append(next(self._rounds))
        number, coin = self._resampled[turn]
        return self._blocks[1 - side if self._exchange and coin else side][number]

    def renew(self) -> None:
        raise NotImplementedError("a trace has no probes to renew")


class Replay:
    """A block source with one side: it repeats the `window` rounds that begin at `start`."""

    sides = 1
    levels = ("block",)

    def __init__(self, blocks: Sequence[Block], start: int, window: int) -> None:
        self._blocks, self._start, self._window = blocks, start, window
        self._used = 0

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        number = (self._start + self._used % self._window) % len(self._blocks)
        self._used += 1
        return self._blocks[number]

    def renew(self) -> None:
        raise NotImplementedError("a trace has no probes to renew")


def block_medians(blocks: Sequence[Block]) -> tuple[float, ...]:
    """Return the median latency of each block, in ms."""
    return tuple(median(block.times["ms"]) for block in blocks)
