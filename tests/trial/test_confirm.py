"""Test which verdicts a second measurement confirms or refutes."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_trt.core.records import Status, Verdict
from pytest_trt.trial.confirm import confirm_verdicts

OVER = Verdict("over_budget", "budget", "ms", "over")
SLOWER = Verdict("regressed", "baseline", "ms", "slower")


def confirmed(first: Verdict, status: Status, *, rebuilt: bool = False, figure: str = "ms") -> Verdict:
    """Return the first verdict after a second one with this status."""
    again = dataclasses.replace(first, status=status, figure=figure)
    (verdict,) = confirm_verdicts((first,), (again,), rebuilt=rebuilt)
    return verdict


@pytest.mark.parametrize(
    ("status", "rebuilt", "expected", "looks"),
    [
        ("over_budget", False, "over_budget", 2),
        ("ok", False, "inconclusive", 1),
        ("inconclusive", False, "over_budget", 1),
        ("ok", True, "over_budget", 1),
        ("over_budget", True, "over_budget", 1),
    ],
)
def test_a_budget_is_confirmed_in_the_same_build(status: Status, rebuilt: bool, expected: Status, looks: int) -> None:
    verdict = confirmed(OVER, status, rebuilt=rebuilt)
    assert (verdict.status, verdict.looks) == (expected, looks)
    assert ("at the limit: not seen again in a fresh probe" in verdict.text) is (expected == "inconclusive")


@pytest.mark.parametrize(
    ("status", "expected", "looks"),
    [("regressed", "regressed", 2), ("ok", "inconclusive", 1), ("inconclusive", "regressed", 1)],
)
@pytest.mark.parametrize("rebuilt", [False, True])
def test_a_regression_is_confirmed_in_either_build(status: Status, expected: Status, looks: int, rebuilt: bool) -> None:
    for first in (SLOWER, dataclasses.replace(SLOWER, basis="layers")):
        verdict = confirmed(first, status, rebuilt=rebuilt)
        assert (verdict.status, verdict.looks) == (expected, looks)


def test_what_did_not_fail_or_was_judged_once_stays() -> None:
    passing = dataclasses.replace(OVER, status="ok")
    assert confirmed(passing, "over_budget") == passing
    assert confirmed(dataclasses.replace(SLOWER, status="ok"), "regressed").status == "ok"
    assert confirmed(OVER, "ok", figure="gpu_ms") == OVER
    assert confirm_verdicts((OVER,), (OVER,))[0].looks == 2  # of the same build
    accuracy = Verdict("inaccurate", "accuracy", "y", "off")
    assert confirm_verdicts((accuracy,), ()) == (accuracy,)
