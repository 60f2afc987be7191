"""Measure how often intervals err, on every kind of noise: the tables of docs/background/statistics.md.

    python benchmarks/coverage.py --trials 40000

The truth lies at the edge of what is asked, where erring is easiest; each line says what is promised.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

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

PLACES = ((0.0,), (0.0038, 0.0054, 0.0062, 0.0031, 0.0043, 0.0037), (0.011, 0.011, 0.011, 0.019))
"""How much slower the second of two probes is: not at all, as six pairs of a transformer's were on an H200, and as four
were that had made their contexts at once (docs/results/2026-11-24-h200-placement.md)."""

Array = NDArray[np.float64]
Noise = Callable[[np.random.Generator], Array]


def autoregression(coefficient: float) -> Noise:
    """UNITS normal values of variance 1 whose neighbours have this correlation."""

    def draw(generator: np.random.Generator) -> Array:
        shocks = generator.normal(size=UNITS)
        shocks[1:] *= math.sqrt(1 - coefficient**2)
        for n in range(1, UNITS):
            shocks[n] += coefficient * shocks[n - 1]
        return shocks

    return draw


NOISES: dict[str, Noise] = {  # of median 0
    "normal": lambda g: g.normal(size=UNITS),
    "Student's t, 2 degrees": lambda g: g.standard_t(2, size=UNITS),
    "scale that changes every 8 units": lambda g: g.normal(size=UNITS) * np.exp(g.normal(size=UNITS // 8)).repeat(8),
    "one in ten far above": lambda g: g.normal(size=UNITS) + 30 * (g.random(UNITS) < 0.1) - 0.13971,
    "two levels, 60 to 40": lambda g: g.normal(size=UNITS) + 30 * (g.random(UNITS) < 0.4) - 0.96742,
    **{f"autocorrelation {r:g}": autoregression(r) for r in (-0.5, 0.2, 0.3, 0.5, 0.8)},
}


def missed(noise: Noise, trials: int, generator: np.random.Generator) -> float:
    """The share of series in which an end ever lies beyond the truth, for one end: the mean over both."""
    errors = 0
    for _ in range(trials):
        series = noise(generator)
        found = [stats.interval(series[:n]) for n in stats.LOOKS if n <= UNITS]
        errors += any(f.low > 0 for f in found) + any(f.high < 0 for f in found)
    return errors / trials / 2


class Probes:
    """A block source with two sides alike but for a `ratio`, whose probes differ by a relative `scatter`; the second to
    be opened is slower by one of `places`, by chance."""

    sides = 2
    levels = ("block", "probe")

    def __init__(self, ratio: float, scatter: float, places: Sequence[float], generator: np.random.Generator) -> None:
        self._scatter, self._places, self._generator = scatter, places, generator
        self._levels = [ratio, 1.0]
        self._turn = -1
        self.renew()

    def _draw(self, scatter: float) -> float:
        return math.exp(self._generator.normal(0, scatter))

    def renew(self) -> None:
        self._turn += 1
        self._probes = [self._draw(self._scatter), self._draw(self._scatter)]
        self._probes[1 - first_side(self._turn)] *= 1 + float(self._generator.choice(self._places))

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        return Block({"ms": (self._levels[side] * self._probes[side] * self._draw(0.0004),)}, 0.02)


def judged(
    ratio: float, scatter: float, places: Sequence[float], trials: int, generator: np.random.Generator
) -> Counter[str]:
    """What is decided of a true ratio at a tolerance of 1 %, with the spread and place of a GPU that was not
    calibrated, and how many pairs of probes that took."""
    question = RegressionQuestion(
        tolerance=0.01, spread=DEFAULT_PROBE_SPREAD["gpu"], open_order_effect=DEFAULT_OPEN_ORDER_EFFECT["gpu"]
    )
    found: Counter[str] = Counter()
    for _ in range(trials):
        sampling = sample(Probes(ratio, scatter, places, generator), PairedRule(question), Limits(max_time_s=10.0))
        found.update([sampling.stop_reason, *["pairs"] * len(sampling.sides[0])])
    return found


def lines(trials: int, generator: np.random.Generator) -> Iterator[str]:
    yield f"ends beyond the truth at any look, up to {UNITS} units (promised: 0.1 %)"
    for name, noise in NOISES.items():
        yield f"  {name}: {missed(noise, trials, generator):.3%}"
    yield "decided at a tolerance of 1 % (promised of a true ratio of 1.01: 0.1 % each)"
    asked = trials // 10
    for ratio, scatter, places in itertools.product((1.01, 1.0), (0.0005, 0.001, 0.002), PLACES):
        counts = judged(ratio, scatter, places, asked, generator)
        seconds = " or ".join(f"{place:.2%}" for place in places)
        shares = (f"{word} {counts[f'decided: {word}'] / asked:.2%}" for word in ("regressed", "ok"))
        yield (
            f"  ratio {ratio:g}, probes that scatter by {scatter:.2%}, the second {seconds} slower: "
            f"{', '.join(shares)}, {counts['pairs'] / asked:.1f} pairs of probes"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for line in lines(arguments.trials, np.random.default_rng(arguments.seed)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
