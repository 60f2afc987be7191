"""Judge the failing verdicts of a run together: which of them hold among all the tests of the run.

    doubtful = doubtful_failures(results)

One verdict in a thousand may be wrong, so a run of many tests has wrong ones by chance. A verdict that independent
measurements repeat is far less often wrong: its e-value, the inverse of the errors multiplied, grows with each of them.
The e-values of a run are judged by e-BH (Wang and Ramdas 2022, "False discovery rate control with e-values", JRSS B
84), which holds however the tests depend on each other.
"""

from __future__ import annotations

from collections.abc import Iterable

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Result, Status, Verdict
from pytest_trt.core.stats import ALPHA

RUN_ERROR = 0.01
"""The share of wrong ones to expect among the failing verdicts that hold. In a run in which no figure is worse, it is
the probability that any of them holds."""

OUTCOMES = 2
"""How many ways a failing verdict may end: given once, because the second measurement could not decide, or twice. Each
may be wrong, so each has its share of an e-value's mean."""

_FAILING = frozenset(("over_budget", "regressed"))


def doubtful_failures(results: Iterable[Result], error: float = RUN_ERROR) -> frozenset[str]:
    """Return the node ids of the tests whose failing verdicts do not hold among all verdicts of the run.

    Verdicts that chance cannot make wrong always hold, and are not counted.

    Args:
        results: The results of all tests of the run.
        error: See RUN_ERROR.
    """
    judged = [
        (e_value(verdict), result.node_id)
        for result in results
        for verdict in result.verdicts
        if verdict.basis in ("budget", "baseline") and verdict.status not in ("new", "missing") and scatters(verdict)
    ]
    ranked = sorted(judged, reverse=True)
    holding = [k for k, (value, _) in enumerate(ranked, 1) if value >= len(ranked) / (k * error) * (1 - 1e-9)]
    held = ranked[: max(holding, default=0)]
    return frozenset(node_id for value, node_id in judged if value > 0) - {node_id for _, node_id in held}


def e_value(verdict: Verdict) -> float:
    """Return the e-value of a verdict: its mean over all runs is at most 1 if the figure is not worse.

    It is 0 for a verdict that does not fail. A wrong one occurs in ALPHA of all measurements.
    """
    return ALPHA**-verdict.looks / OUTCOMES if verdict.status in _FAILING else 0.0


def scatters(verdict: Verdict) -> bool:
    """Return whether chance can make a verdict wrong: not if it compares sizes, or two values without scatter."""
    about = FIGURES.get(verdict.figure)
    exact = verdict.ratio is not None and verdict.ratio.low == verdict.ratio.high
    return not (exact or (about is not None and about.is_size))


def reason_unable_to_fail(result: Result, failing: frozenset[Status]) -> str:
    """Return why a test could not have failed, however slow its engine was; empty if it could.

    Args:
        result: The result of the test.
        failing: The statuses that fail a test.
    """
    statuses = {v.status for v in result.verdicts if v.basis != "run"}
    if result.status in failing or statuses & {"ok", "improved"}:
        return ""
    if "inconclusive" in statuses:
        return "inconclusive: no verdict could be decided"
    if "unenforced" in statuses:
        return "not enforced: its budgets name other devices, or its quarantine lasts"
    return "no budget and no baseline"
