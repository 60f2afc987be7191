"""Simulate traces that are fitted to a recorded one: the same noise, a known truth, and independent trials.

The log ratio of the medians of a round is an autoregression of order one. Its innovations have Student's t
distribution, whose scale changes from stretch to stretch. Both sides share the slow changes of the reference. Samples
scatter about the median of their round like those of a randomly chosen round of the trace.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from replay import REFERENCE, Array, Trace

from pytest_trt.core.records import Block
from pytest_trt.core.stats import winsorise

MOST_ROUNDS = 640
STRETCH = 10  # the number of rounds with the same scale


@dataclasses.dataclass(frozen=True)
class Noise:
    """The model of a series.

    Attributes:
        autocorrelation: The autocorrelation at lag one.
        scales: The scales of the stretches.
        freedom: The degrees of freedom of the tails.
    """

    autocorrelation: float
    scales: tuple[float, ...]
    freedom: float

    @classmethod
    def fit(cls, series: Array) -> Noise:
        """Return the model that fits the series."""
        centered = winsorise(series) - np.median(series)
        total = float(centered @ centered)
        autocorrelation = float(centered[1:] @ centered[:-1]) / total if total else 0.0
        parts = [p for p in np.array_split(series - np.median(series), max(len(series) // STRETCH, 1)) if len(p)]
        scales = tuple(float(np.sqrt(np.mean(winsorise(part) ** 2))) for part in parts)
        standard = np.concatenate([part / (scale or 1.0) for part, scale in zip(parts, scales, strict=True)])
        excess = float(np.mean(standard**4) / (np.mean(standard**2) ** 2 or 1.0)) - 3
        return cls(autocorrelation, scales, min(max(4 + 6 / excess, 3.0), 30.0) if excess > 0 else 30.0)

    def draw(self, count: int, generator: np.random.Generator) -> Array:
        """Return a random series of `count` values around 0."""
        scales = np.repeat(generator.choice(self.scales, size=-(-count // STRETCH)), STRETCH)[:count]
        shocks = generator.standard_t(self.freedom, size=count) * math.sqrt((self.freedom - 2) / self.freedom)
        shocks *= scales * math.sqrt(1 - self.autocorrelation**2)
        series = np.empty(count)
        last = float(generator.normal()) * float(scales[0])
        for number, shock in enumerate(shocks.tolist()):
            last = self.autocorrelation * last + shock
            series[number] = last
        return series


@dataclasses.dataclass(frozen=True)
class Model:
    """The noise of one engine and its reference.

    Attributes:
        ratio: The noise of the log ratio of round medians.
        wander: The noise that both sides share.
        level: The log of the reference's median.
        residues: The samples divided by the median of their block, with the shape (rounds, samples).
    """

    ratio: Noise
    wander: Noise
    level: float
    residues: Array

    @classmethod
    def fit(cls, trace: Trace, engine: str, block_ms: float, block_samples: int) -> Model:
        """Return the model that fits an engine of the trace."""
        rows = [block.times["ms"] for block in trace.blocks(engine, block_ms, block_samples)]
        samples = np.asarray(rows)
        reference = np.log(np.median(trace.engines[REFERENCE], axis=1))
        residues = samples / np.median(samples, axis=1, keepdims=True)
        return cls(Noise.fit(trace.log_ratios(engine)), Noise.fit(reference), float(np.median(reference)), residues)


class Simulated:
    """A block source with two sides, whose true ratio is `ratio`."""

    sides = 2
    levels = ("block",)

    def __init__(self, model: Model, ratio: float, generator: np.random.Generator) -> None:
        old = model.level + model.wander.draw(MOST_ROUNDS, generator)
        new = old + model.ratio.draw(MOST_ROUNDS, generator) + math.log(ratio)
        self._factors = np.exp([new, old])
        self._model, self._generator = model, generator
        self._used = [0, 0]

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        turn = self._used[side]
        self._used[side] += 1
        residues = self._model.residues[self._generator.integers(len(self._model.residues))]
        times = (residues * self._factors[side, turn % MOST_ROUNDS]).tolist()
        return Block({"ms": tuple(times)}, sum(times) / 1000)

    def renew(self) -> None:
        raise NotImplementedError("a simulation has no probes to renew")


class Pairs:
    """A block source with two sides whose true ratio is `ratio`, and whose pairs scatter independently by `scatter`.

    Nothing else varies: what a verdict costs on it depends on the intervals alone.
    """

    sides = 2
    levels = ("block",)

    def __init__(self, ratio: float, scatter: float, generator: np.random.Generator) -> None:
        self._levels, self._scatter, self._generator = (ratio, 1.0), scatter / math.sqrt(2), generator

    def next_block(self, side: int, *, kept: bool = True) -> Block:
        return Block({"ms": (self._levels[side] * math.exp(self._generator.normal(0, self._scatter)),)}, 0.02)

    def renew(self) -> None:
        raise NotImplementedError("a simulation has no probes to renew")
