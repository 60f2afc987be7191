"""Measure how often intervals miss the truth, for many kinds of noise: the tables of docs/background/statistics.md.

    python benchmarks/coverage.py --trials 40000

The truth lies at the limit of the question, where a wrong verdict is most likely. Each line states the promised rate.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pytest_trt.core import stats
from pytest_trt.core.noise_levels import first_side
from pytest_trt.core.records import Block
from pytest_trt.judge.regression.paired import PairedRule
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.measure.figures import DEFAULT_OPEN_ORDER_EFFECT, DEFAULT_PROBE_SPREAD
from pytest_trt.measure.sampler import Limits, sample

UNITS = 128
ALPHA_OF_A_LOOK = 0.01
"""The error at which the interval of a percentile is tried: the error of a look is too small to be seen."""

ORDER_EFFECTS = ((0.0,), (0.0038, 0.0054, 0.0062, 0.0031, 0.0043, 0.0037), (0.011, 0.011, 0.011, 0.019))
"""How much slower the second of two probes is, as a share. The cases are: no difference; the six pairs of a transformer
on an H200; four pairs that created their contexts at the same time (docs/results/2026-11-24-h200-placement.md)."""

Array = NDArray[np.float64]
Noise = Callable[[np.random.Generator], Array]


def autoregression(coefficient: float) -> Noise:
    """Return a generator of UNITS normal values with variance 1, whose neighbours have this correlation."""

    def draw(generator: np.random.Generator) -> Array:
        shocks = generator.normal(size=UNITS)
        shocks[1:] *= math.sqrt(1 - coefficient**2)
        for n in range(1, UNITS):
            shocks[n] += coefficient * shocks[n - 1]
        return shocks

    return draw


NOISES: dict[str, Noise] = {
    "normal": lambda g: g.normal(size=UNITS),
    "Student's t, 2 degrees": lambda g: g.standard_t(2, size=UNITS),
    "scale that changes every 8 units": lambda g: g.normal(size=UNITS) * np.exp(g.normal(size=UNITS // 8)).repeat(8),
    "one in ten far above": lambda g: g.normal(size=UNITS) + 30 * (g.random(UNITS) < 0.1) - 0.13971,
    "two levels, 60 to 40": lambda g: g.normal(size=UNITS) + 30 * (g.random(UNITS) < 0.4) - 0.96742,
    **{f"autocorrelation {r:g}": autoregression(r) for r in (-0.5, 0.1, 0.2, 0.3, 0.5, 0.8)},
}


def miss_rate(noise: Noise, trials: int, generator: np.random.Generator, *, pairs: bool) -> float:
    """Return the share of series in which one end of the interval is ever beyond the truth: the mean over both ends.

    The series are of `pairs`, or of the blocks of one side.
    """
    errors = 0
    for _ in range(trials):
        series = noise(generator)
        intervals = [stats.interval(series[:n], pairs=pairs) for n in stats.LOOKS if n <= UNITS]
        errors += any(i.low > 0 for i in intervals) + any(i.high < 0 for i in intervals)
    return errors / trials / 2


def percentile_miss_rate(percent: float, run_length: int, trials: int, generator: np.random.Generator) -> float:
    """Return the share of series in which an end of a percentile's interval is beyond the truth: the mean over both.

    A series has 400 blocks of 20 normal samples; a sample is followed by as many equal ones as make a run of the mean
    length `run_length`, which may last from block to block.
    """
    truth, errors = NormalDist().inv_cdf(percent / 100), 0
    for _ in range(trials):
        begins = generator.random(400 * 20) < 1 / run_length
        samples = generator.normal(size=400 * 20)[np.maximum.accumulate(np.where(begins, np.arange(400 * 20), 0))]
        found = stats.percentile_interval(list(samples.reshape(400, 20)), percent, ALPHA_OF_A_LOOK)
        errors += (found.low > truth) + (found.high < truth)
    return errors / trials / 2


class Probes:
    """A block source with two sides whose latencies have the true ratio `ratio`.

    Probes differ by a relative `scatter`. The second probe of a pair is slower by a random one of the `order_effects`.
    """

    sides = 2
    levels = ("block", "probe")

    def __init__(
        self, ratio: float, scatter: float, order_effects: Sequence[float], generator: np.random.Generator
    ) -> None:
        self._scatter, self._order_effects, self._generator = scatter, order_effects, generator
        self._levels = [ratio, 1.0]
        self._turn = -1
        self.renew()

    def _draw(self, scatter: float) -> float:
        return math.exp(self._generator.normal(0, scatter))

    def renew(self) -> None:
        self._turn += 1
        self._probes = [self._draw(self._scatter), self._draw(self._scatter)]
        self._probes[1 - first_side(self._turn)] *= 1 + float(self._generator.choice(self._order_effects))

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        return Block({"ms": (self._levels[side] * self._probes[side] * self._draw(0.0004),)}, 0.02)


def judge(
    ratio: float, scatter: float, order_effects: Sequence[float], trials: int, generator: np.random.Generator
) -> Counter[str]:
    """Count the verdicts on a true ratio at a tolerance of 1 %, and the pairs of probes that they needed.

    The spread and the order effect are the defaults of a GPU without calibration.
    """
    question = RegressionQuestion(
        tolerance=0.01, spread=DEFAULT_PROBE_SPREAD["gpu"], open_order_effect=DEFAULT_OPEN_ORDER_EFFECT["gpu"]
    )
    counts: Counter[str] = Counter()
    for _ in range(trials):
        sampling = sample(
            Probes(ratio, scatter, order_effects, generator), PairedRule(question), Limits(max_time_s=10.0)
        )
        counts.update([sampling.stop_reason, *["pairs"] * len(sampling.sides[0])])
    return counts


def lines(trials: int, generator: np.random.Generator) -> Iterator[str]:
    """Yield the tables, line by line."""
    yield f"ends beyond the truth at any look, up to {UNITS} units (promised: 0.1 %)"
    for name, noise in NOISES.items():
        paired, alone = (miss_rate(noise, trials, generator, pairs=pairs) for pairs in (True, False))
        yield f"  {name}: {paired:.3%} of pairs, {alone:.3%} of one side"
    yield "verdicts at a tolerance of 1 % (promised for a true ratio of 1.01: 0.1 % each)"
    yield f"ends of percentiles beyond the truth, at one look of 8000 samples (promised: {ALPHA_OF_A_LOOK:.2%})"
    for percent, run_length in itertools.product((95.0, 99.0), (1, 5, 20)):
        rate = percentile_miss_rate(percent, run_length, trials // 10, generator)
        yield f"  p{percent:g}, equal samples in runs of {run_length}: {rate:.3%}"
    comparisons = trials // 10
    for ratio, scatter, effects in itertools.product((1.01, 1.0), (0.0005, 0.001, 0.002), ORDER_EFFECTS):
        counts = judge(ratio, scatter, effects, comparisons, generator)
        slower = " or ".join(f"{effect:.2%}" for effect in effects)
        shares = (f"{word} {counts[f'decided: {word}'] / comparisons:.2%}" for word in ("regressed", "ok"))
        yield (
            f"  ratio {ratio:g}, probes that scatter by {scatter:.2%}, the second {slower} slower: "
            f"{', '.join(shares)}, {counts['pairs'] / comparisons:.1f} pairs of probes"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trials", type=int, default=40000, help="the number of series (40000); a tenth of it are compared"
    )
    parser.add_argument("--seed", type=int, default=0, help="the seed of the noise (0)")
    arguments = parser.parse_args()
    for line in lines(arguments.trials, np.random.default_rng(arguments.seed)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
