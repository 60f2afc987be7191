"""Relate the tests of one run: a shift that all of them share is one finding about the card, not one for each test.

results, findings = settle_cards(results)
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from pytest_trt.core import stats
from pytest_trt.core.distributions import t_quantile
from pytest_trt.core.records import Result, Verdict
from pytest_trt.judge.regression.question import RegressionQuestion, verdict_from_interval

MIN_TESTS = 8
"""The fewest tests whose common shift shows how fast a card is."""

MIN_SHIFT = 0.003
"""The smallest common shift that is reported, as a share."""

Group = tuple[str, str, str, str]
"""A device's name, the card of the references, the card of this run, and a figure."""


@dataclasses.dataclass(frozen=True)
class Shift:
    """What several tests on one card share.

    Attributes:
        log: The median of the logs of their ratios.
        margin: How far the log of a single unchanged test may lie from it.
        tests: The number of tests.
    """

    log: float
    margin: float
    tests: int

    @classmethod
    def of(cls, logs: Sequence[float], alpha: float = stats.ALPHA) -> Shift:
        """Return the shift of these log ratios.

        Their scatter is at least that of the inner four fifths: a part of the tests may depend on the card in another
        way than the rest, which the median absolute deviation does not see.
        """
        center = float(np.median(logs))
        robust = 1.4826 * float(np.median(np.abs(np.asarray(logs) - center)))
        low, high = np.quantile(logs, (0.1, 0.9))
        scatter = max(robust, float(high - low) / (2 * 1.2816))
        count = len(logs)
        return cls(center, t_quantile(alpha, count - 1) * scatter * math.sqrt(1 + math.pi / (2 * count)), count)


def settle_cards(results: Sequence[Result]) -> tuple[tuple[Result, ...], tuple[str, ...]]:
    """Complete the verdicts that wait for how fast a card is, from what all tests of the run share.

    Args:
        results: The results of a run.

    Returns:
        The results, and a sentence for each card on which the tests moved as one.
    """
    logs: dict[Group, list[float]] = collections.defaultdict(list)
    for result in results:
        for verdict in result.verdicts:
            if verdict.cards is not None:
                logs[_group(result, verdict)].append(math.log(verdict.cards.ratio.value))
    shifts = {group: Shift.of(found) for group, found in logs.items() if len(found) >= MIN_TESTS}
    settled = tuple(
        dataclasses.replace(result, verdicts=tuple(_settle(result, verdict, shifts) for verdict in result.verdicts))
        for result in results
    )
    return settled, tuple(text for group, shift in shifts.items() if (text := _finding(group, shift)))


def is_pending(verdict: Verdict) -> bool:
    """Return whether a verdict is inconclusive and may be completed once it is known how fast the card is."""
    return verdict.cards is not None and not verdict.cards.known and verdict.status == "inconclusive"


def without_pending(result: Result) -> Result:
    """Return the result without the verdicts that are only known at the end of the run."""
    return dataclasses.replace(result, verdicts=tuple(v for v in result.verdicts if not is_pending(v)))


def _group(result: Result, verdict: Verdict) -> Group:
    assert verdict.cards is not None
    device = result.measurement.environment.device if result.measurement is not None else ""
    return device, verdict.cards.reference, verdict.cards.card, verdict.figure


def _settle(result: Result, verdict: Verdict, shifts: Mapping[Group, Shift]) -> Verdict:
    cards = verdict.cards
    shift = shifts.get(_group(result, verdict)) if cards is not None and is_pending(verdict) else None
    if cards is None or shift is None or verdict.tolerance is None:
        return verdict
    bound = math.log1p(cards.limit)
    card = min(max(shift.log, -bound), bound)
    center, low, high = (math.log(end) for end in (cards.ratio.value, cards.ratio.low, cards.ratio.high))
    below, above = math.hypot(center - low, shift.margin), math.hypot(high - center, shift.margin)
    found = stats.Interval(center - card, center - card - below, center - card + above)
    question = RegressionQuestion(figure=verdict.figure, tolerance=verdict.tolerance)
    taken_out = f"{shift.tests} tests on {cards.card} share {_percent(card)} against {cards.reference}: taken out"
    judged = verdict_from_interval(question, found, (*verdict.details[:1], taken_out))
    judged = dataclasses.replace(judged, cards=dataclasses.replace(cards, known=True))
    if judged.status == "improved":  # The test has ended, and its reference cannot move any more.
        return dataclasses.replace(judged, status="ok", text=judged.text.replace(" improved:", " ok:", 1))
    if judged.status == "regressed" and cards.quarantine:
        return dataclasses.replace(judged, status="unenforced", text=f"{judged.text}; {cards.quarantine}")
    return judged


def _finding(group: Group, shift: Shift) -> str:
    """Return the sentence about tests that moved as one; empty if they did not, or not far."""
    _, reference, card, figure = group
    if figure != "ms" or abs(shift.log) < max(MIN_SHIFT, shift.margin / math.sqrt(shift.tests)):
        return ""
    moved = f"all {shift.tests} tests {_percent(shift.log)} on {card}"
    word = "slower" if shift.log > 0 else "faster"
    if card == reference:
        return (
            f"{moved}, the card of the baseline: what they share is {word}, such as the clock, the driver or the load "
            "of the host; this was not taken out"
        )
    return f"{moved}: this card is {word} than {reference}, that of the baseline; taken out before tests are judged"


def _percent(log: float) -> str:
    return f"{100 * math.expm1(log):+.1f} %"
