"""Count how often budgets of figures that have few values are judged right: load time and first inference.

    python benchmarks/few_values.py --trials 4000 --workers 2

A trial is one test: the values of fresh processes, until the rule of the package has enough; the judge; and a second
measurement of what fails. Only the values are made up. They have a lognormal scatter, or one in ten values is twice as
large, as when a file is not in the page cache.
"""

from __future__ import annotations

import argparse
import collections
import functools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import trial_shares

from pytest_trt.core.records import Block, Verdict
from pytest_trt.judge.budgets import judge
from pytest_trt.judge.repeats import RepeatsRule
from pytest_trt.measure import figures
from pytest_trt.trial.confirm import FAILS, confirm_verdicts

OFFSETS = (-0.2, -0.05, 0.0, 0.05, 0.2, 0.5)  # how far the budget lies beyond the true median, as a share


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


def cases(generator: np.random.Generator) -> Iterator[tuple[str, float, Callable[[], tuple[Verdict, int]]]]:
    """Yield the name of each case, its budget and how one measurement of it is taken."""
    for scatter, tail in ((0.03, False), (0.1, False), (0.2, False), (0.1, True)):
        for offset in OFFSETS:
            name = f"load_s, scatter {scatter:.0%}{', one in ten twice as long' if tail else ''}"
            value = functools.partial(opening, scatter, tail, generator)
            yield name, offset, functools.partial(judge_opening, 1 + offset, value)


def counted(trials: int, seed: Sequence[int]) -> list[tuple[str, float, collections.Counter[str]]]:
    """Return the counts of every case."""
    return [(name, offset, outcomes(take, trials)) for name, offset, take in cases(np.random.default_rng(seed))]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trial_shares.add_arguments(parser, 4000)
    options = parser.parse_args(argv)
    shares, trials = trial_shares.compute(options, counted)
    print(
        "| case | budget, % | ok, % | over at first, % | over_budget, % | inconclusive, % | values |\n"
        + "|---" * 7
        + "|"
    )
    for rows in zip(*shares, strict=True):
        counts: collections.Counter[str] = sum((row[2] for row in rows), collections.Counter())
        name, offset, _ = rows[0]
        rates = (100 * counts[word] / trials for word in ("ok", "first over", "over_budget", "inconclusive"))
        shown = " | ".join(f"{rate:.2f}" for rate in rates)
        print(f"| {name} | {100 * offset:+.0f} | {shown} | {counts['values'] / trials:.1f} |", flush=True)


if __name__ == "__main__":
    main()
