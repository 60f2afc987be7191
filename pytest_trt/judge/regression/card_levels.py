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
from pytest_trt.judge.baselines.run import Run, software_of
from pytest_trt.judge.regression.question import RegressionQuestion, percent

CARD_SPREAD = 0.09
"""How far two cards of one name may differ, as a share that holds with probability 99.9 %, until the baseline has runs
on four cards. It covers cards that scatter by 2 %."""

DEFAULT_FREEDOM = 4
"""The degrees of freedom that the default spread between runs counts as, beside what the history shows. With 8, runs
that scatter five times as much were judged wrong twice as often."""

_ENOUGH_FOR_A_STEP = 4
"""The least differences of which one may be a step."""

_ENOUGH_CARDS = 3
"""The least differences of cards from which their spread is estimated."""


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

    On the reference's card it is the level of the reference's plan (`reference_level`). On another one it is multiplied
    by the level of that card, which is the median of the runs on it divided by the stored value. A level beyond `limit`
    is not one of the card, and counts only up to there. For a card without runs, the interval is widened by how far
    cards differ.

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
    level, count = reference_level(baseline, figure, spread)
    averaged = (f"the reference is the level of {count} runs of its plan",) if count > 1 else ()
    known = StoredReference(
        _scaled(old, level), spread * _two_levels(count), spread, own, max(cards, CARD_SPREAD), details=averaged
    )
    if card in ("", own) or not own:
        return known
    if card not in runs or old.low <= 0:
        between = math.hypot(known.between, cards)
        assumed = f"first run on {card}: it may differ from {own}, the reference's, by up to {percent(cards, 2)}"
        return dataclasses.replace(known, between=between, known=False, details=(assumed,))
    bound = math.log1p(known.limit)
    level = min(max(stats.median(runs[card]) - math.log(old.value), -bound), bound)
    count = len(runs[card])
    moved = (
        f"{card} differs from {own}, the reference's, by {100 * math.expm1(level):+.2f} % in {count} runs: taken out",
    )
    return dataclasses.replace(known, estimate=_scaled(old, level), between=spread * _two_levels(count), details=moved)


def reference_level(baseline: Baseline, figure: str, spread: float) -> tuple[float, int]:
    """Return how far the level of the reference's plan lies from the stored figure, as a log, and from how many runs.

    The run that became the reference may have been fast or slow by chance. Its plan has run again if later runs have
    the same plan, card and software: the level is their median. No other run counts, so that the reference does not
    become slower with the engine. A level beyond `spread` is a change of the machine, and counts only up to there.

    Args:
        baseline: The baseline, with its history.
        figure: The figure's name.
        spread: How far two runs on one card may differ, as a share.
    """
    then, stored = baseline.environment, baseline.figures[figure].value
    reference = (baseline.plan_sha256[:16], then.card, software_of(then))
    same = [
        math.log(run.figures[figure])
        for run in _current_runs(baseline)
        if run.plan and (run.plan, run.card, run.software) == reference and run.figures.get(figure, 0.0) > 0
    ]
    if len(same) < 2 or stored <= 0 or FIGURES[figure].occurs_once:  # a plan from the cache was built only once
        return 0.0, 1
    return min(max(stats.median(same) - math.log(stored), -spread), spread), len(same)


def _scaled(estimate: Estimate, level: float) -> Estimate:
    value, low, high = (end * math.exp(level) for end in (estimate.value, estimate.low, estimate.high))
    return dataclasses.replace(estimate, value=value, low=low, high=high)


def _two_levels(count: int) -> float:
    """Return how many times the spread counts for one run and the median of `count` runs together.

    The variance of a median of three or more normal values is larger than that of their mean by pi / 2.
    """
    return math.sqrt(1 + 1 / count if count < 3 else 1 + math.pi / (2 * count))


def _current_runs(baseline: Baseline) -> Sequence[Run]:
    """Return the runs since the reference moved, with the run that became the reference."""
    return baseline.history[max((i for i, run in enumerate(baseline.history) if run.moved), default=0) :]


def runs_by_card(baseline: Baseline, figure: str) -> dict[str, list[float]]:
    """Return the logs of the figure in the runs since the reference moved, with the run that became the reference.

    A run that does not name its card counts as one on the reference's.
    """
    runs: dict[str, list[float]] = {}
    for run in _current_runs(baseline):
        if run.figures.get(figure, 0.0) > 0:
            runs.setdefault(run.card or baseline.environment.card, []).append(math.log(run.figures[figure]))
    return runs


def run_spread(baseline: Baseline, figure: str, default: float = 0.01, alpha: float = stats.ALPHA) -> float:
    """Return how far two runs of the same engine on one card may differ, as a share.

    It holds with probability 1 - `alpha`. The variance is that of the differences of neighbouring runs on one card,
    divided by 2. So neither a drift nor one step of the engine in the history hides what follows it. It is pooled with
    `default` as in `noise_levels.level_margin`, where `default` counts as DEFAULT_FREEDOM degrees of freedom. With
    fewer than two differences since the reference moved, or three without a default, `default` is used instead.

    The result is never less than the swing: the largest difference that occurred upwards as well as downwards.

    Args:
        baseline: The baseline, with its history.
        figure: The figure's name.
        default: The spread to expect without a history, as a share; 0 if none is known.
        alpha: The error of the margin.
    """
    found = _differences(baseline, figure)
    differences = [difference for difference, _ in found]
    if len(differences) < (2 if default else 3):
        return max(default, _swing(differences))
    known = DEFAULT_FREEDOM if default else 0
    prior, noise = default / t_quantile(alpha, noise_levels.FREEDOM), _without_step(found, alpha)
    drift, freedom = sum(noise) / len(noise), len(noise) - 1
    squares = sum((difference - drift) ** 2 for difference in noise) / 2
    pooled = (known * prior**2 + squares) / (known + freedom)
    return max(t_quantile(alpha, known + freedom) * math.sqrt(pooled), _swing(differences))


def _differences(baseline: Baseline, figure: str) -> list[tuple[float, bool]]:
    """Return the log ratios of neighbouring runs on one card, and whether both ran the same plan."""
    last: dict[str, tuple[float, str]] = {}
    found = []
    for run in _current_runs(baseline):
        if run.figures.get(figure, 0.0) > 0:
            card, log = run.card or baseline.environment.card, math.log(run.figures[figure])
            if card in last:
                found.append((log - last[card][0], last[card][1] == run.plan != ""))
            last[card] = log, run.plan
    return found


def _without_step(found: Sequence[tuple[float, bool]], alpha: float) -> Sequence[float]:
    """Return the differences without the one that is farthest from the others, if they contradict it at `alpha`.

    It is kept if both runs had the same plan: then it is the machine that jumped, and it may jump again.
    """
    differences = [difference for difference, _ in found]
    if len(differences) < _ENOUGH_FOR_A_STEP:
        return differences
    middle = stats.median(differences)
    farthest = max(range(len(differences)), key=lambda index: abs(differences[index] - middle))
    if found[farthest][1]:
        return differences
    others = [difference for index, difference in enumerate(differences) if index != farthest]
    center, count = sum(others) / len(others), len(others)
    error = math.sqrt(sum((other - center) ** 2 for other in others) / (count - 1) * (1 + 1 / count))
    step = abs(differences[farthest] - center) > t_quantile(alpha, count - 1) * error
    return others if step else differences


def card_spread(baseline: Baseline, figure: str, alpha: float = stats.ALPHA) -> float:
    """Return how far a card without runs may differ from that of the reference, as a share.

    It is estimated from the differences of cards like `run_spread`, without a default once there are enough: if every
    run is on another card, as in a cloud, cards and runs cannot be told apart, and the history shows both.
    """
    levels = [stats.median(logs) for logs in runs_by_card(baseline, figure).values()]
    differences = [b - a for a, b in itertools.pairwise(levels)]
    if len(differences) < _ENOUGH_CARDS:
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
