"""Levels of noise between stored runs: how far runs on one card differ, and how far cards of one name differ.

reference = reference_on(environment.card, question, baseline)
verdict = judge_estimates(question, new, reference.estimate, reference.between)

A card is a GPU, or a host in the case of a CPU.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

from pytest_trt.core import noise_levels, stats
from pytest_trt.core.distributions import t_quantile
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Estimate
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.judge.regression.question import RegressionQuestion, percent

CARD_SPREAD = 0.09
"""How far two cards of one name may differ, as a share that holds with probability 99.9 %, until the baseline has runs
on four cards. It covers cards that scatter by 2 %."""

_ENOUGH_DIFFERENCES = 3
"""The least differences of neighbouring runs or cards from which a spread is estimated."""


@dataclasses.dataclass(frozen=True)
class StoredReference:
    """What a figure of this run is compared with.

    Attributes:
        estimate: The stored figure, as it would be on this card.
        between: How far the figure of this run may lie from it although the engine is the same, as a share.
        run_spread: How far two runs on one card may differ, as a share.
        card: The card of the stored figure.
        limit: The largest difference that two cards explain, as a share.
        known: Whether it is known how fast this card is.
        details: What was done about the card, in sentences.
    """

    estimate: Estimate
    between: float
    run_spread: float
    card: str
    limit: float
    known: bool = True
    details: tuple[str, ...] = ()


def reference_on(card: str, question: RegressionQuestion, baseline: Baseline) -> StoredReference:
    """Return the stored figure as it would be on a card.

    On the reference's card it is the stored value. On another one it is multiplied by the level of that card, which is
    the median of the runs on it divided by the stored value. A level beyond `limit` is not one of the card, and counts
    only up to there. For a card without runs, the interval is widened by how far cards differ.

    Args:
        card: The card of this run; empty for that of the reference.
        question: The question to answer.
        baseline: The baseline, which has the figure.
    """
    figure, alpha = question.figure, question.alpha
    old, own = baseline.figures[figure], baseline.environment.card
    runs = runs_by_card(baseline, figure)
    # A time that occurs once scatters as far as the history shows; no other spread is assumed for it.
    default = 0.0 if FIGURES[figure].occurs_once else question.run_spread
    spread = run_spread(baseline, figure, default, alpha)
    cards = card_spread(baseline, figure, alpha)
    known = StoredReference(old, math.sqrt(2) * spread, spread, own, max(cards, CARD_SPREAD))
    if card in ("", own) or not own:
        return known
    if card not in runs or old.low <= 0:
        between = math.hypot(known.between, cards)
        assumed = f"first run on {card}: it may differ from {own}, the reference's, by up to {percent(cards, 2)}"
        return dataclasses.replace(known, between=between, known=False, details=(assumed,))
    bound = math.log1p(known.limit)
    level = min(max(stats.median(runs[card]) - math.log(old.value), -bound), bound)
    count = len(runs[card])
    # The variance of a median of three or more normal values is larger than that of their mean by pi / 2.
    between = spread * math.sqrt(1 + 1 / count if count < 3 else 1 + math.pi / (2 * count))
    moved = (
        f"{card} differs from {own}, the reference's, by {100 * math.expm1(level):+.2f} % in {count} runs: taken out",
    )
    value, low, high = (end * math.exp(level) for end in (old.value, old.low, old.high))
    scaled = dataclasses.replace(old, value=value, low=low, high=high)
    return dataclasses.replace(known, estimate=scaled, between=between, details=moved)


def runs_by_card(baseline: Baseline, figure: str) -> dict[str, list[float]]:
    """Return the logs of the figure in the runs since the reference moved, with the run that became the reference.

    A run that does not name its card counts as one on the reference's.
    """
    last = max((i for i, run in enumerate(baseline.history) if run.moved), default=0)
    runs: dict[str, list[float]] = {}
    for run in baseline.history[last:]:
        if run.figures.get(figure, 0.0) > 0:
            runs.setdefault(run.card or baseline.environment.card, []).append(math.log(run.figures[figure]))
    return runs


def run_spread(baseline: Baseline, figure: str, default: float = 0.01, alpha: float = stats.ALPHA) -> float:
    """Return how far two runs of the same engine on one card may differ, as a share.

    It holds with probability 1 - `alpha`. The standard deviation is estimated from the median absolute deviation of the
    differences of neighbouring runs on one card, times 1.4826 / sqrt(2) as for normal ones. So neither a drift nor one
    step in the history hides what follows it. The estimate is pooled with `default` as in `noise_levels.level_margin`,
    and is no less than the history alone gives. With fewer than three differences since the reference moved, `default`
    is used instead.

    The result is never less than the swing: the largest difference that occurred upwards as well as downwards. Between
    runs at two levels, the median deviation is often 0.

    Args:
        baseline: The baseline, with its history.
        figure: The figure's name.
        default: The spread to expect without a history, as a share.
        alpha: The error of the margin.
    """
    runs = runs_by_card(baseline, figure).values()
    differences = [b - a for logs in runs for a, b in itertools.pairwise(logs)]
    if len(differences) < _ENOUGH_DIFFERENCES:
        return max(default, _swing(differences))
    freedom, count = noise_levels.FREEDOM, len(differences) - 1
    prior = default / t_quantile(alpha, freedom)
    deviation = _deviation(differences)
    pooled = (freedom * prior**2 + count * deviation**2) / (freedom + count)
    alone = t_quantile(alpha, count) * deviation
    if prior and len(differences) > _ENOUGH_DIFFERENCES:
        # With few differences the quantile is large. While they do not contradict the default, it applies instead.
        alone = min(alone, default * (deviation / prior) ** 4)
    return max(t_quantile(alpha, freedom + count) * math.sqrt(pooled), alone, _swing(differences))


def card_spread(baseline: Baseline, figure: str, alpha: float = stats.ALPHA) -> float:
    """Return how far a card without runs may differ from that of the reference, as a share.

    It is estimated from the differences of cards like `run_spread`, without a default once there are enough: if every
    run is on another card, as in a cloud, cards and runs cannot be told apart, and the history shows both.
    """
    levels = [stats.median(logs) for logs in runs_by_card(baseline, figure).values()]
    differences = [b - a for a, b in itertools.pairwise(levels)]
    if len(differences) < _ENOUGH_DIFFERENCES:
        return max(CARD_SPREAD, _swing(differences))
    alone = t_quantile(alpha, len(differences) - 1) * _deviation(differences)
    return math.sqrt(2) * max(alone, _swing(differences))


def _deviation(differences: Sequence[float]) -> float:
    """Return the standard deviation of values with these differences."""
    drift = stats.median(differences)
    return 1.4826 * stats.median([abs(difference - drift) for difference in differences]) / math.sqrt(2)


def _swing(differences: Sequence[float]) -> float:
    """Return the largest difference that occurred upwards as well as downwards."""
    return max(min(max(differences, default=0.0), -min(differences, default=0.0)), 0.0)
