"""The noise between probes of one engine: learnt from its own pairs of probes, and from those of other engines.

noise = EngineNoise().with_pairs(PairedMedians(medians))
share, open_order_effect, place = bounds(noise, all_engines, default_share, default_effect)

An engine that has few pairs of its own is expected to be like the others on its card, with doubt: one engine may
scatter several times as much as another. Variances are pooled as in `noise_levels` (a normal variance with its
conjugate prior, Gelman et al., Bayesian Data Analysis, 2.6), here on two levels: the default, all engines, one engine.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence

from pytest_trt.core import noise_levels
from pytest_trt.core.distributions import t_quantile
from pytest_trt.core.stats import ALPHA

DEFAULT_FREEDOM = 2
"""The degrees of freedom that the defaults count as, beside what engines on the card have shown."""

ENGINES_FREEDOM = 4
"""The degrees of freedom that the scatter of other engines counts as. It must be few: on an H200, engines differ by a
factor of four."""

LONE_PAIR = 2.0
"""How many times the bounds count for a single pair of probes of an engine without pairs of its own."""

MOST_FREEDOM = 64
"""The degrees of freedom from which old pairs count half, so that a noise that changes is followed."""


@dataclasses.dataclass(frozen=True)
class PairedMedians:
    """The log ratios of the pairs of probes in one comparison, new over old.

    Attributes:
        medians: The median log ratio of each pair, in the order of opening.
        reversed_opening: Whether the side that is usually opened first was opened second.
        same_plan: Whether both sides ran one plan, so that their true ratio is known to be 1.
    """

    medians: Sequence[float]
    reversed_opening: bool = False
    same_plan: bool = False


@dataclasses.dataclass(frozen=True)
class EngineNoise:
    """What the pairs of probes of one engine have shown.

    Attributes:
        place: The open-order effect: the log of the latency in the probe opened first over that in the second.
        weight: The number of pairs that `place` is the mean of.
        squares: The sum of the squared differences of pairs from their mean, the open-order effect removed.
        freedom: The degrees of freedom of `squares`.

    Raises:
        ValueError: A value is impossible.
    """

    place: float = 0.0
    weight: float = 0.0
    squares: float = 0.0
    freedom: float = 0.0

    def __post_init__(self) -> None:
        if not (
            abs(self.place) < 10 and 0 <= self.weight < 1e6 and 0 <= self.squares < 1e6 and 0 <= self.freedom < 1e6
        ):
            raise ValueError(f"{self} is impossible")

    def with_pairs(self, pairs: PairedMedians) -> EngineNoise:
        """Return what is known after one more comparison.

        Pairs that were opened in both orders separate the open-order effect from the true ratio. Of one plan, every
        pair shows it.
        """
        first = [noise_levels.first_side(turn) ^ pairs.reversed_opening for turn in range(len(pairs.medians))]
        if pairs.same_plan:
            known = self
            for side, median in zip(first, pairs.medians, strict=True):
                known = known.with_difference(-median if side else median)
            return known
        orders = [[m for side, m in zip(first, pairs.medians, strict=True) if side == one] for one in (0, 1)]
        if not all(orders):
            return self
        means = [sum(order) / len(order) for order in orders]
        squares = sum((m - mean) ** 2 for order, mean in zip(orders, means, strict=True) for m in order)
        weight = 4 / sum(1 / len(order) for order in orders)
        return self._with((means[0] - means[1]) / 2, weight, squares, len(first) - 2)

    def with_difference(self, difference: float) -> EngineNoise:
        """Return what is known after one more pair of probes of one plan.

        Args:
            difference: The log of the latency in the probe opened first over that in the second.
        """
        return self._with(difference, 1.0, 0.0, 0)

    def _with(self, place: float, weight: float, squares: float, freedom: int) -> EngineNoise:
        old = dataclasses.replace(
            self, weight=self.weight / 2, squares=self.squares / 2, freedom=self.freedom / 2
        ) if self.freedom > MOST_FREEDOM else self  # fmt: skip
        total = old.weight + weight
        between = old.weight * weight / total * (place - old.place) ** 2
        return EngineNoise(
            (old.weight * old.place + weight * place) / total,
            total,
            old.squares + squares + between,
            old.freedom + freedom + (1 if old.weight else 0),
        )


def lone_pair(engine: EngineNoise) -> float:
    """Return how many times the bounds count for a single pair of probes, from LONE_PAIR down to 1.

    The more of the bounds comes from the engine's own pairs, the less it may be noisier than they say.

    Args:
        engine: The engine.
    """
    return 1 + (LONE_PAIR - 1) * ENGINES_FREEDOM / (ENGINES_FREEDOM + engine.freedom)


def bounds(
    engine: EngineNoise,
    all_engines: Collection[EngineNoise],
    spread: float,
    open_order_effect: float,
    alpha: float = ALPHA,
) -> tuple[float, float, float]:
    """Return how far two probes of an engine differ by chance, and how far the order of opening moves their ratio.

    Both are shares that hold with probability 1 - `alpha`. The third value is the expected log of the latency in the
    probe opened first over that in the second; the second value is its size and the doubt about it.

    Args:
        engine: The engine.
        all_engines: Every engine with pairs on this card, this one included.
        spread: The default of the first.
        open_order_effect: The default of the second.
        alpha: The error.
    """
    default, freedom = (spread / t_quantile(alpha, noise_levels.FREEDOM)) ** 2, DEFAULT_FREEDOM
    squares, shown = sum(one.squares for one in all_engines), sum(one.freedom for one in all_engines)
    typical = (freedom * default + squares) / (freedom + shown)
    own = ENGINES_FREEDOM + engine.freedom
    variance = (ENGINES_FREEDOM * typical + engine.squares) / own
    quantile = t_quantile(alpha, int(own))
    places = [one.place for one in all_engines if one.weight]
    center = sum(places) / len(places) if places else 0.0
    apart = (open_order_effect / t_quantile(alpha, noise_levels.FREEDOM)) ** 2
    known = freedom + max(len(places) - 1, 0)
    between = (freedom * apart + sum((place - center) ** 2 for place in places)) / known
    if not open_order_effect:
        return quantile * math.sqrt(variance), 0.0, 0.0
    precision = engine.weight / variance + 1 / between
    place = (engine.weight / variance * engine.place + center / between) / precision
    doubt = min(quantile / math.sqrt(precision), open_order_effect)
    return quantile * math.sqrt(variance), abs(place) + doubt, place
