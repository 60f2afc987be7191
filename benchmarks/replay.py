"""Recorded traces as block sources: the judge cannot tell them from probes.

A trace file (.npz) holds arrays `<question>/<engine>` in ms, shape (rounds, samples); the engines took turns round by
round, so one round's rows were measured within a moment. A block is the start of a round, long enough for a block;
what a round holds beyond that is not used, as though the measuring had moved on to the other side.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_trt.records import Block
from pytest_trt.stats import median

REFERENCE = "cached"
RUN = 8  # rounds that are resampled together: the clock's swings last two to four of them

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Trace:
    """All engines of one question: samples in ms, shape (rounds, samples), and the SM clock, shape (rounds,)."""

    question: str
    engines: Mapping[str, Array]
    clocks: Mapping[str, Sequence[float]]

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
        """One block a round: its first samples, at least so many ms and so many of them, times `scale`."""
        samples = self.engines[engine] * scale
        count = min(max(math.ceil(block_ms / float(np.median(samples))), block_samples), samples.shape[1])
        clocks = self.clocks.get(engine, ())
        blocks = []
        for number, row in enumerate(samples[:, :count].tolist()):
            state = {"sm_mhz": clocks[number]} if number < len(clocks) else {}
            blocks.append(Block({"ms": tuple(row)}, sum(row) / 1000, state))
        return blocks


def load(traces: Path, telemetry: Path | None) -> list[Trace]:
    """The questions of a trace file in its order. Raises ValueError where a question lacks the reference."""
    found: dict[str, dict[str, Array]] = {}
    with np.load(traces) as arrays:
        for name in arrays.files:
            question, _, engine = name.rpartition("/")
            found.setdefault(question, {})[engine] = np.asarray(arrays[name], dtype=np.float64)
    rows = json.loads(telemetry.read_text(encoding="utf-8")) if telemetry else []
    for question, engines in found.items():
        if REFERENCE not in engines:
            raise ValueError(f"{traces}: {question!r} has no engine {REFERENCE!r} to compare with")
    return [Trace(question, engines, _clocks(question, rows)) for question, engines in found.items()]


def _clocks(question: str, rows: Sequence[Sequence[Any]]) -> dict[str, list[float]]:
    """SM clocks by engine, from rows (question or batch, round, engine, host ms, MHz, ...)."""
    clocks: dict[str, list[float]] = {}
    for row in rows:
        if question in (str(row[0]), f"b{row[0]}"):
            clocks.setdefault(row[2], []).append(float(row[4]))
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

    def next_block(self, side: int) -> Block:
        turn = self._taken[side]
        self._taken[side] += 1
        if turn == len(self._drawn):
            self._drawn.append(next(self._rounds))
        number, coin = self._drawn[turn]
        return self._blocks[1 - side if self._exchange and coin else side][number]

    def renew(self, side: int) -> None:
        raise NotImplementedError("a trace has no probes to renew")


class Replay:
    """A block source with one side: neighbouring rounds from `start` on, round the trace's `window` and round again."""

    sides = 1
    levels = ("block",)

    def __init__(self, blocks: Sequence[Block], start: int, window: int) -> None:
        self._blocks, self._start, self._window = blocks, start, window
        self._taken = 0

    def next_block(self, side: int) -> Block:
        number = (self._start + self._taken % self._window) % len(self._blocks)
        self._taken += 1
        return self._blocks[number]

    def renew(self, side: int) -> None:
        raise NotImplementedError("a trace has no probes to renew")


def block_medians(blocks: Sequence[Block]) -> tuple[float, ...]:
    return tuple(median(block.times["ms"]) for block in blocks)
