"""When an engine is measured again, and how: from verdicts and measurements that are made up."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_trt.core.records import Status, Verdict
from pytest_trt.trial.measuring import MAX_LOOKS, measure_and_confirm


def looks_and_verdict(*statuses: Status, basis: Any = "baseline") -> tuple[list[int], Verdict]:
    """Return the numbers of the measurements that were taken, and the verdict, if they are judged so in turn."""
    taken: list[int] = []

    def measure(look: int) -> Any:
        taken.append(look)
        return look

    def judge(look: Any) -> tuple[Verdict, ...]:
        return (Verdict(statuses[look], basis, "ms", f"look {look}"),)

    (verdict,) = measure_and_confirm(measure, judge).verdicts
    return taken, verdict


def test_a_verdict_that_passes_is_believed_at_once() -> None:
    assert looks_and_verdict("ok")[0] == [0]


@pytest.mark.parametrize(("basis", "failing"), [("baseline", "regressed"), ("budget", "over_budget")])
def test_a_failing_verdict_is_looked_at_until_it_is_decided(basis: str, failing: Status) -> None:
    taken, verdict = looks_and_verdict(failing, failing, basis=basis)
    assert (taken, verdict.status, verdict.looks) == ([0, 1], failing, 2)
    taken, verdict = looks_and_verdict(failing, "ok", basis=basis)
    assert (taken, verdict.status) == ([0, 1], "inconclusive")
    taken, verdict = looks_and_verdict(failing, "inconclusive", "ok", basis=basis)
    assert (taken, verdict.status) == ([0, 1, 2], "inconclusive")
    taken, verdict = looks_and_verdict(failing, "inconclusive", failing, basis=basis)
    assert (taken, verdict.status) == ([0, 1, 2], failing)


@pytest.mark.parametrize(("basis", "failing"), [("baseline", "regressed"), ("budget", "over_budget")])
def test_the_first_verdict_stands_if_no_later_look_can_decide(basis: str, failing: Status) -> None:
    taken, verdict = looks_and_verdict(failing, *["inconclusive"] * MAX_LOOKS, basis=basis)
    assert (taken, verdict.status, verdict.looks) == (list(range(MAX_LOOKS)), failing, 1)
