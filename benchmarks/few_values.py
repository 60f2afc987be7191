"""Count how often budgets of figures that have few values are judged right: load time, first inference, throughput.

    python benchmarks/few_values.py --figure load_s --trials 4000
    python benchmarks/few_values.py --figure throughput --trials 400 --workers 2

A trial is one test: the values of fresh processes, or the windows of one process, until the rule of the package has
enough; the judge; and a second measurement of what fails. Only the values are made up. `load_s` has a lognormal
scatter, or one in ten values is twice as large, as when a file is not in the page cache. `throughput` has windows whose
scatter depends on the one before by `r`, in processes that scatter by half of what is assumed at one standard
deviation.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import argument_types
import numpy as np

from pytest_trt.core.records import Block, Estimate, Verdict
from pytest_trt.judge.budgets import LimitRule, judge
from pytest_trt.judge.repeats import RepeatsRule
from pytest_trt.measure import figures
from pytest_trt.trial.confirm import FAILS, confirm_verdicts

OFFSETS = (-0.2, -0.05, 0.0, 0.05, 0.2, 0.5)  # how far the budget lies beyond the true median, as a share
SPREAD = 0.004  # how far two processes may differ; they scatter by an eighth of it
MS = Estimate(1.5, 1.49, 1.51, 100)


def opening(scatter: float, tail: bool, generator: np.random.Generator) -> float:
    """Return one load time. Its median is 1, or close to it with a tail."""
    return math.exp(generator.normal(0, scatter)) * (2.0 if tail and generator.random() < 0.1 else 1.0)


def judge_opening(limit: float, value: Callable[[], float]) -> tuple[Verdict, int]:
    """Return the verdict about `load_s`, and the number of processes."""
    rule, blocks = RepeatsRule({"load_s": limit}), list[Block]()
    while not blocks or not rule.finished():
        blocks.append(Block({"load_s": (value(),)}, 0.1))
        rule.add(0, len(blocks) - 1, blocks[-1])
    return judge("load_s", figures.from_openings(blocks)["load_s"], limit), len(blocks)


class Windows:
    """A probe with windows of throughput around 1, in the log scale an autoregression of order one."""

    def __init__(self, scatter: float, r: float, generator: np.random.Generator) -> None:
        self._generator, self._r, self._shock = generator, r, scatter * math.sqrt(1 - r * r)
        self._level, self._last, self.count = generator.normal(0, SPREAD / 8), generator.normal(0, scatter), 0

    def throughput(self, seconds: float) -> float:
        """Return the next window."""
        self.count += 1
        self._last = self._r * self._last + self._generator.normal(0, self._shock)
        return math.exp(self._level + self._last)


def judge_windows(limit: float, probe: Windows) -> tuple[Verdict, int]:
    """Return the verdict about `throughput`, and the number of windows."""
    rule, found = LimitRule({"throughput": limit}, spread=SPREAD), {"ms": MS, "gpu_ms": MS}
    subject: Any = probe
    estimate = figures.throughput(subject, found, batch=1, spread=SPREAD, rule=rule)
    return judge("throughput", estimate, limit), probe.count


def outcomes(measure: Callable[[], tuple[Verdict, int]], trials: int) -> collections.Counter[str]:
    """Count the verdicts: `first over` before a second measurement, the others after it. Count the values too."""
    counts: collections.Counter[str] = collections.Counter()
    for _ in range(trials):
        first, values = measure()
        counts["values"] += values
        if first.status in FAILS:
            counts["first over"] += 1
            (first,) = confirm_verdicts((first,), (measure()[0],))
        counts[first.status] += 1
    return counts


def cases(
    figure: str, generator: np.random.Generator
) -> Iterator[tuple[str, float, Callable[[], tuple[Verdict, int]]]]:
    """Yield the name of each case, its budget and how one measurement of it is taken."""
    for scatter, tail in ((0.03, False), (0.1, False), (0.2, False), (0.1, True)) if figure == "load_s" else ():
        for offset in OFFSETS:
            name = f"load_s, scatter {scatter:.0%}{', one in ten twice as long' if tail else ''}"
            yield (
                name, offset,
                lambda s=scatter, t=tail, o=offset: judge_opening(1 + o, lambda: opening(s, t, generator)),
            )  # fmt: skip
    for scatter, r in ((0.002, 0.0), (0.01, 0.5), (0.01, 0.8)) if figure == "throughput" else ():
        for offset in (-0.05, -0.02, 0.0, 0.02, 0.05):
            yield (
                f"throughput, windows scatter {scatter:.1%}, r {r:g}", offset,
                lambda s=scatter, r=r, o=offset: judge_windows(1 - o, Windows(s, r, generator)),
            )  # fmt: skip


def counted(figure: str, trials: int, seed: Sequence[int]) -> list[tuple[str, float, collections.Counter[str]]]:
    """Return the counts of every case of a figure."""
    generator = np.random.default_rng(seed)
    return [(name, offset, outcomes(take, trials)) for name, offset, take in cases(figure, generator)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figure", choices=("load_s", "throughput"), required=True, help="the figure with a budget")
    parser.add_argument("--trials", type=argument_types.count, default=4000, help="the trials of each case (4000)")
    parser.add_argument("--workers", type=argument_types.count, default=1, help="the processes that share them (1)")
    parser.add_argument("--seed", type=argument_types.seed, default=0, help="the seed of all random choices (0)")
    options = parser.parse_args(argv)
    share, seeds = math.ceil(options.trials / options.workers), [(options.seed, n) for n in range(options.workers)]
    with concurrent.futures.ProcessPoolExecutor(options.workers) as pool:
        shares = list(pool.map(functools.partial(counted, options.figure, share), seeds))
    print(
        "| case | budget, % | ok, % | over at first, % | over_budget, % | inconclusive, % | values |\n"
        + "|---" * 7
        + "|"
    )
    trials = share * options.workers
    for rows in zip(*shares, strict=True):
        (name, offset, _), counts = rows[0], sum((row[2] for row in rows), collections.Counter())
        rates = (100 * counts[word] / trials for word in ("ok", "first over", "over_budget", "inconclusive"))
        shown = " | ".join(f"{rate:.2f}" for rate in rates)
        print(f"| {name} | {100 * offset:+.0f} | {shown} | {counts['values'] / trials:.1f} |", flush=True)


if __name__ == "__main__":
    main()
