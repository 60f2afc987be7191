"""Count how often budgets on throughput are judged right, on windows made of recorded blocks.

    python benchmarks/throughput.py --trials 600 --workers 2

The windows, the stopping rule and the judge are those of a test. Only the throughput of a window is made up: that of a
recorded block of ResNet-18 on an H200, from a warm or a cold start as in `one_sided.py`. Each trial has a process of
its own, whose throughput differs by a normal error: the spread between processes, which the judge knows, is its 99.9 %
point. A budget of +1 % is met by 1 %, so that `over_budget` is wrong; for -1 %, `ok` is wrong.
"""

from __future__ import annotations

import argparse
import collections
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import one_sided
import trial_shares

from pytest_trt.core.distributions import t_quantile
from pytest_trt.core.noise_levels import FREEDOM
from pytest_trt.core.records import Block, Estimate
from pytest_trt.core.stats import ALPHA, median
from pytest_trt.judge.budgets import LimitRule, judge
from pytest_trt.measure import figures

OFFSETS = (-0.01, -0.005, 0.005, 0.01)  # by how much of the true throughput the budget is met
SPREAD = 0.002  # how far two processes may differ
MS = Estimate(1.5, 1.49, 1.51, 100)  # a window is 10 ms long

Windows = Sequence[Block]
"""Blocks with the latency of an inference in each window."""


class Probe:
    """A process with such windows, whose throughput is that of its latency, times a factor."""

    def __init__(self, windows: Windows, factor: float) -> None:
        self._windows, self._factor, self.count = windows, factor, 0

    def throughput(self, seconds: float) -> float:
        """Return the next window."""
        self.count += 1
        return self._factor / median(self._windows[self.count - 1].times["ms"])

    def state(self) -> Mapping[str, float]:
        """Return the state after the last window."""
        return self._windows[self.count - 1].state


def outcome(offset: float, windows: Windows, factor: float) -> tuple[str, int]:
    """Return the status of a budget that is met by `offset` at a throughput of 1, and the number of windows."""
    limit = 1 - offset
    probe, rule = Probe(windows, factor), LimitRule({"throughput": limit}, spread=SPREAD)
    subject: Any = probe
    estimate, samples = figures.throughput(
        subject, {"ms": MS, "gpu_ms": MS}, batch=1, spread=SPREAD, rule=rule, state=probe.state
    )
    return judge("throughput", estimate, limit, samples).status, probe.count


def cases(generator: np.random.Generator) -> Iterator[tuple[str, float, Callable[[], Windows]]]:
    """Yield the name of each kind of noise, its true latency, and a function that takes windows of it."""
    for name, blocks in one_sided.traces().items():
        warm = blocks[len(blocks) // one_sided.WARM_SHARE :]
        truth = float(np.median([np.median(block.times["ms"]) for block in warm]))
        yield f"{name}, warm", truth, functools.partial(one_sided.warm_blocks, blocks, generator)
        if name != "b1":  # only at batch 128 is a cold start slow
            yield f"{name}, cold", truth, functools.partial(one_sided.cold_blocks, blocks, truth, generator)


def counted(trials: int, seed: Sequence[int]) -> list[tuple[str, float, collections.Counter[str]]]:
    """Return the counts of every case."""
    generator, found = np.random.default_rng(seed), []
    for name, truth, take in cases(generator):
        for offset in OFFSETS:
            counts: collections.Counter[str] = collections.Counter()
            for _ in range(trials):
                factor = truth * math.exp(generator.normal(0, SPREAD / t_quantile(ALPHA, FREEDOM)))
                status, windows = outcome(offset, take(), factor)
                counts.update({status: 1, "windows": windows})
            found.append((name, offset, counts))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trial_shares.add_arguments(parser, 600)
    options = parser.parse_args(argv)
    shares, trials = trial_shares.compute(options, counted)
    print("| windows | budget met by, % | ok, % | over_budget, % | windows a trial |\n" + "|---" * 5 + "|")
    for rows in zip(*shares, strict=True):
        counts: collections.Counter[str] = sum((row[2] for row in rows), collections.Counter())
        name, offset, _ = rows[0]
        rates = " | ".join(f"{100 * counts[word] / trials:.2f}" for word in ("ok", "over_budget"))
        print(f"| {name} | {100 * offset:+.1f} | {rates} | {counts['windows'] / trials:.0f} |", flush=True)


if __name__ == "__main__":
    main()
