"""Count how often budgets are judged right, on recorded traces at live spacing and on simulated noise.

    python benchmarks/one_sided.py --trials 3000 --workers 8 --json one_sided.json
    python benchmarks/one_sided.py --parts warm cold

The sampler, its warm-up, the stopping rule and the judge are those of the package. Only the blocks come from a trace.
The engines of a trace took turns, row by row. All rows in the order of recording, each divided by the median of its
engine, are one series without gaps: what a single engine would have shown. The trace b128 begins when the GPU was cold.

A warm trial joins random runs of the warm three quarters of a trace, 80 blocks long on average. A cold trial begins in
the first 0.8 s: how far the recorded latency was from its final value is stretched by up to 15 % in time and 30 % in
size, and half the deviations of warm blocks are added. Then it continues as a warm one.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import replay
import trial_shares

from pytest_trt.core import noise_levels
from pytest_trt.core.records import Block
from pytest_trt.judge.budgets import LimitRule, judge
from pytest_trt.measure.engine_probe import samples_in_block
from pytest_trt.measure.sampler import BlockSource, Limits, sample

TRACES = Path(__file__).parent / "traces" / "h200-resnet18"
PARTS = ("warm", "cold", "drift", "dependence", "percentiles")
OFFSETS = (-0.01, -0.005, 0.005, 0.01)  # how far the budget lies above the true value
COLD_S = 0.8  # the latency of the cold GPU was low for so long
WARM_SHARE = 4  # the GPU was warm after a quarter of the trace
RUN_BLOCKS = 80  # the mean number of consecutive blocks that a trial takes from a trace
TRIAL_BLOCKS = 1400  # more than a sampling of at most 13 s has
BLOCK_S = 0.01
LIMITS = Limits(warm_up_s=3.0, hidden_drift=0.03)


class Series:
    """A block source with one side that returns the given blocks, then the same blocks backwards, and so on."""

    sides = 1
    levels = ("block",)

    def __init__(self, blocks: Sequence[Block], start: int = 0) -> None:
        self._blocks, self._next = blocks, start

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        position = self._next % (2 * len(self._blocks))
        self._next += 1
        return self._blocks[position if position < len(self._blocks) else 2 * len(self._blocks) - 1 - position]

    def renew(self) -> None:
        raise NotImplementedError("a trace has no probes to renew")


def warm_blocks(blocks: Sequence[Block], generator: np.random.Generator) -> list[Block]:
    """Return random runs of the warm blocks of a trace, joined."""
    warm, found = blocks[len(blocks) // WARM_SHARE :], list[Block]()
    while len(found) < TRIAL_BLOCKS:
        start = int(generator.integers(len(warm)))
        found += warm[start : start + int(generator.geometric(1 / RUN_BLOCKS))]
    return found


def cold_blocks(blocks: Sequence[Block], truth: float, generator: np.random.Generator) -> list[Block]:
    """Return a cold start that is like that of a trace, followed by warm blocks."""
    warm = warm_blocks(blocks, generator)
    cold = blocks[: len(blocks) // WARM_SHARE]
    distances = np.log([np.median(block.times["ms"]) / truth for block in cold])
    distances = np.convolve(np.pad(distances, 1, "edge"), np.ones(3) / 3, "valid")
    size, pace = generator.uniform(0.7, 1.3), generator.uniform(0.85, 1.15)
    place, found = generator.uniform(0, COLD_S) / blocks[0].seconds, list[Block]()
    while place < len(cold):
        block, noise = cold[int(place)], math.log(np.median(warm[len(found)].times["ms"]) / truth)
        level = truth * math.exp(size * distances[int(place)] + noise / 2)
        factor = level / float(np.median(block.times["ms"]))
        times = tuple(factor * one for one in block.times["ms"])
        found.append(dataclasses.replace(block, times={"ms": times}, seconds=factor * block.seconds))
        place += pace
    return [*found, *warm[len(found) :]]


class Noise:
    """A block source whose log latency is an autoregression of order one about 0, plus a drift that fades.

    Args:
        scatter: The standard deviation of a block.
        r: The autocorrelation of neighbouring blocks.
        drift: How far below 0 the latency begins, as a share.
        constant_s: The time constant of the drift.
    """

    sides = 1
    levels = ("block",)

    def __init__(
        self, generator: np.random.Generator, scatter: float, r: float, drift: float = 0.0, constant_s: float = 1.0
    ) -> None:
        shocks = generator.normal(0, scatter * math.sqrt(1 - r * r), 1400).tolist()
        last = generator.normal(0, scatter)
        self._levels = [last := r * last + shock for shock in shocks]
        self._levels = [x - drift * math.exp(-n * BLOCK_S / constant_s) for n, x in enumerate(self._levels)]
        self._within = np.sort(generator.normal(0, 0.0005, 5))
        self._next = 0

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        level = math.exp(self._levels[min(self._next, len(self._levels) - 1)])
        self._next += 1
        times = level * (1 + self._within - self._within[2])
        return Block({"ms": tuple(times.tolist())}, BLOCK_S)

    def renew(self) -> None:
        raise NotImplementedError("a simulation has no probes to renew")


class Spells:
    """A block source with samples of 1 ms, of which 2 % are 50 % slower, in spells that begin at random.

    Args:
        distance_s: The mean time from one spell to the next.
    """

    sides = 1
    levels = ("block",)

    def __init__(self, generator: np.random.Generator, distance_s: float) -> None:
        self._generator, self._left = generator, 0
        self._length = max(round(20 * distance_s), 1)
        self._chance = 0.001 / distance_s

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        times = []
        for begins, noise in zip(self._generator.random(10), self._generator.normal(1, 0.002, 10), strict=True):
            if begins < self._chance:
                self._left = self._length
            times.append(float(noise) * (1.5 if self._left else 1.0))
            self._left = max(self._left - 1, 0)
        return Block({"ms": tuple(times)}, sum(times) / 1000)

    def renew(self) -> None:
        raise NotImplementedError("a simulation has no probes to renew")


@dataclasses.dataclass(frozen=True)
class Row:
    """The verdicts of many trials.

    Attributes:
        case: The noise.
        budget: How far the budget lies above the true value, as a share.
        ok: The share of `ok`.
        over: The share of `over_budget`.
        warm_up_s: The mean time of the warm-up.
        sampled_s: The mean time of the blocks after it.
    """

    case: str
    budget: float
    ok: float
    over: float
    warm_up_s: float
    sampled_s: float
    trials: int


def ask(
    case: str,
    budget: float,
    trials: int,
    source: Callable[[int], BlockSource],
    limit_of: Callable[[int], float] | float,
    figure: str,
) -> Row:
    """Judge the budget in so many trials; `source` returns the blocks of a trial, and `limit_of` its limit."""
    statuses: collections.Counter[str] = collections.Counter()
    warm_up_s = sampled_s = 0.0
    for trial in range(trials):
        limit = limit_of(trial) if callable(limit_of) else limit_of
        sampling = sample(source(trial), LimitRule({figure: limit}, spread=0.0), LIMITS)
        side = sampling.sides[0]
        statuses[judge(figure, noise_levels.estimate(figure, side), limit, side).status] += 1
        warm_up_s += sampling.warm_up_s / trials
        sampled_s += sampling.seconds / trials
    ok, over = statuses["ok"] / trials, statuses["over_budget"] / trials
    return Row(case, budget, ok, over, warm_up_s, sampled_s, trials)


def live_blocks(trace: replay.Trace, reasons: Sequence[float]) -> list[Block]:
    """Return all rows of a trace as blocks in the order of recording, scaled to the reference engine.

    Args:
        trace: The trace.
        reasons: NVML's clocks event reasons after each row.
    """
    reference = float(np.median(trace.engines[replay.REFERENCE]))
    scaled = [samples * (reference / np.median(samples)) for samples in trace.engines.values()]
    count = samples_in_block(reference)
    blocks = []
    for number, reason in enumerate(reasons):
        turn, engine = divmod(number, len(scaled))
        row = scaled[engine][turn].tolist()
        for start in range(0, len(row) - count + 1, count):
            times = tuple(row[start : start + count])
            blocks.append(Block({"ms": times}, sum(times) / 1000, {"reasons": reason}))
    return blocks


def traces() -> dict[str, list[Block]]:
    """Return the blocks of the recorded traces by name."""
    telemetry = json.loads((TRACES / "telemetry.json").read_text("utf-8"))
    found = {}
    for trace in replay.load(TRACES / "traces.npz", None):
        reasons = [float(row[7]) for row in telemetry if f"b{row[0]}" == trace.question]
        found[trace.question] = live_blocks(trace, reasons)
    return found


def rows(parts: Sequence[str], trials: int, generator: np.random.Generator) -> Iterator[Row]:
    """Yield the rows of the parts."""
    for name, blocks in traces().items() if {"warm", "cold"} & set(parts) else ():
        truth = float(np.median([np.median(block.times["ms"]) for block in blocks[len(blocks) // WARM_SHARE :]]))
        starts = {
            "warm": lambda trial, blocks=blocks: Series(warm_blocks(blocks, generator)),
            "cold": lambda trial, blocks=blocks, truth=truth: Series(cold_blocks(blocks, truth, generator)),
        }
        for part in [part for part in starts if part in parts]:
            for offset in OFFSETS:
                yield ask(f"{name}, {part}", offset, trials, starts[part], truth * (1 + offset), "ms")
    if "drift" in parts:
        for scatter, r in ((0.0002, 0.0), (0.001, 0.0), (0.003, 0.0), (0.003, 0.5), (0.01, 0.9)):
            for drift, constant_s in ((0.03, 0.5), (0.03, 2.0), (0.03, 5.0), (0.01, 5.0), (0.03, 10.0), (0.03, 20.0)):
                for offset in (-0.005, 0.005):
                    yield ask(
                        f"drift of {drift:.0%}, {constant_s:g} s; scatter {scatter:.2%}, r {r:g}", offset, trials,
                        lambda trial, s=scatter, r=r, d=drift, c=constant_s: Noise(generator, s, r, d, c),
                        1 + offset, "ms",
                    )  # fmt: skip
    if "dependence" in parts:
        for scatter, r in ((0.0002, 0.0), (0.001, 0.0), (0.003, 0.5), (0.01, 0.5), (0.01, 0.8), (0.01, 0.9)):
            for offset in (-0.005, 0.005):
                yield ask(
                    f"scatter {scatter:.2%}, r {r:g}", offset, trials,
                    lambda trial, s=scatter, r=r: Noise(generator, s, r), 1 + offset, "ms",
                )  # fmt: skip
    if "percentiles" in parts:
        for distance_s in (0.1, 0.5, 1.0, 2.0):
            yield ask(
                f"p99, slow spells {distance_s:g} s apart", -0.2, trials,
                lambda trial, distance_s=distance_s: Spells(generator, distance_s), 1.2, "p99_ms",
            )  # fmt: skip


def all_rows(parts: Sequence[str], trials: int, seed: Sequence[int]) -> list[Row]:
    """Return the rows of the parts, with random choices of their own."""
    return list(rows(parts, trials, np.random.default_rng(seed)))


def merged(shares: Sequence[Row]) -> Row:
    """Return a row of all trials of several rows of as many trials."""
    names = ("ok", "over", "warm_up_s", "sampled_s")
    means = {name: sum(getattr(one, name) for one in shares) / len(shares) for name in names}
    return dataclasses.replace(shares[0], **means, trials=sum(one.trials for one in shares))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trial_shares.add_arguments(parser, 1000, "question")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="the rows to compute (default: all)")
    parser.add_argument("--json", type=Path, help="the file to which the rows are written")
    options = parser.parse_args(argv)
    print("| case | budget, % | ok, % | over_budget, % | warm-up, s | sampled, s |\n" + "|---" * 6 + "|")
    shares, _ = trial_shares.compute(options, functools.partial(all_rows, options.parts))
    found = list(map(merged, zip(*shares, strict=True)))
    for row in found:
        print(
            f"| {row.case} | {100 * row.budget:+.1f} | {100 * row.ok:.2f} | {100 * row.over:.2f} | {row.warm_up_s:.2f} "
            f"| {row.sampled_s:.2f} |",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps([dataclasses.asdict(row) for row in found], indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
