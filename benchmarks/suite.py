"""Count the false alarms of a whole suite, run after run, and the slowdowns that it finds.

    python benchmarks/suite.py --trials 1500 --tolerance 0.02
    python benchmarks/suite.py --tests 200 --runs 100 --trials 5000 --tolerance 0.02

Each trial is one test of one run: two engines take turns in fresh probes, and a verdict that fails is measured again.
The sampler, the stopping rule, the judge, the confirmation and the judgement of the run as a whole are those of the
package; only the blocks are simulated. The rates are scaled to the suite. docs/background/statistics.md shows the
table.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import argument_types
import numpy as np

from pytest_trt.core.noise_levels import first_side
from pytest_trt.core.records import Block, Result, Verdict
from pytest_trt.judge.regression.paired import PairedRule, judge_paired
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.judge.suite import doubtful_failures
from pytest_trt.measure.figures import DEFAULT_OPEN_ORDER_EFFECT, DEFAULT_PROBE_SPREAD
from pytest_trt.measure.run import MeasuredRun
from pytest_trt.measure.sampler import Limits, sample
from pytest_trt.trial.measuring import CONFIRMING_TIME, measure_and_confirm

BLOCK_S = 0.02
ORDER_EFFECTS = (0.0, 0.006)  # the least and the greatest of a network on an H200


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of suite.

    Attributes:
        name: The name of its row.
        ratio: The true ratio of each engine to its baseline, for a tolerance.
        scatter: The range of the scatter of pairs, as shares, from which each test draws its own.
    """

    name: str
    ratio: Callable[[float], float]
    scatter: tuple[float, float] = (0.0005, 0.014)


KINDS = (
    Kind("unchanged", lambda tolerance: 1.0),
    Kind("unchanged, on a machine where pairs scatter by 10 to 50 %", lambda tolerance: 1.0, (0.1, 0.5)),
    Kind("slower by exactly the tolerance", lambda tolerance: 1 + tolerance),
    Kind("slower by 1.5 times the tolerance", lambda tolerance: 1 + 1.5 * tolerance),
    Kind("slower by twice the tolerance", lambda tolerance: 1 + 2 * tolerance),
)


class Engines:
    """A block source with the two engines of one test, in probes that differ by `probe_scatter` and by their order."""

    sides = 2
    levels = ("block", "probe")

    def __init__(
        self, ratio: float, scatter: float, probe_scatter: float, generator: np.random.Generator, *, reverse: bool
    ) -> None:
        self._ratio, self._scatter, self._probe_scatter = ratio, scatter / math.sqrt(2), probe_scatter
        self._generator, self._reverse, self._turn = generator, reverse, -1
        self.renew()

    def renew(self) -> None:
        self._turn += 1
        self._levels = np.exp(self._generator.normal(0, self._probe_scatter, size=2)) * (self._ratio, 1.0)
        second = 1 - first_side(self._turn)
        self._levels[1 - second if self._reverse else second] *= 1 + self._generator.uniform(*ORDER_EFFECTS)

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        noise = math.exp(self._generator.normal(0, self._scatter))
        return Block({"ms": (float(self._levels[side]) * noise,)}, BLOCK_S)


def verdict(kind: Kind, tolerance: float, generator: np.random.Generator) -> tuple[Verdict, bool]:
    """Return the verdict of one test of one run, and whether its first measurement failed."""
    question = RegressionQuestion(
        tolerance=tolerance, spread=DEFAULT_PROBE_SPREAD["gpu"], open_order_effect=DEFAULT_OPEN_ORDER_EFFECT["gpu"]
    )
    low, high = np.log(kind.scatter)
    scatter, probe_scatter = math.exp(generator.uniform(low, high)), generator.uniform(0.0005, 0.002)

    def measure(failing: Sequence[Verdict]) -> MeasuredRun:
        confirming = bool(failing)
        source = Engines(kind.ratio(tolerance), scatter, probe_scatter, generator, reverse=confirming)
        return MeasuredRun(
            sample(source, PairedRule(question), Limits(max_time_s=10.0 * (CONFIRMING_TIME if confirming else 1))),
            {},
            {},
        )

    found = measure_and_confirm(measure, lambda run: (judge_paired(question, *run.sampling.sides),))
    return found.verdicts[0], found.again is not None


def rates(kind: Kind, tolerance: float, trials: int, tests: int, generator: np.random.Generator) -> Counter[str]:
    """Count what the trials of one kind ended with. The other tests of their runs are `ok`."""
    others = [Result(f"other {n}", (Verdict("ok", "baseline", "ms", ""),)) for n in range(tests - 1)]
    counts: Counter[str] = Counter()
    for _ in range(trials):
        found, flagged = verdict(kind, tolerance, generator)
        counts["flagged"] += flagged
        counts[found.status] += 1
        if found.status == "regressed":
            counts["holds"] += not doubtful_failures([Result("this", (found,)), *others])
    return counts


def lines(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the table, line by line: rates, and how many false alarms that are in a run and in all runs.

    None in n trials is less than 3/n at a confidence of 95 %.
    """
    tests, runs, trials = arguments.tests, arguments.runs, arguments.trials
    generator = np.random.default_rng(arguments.seed)
    yield f"{tests} tests x {runs} runs, a tolerance of {arguments.tolerance:.2g}; {trials} tests simulated a row"
    yield "| suite | first measurement | regressed | holds in the run | a run | all runs | ok | inconclusive |"
    yield "|---" * 8 + "|"
    for kind in KINDS:
        counts = rates(kind, arguments.tolerance, trials, tests, generator)
        shares = {name: counts[name] / trials for name in ("flagged", "regressed", "holds", "ok", "inconclusive")}
        false = kind.ratio(arguments.tolerance) <= 1 + arguments.tolerance
        shown = [f"{shares['holds'] * tests * times:.3g}" if false else "" for times in (1, runs)]
        yield (
            f"| {kind.name} | {shares['flagged']:.3%} | {shares['regressed']:.3%} | {shares['holds']:.3%} "
            f"| {shown[0]} | {shown[1]} | {shares['ok']:.2%} | {shares['inconclusive']:.2%} |"
        )


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=argument_types.count, default=1000, help="the tests of the suite (1000)")
    parser.add_argument("--runs", type=argument_types.count, default=900, help="the runs of a month (900)")
    parser.add_argument("--trials", type=argument_types.count, default=20000, help="the simulated tests a row (20000)")
    parser.add_argument("--tolerance", type=argument_types.share, default=0.05, help="a share (0.05)")
    parser.add_argument("--seed", type=argument_types.seed, default=0, help="the seed of all random choices (0)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    for line in lines(parse_arguments(argv)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
