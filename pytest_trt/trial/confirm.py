"""Keep a failing verdict only if a repeated measurement confirms it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pytest_trt.core.records import Verdict
from pytest_trt.judge.regression.paired import confirm_regression

FAILS = frozenset(("over_budget", "regressed"))
"""The verdicts that a second measurement must not refute."""


def confirm_verdicts(
    first: Sequence[Verdict], again: Sequence[Verdict], *, rebuilt: bool = False
) -> tuple[Verdict, ...]:
    """Return the first verdicts; those that fail and that the second measurement refutes become `inconclusive`.

    A limit may be exceeded by one unlucky process, and a regression may be one unlucky build. A second measurement that
    cannot decide refutes nothing.

    Args:
        first: The verdicts of the first measurement.
        again: The verdicts of the second measurement, in fresh probes.
        rebuilt: Whether the second measurement ran another build of the engine.
    """
    by_figure = {(verdict.basis, verdict.figure): verdict for verdict in again}

    def confirm(verdict: Verdict) -> Verdict:
        second = by_figure.get((verdict.basis, verdict.figure))
        if second is None:  # accuracy is judged only once: outputs do not vary
            return verdict
        if verdict.basis == "baseline" or verdict.status == "regressed":
            return confirm_regression(verdict, second, rebuilt=rebuilt)
        if verdict.status == "over_budget" and second.status == "ok" and not rebuilt:
            text = f"{verdict.text} (at the limit: not seen again in a fresh probe)"
            return dataclasses.replace(verdict, status="inconclusive", text=text)
        if verdict.status == second.status == "over_budget" and not rebuilt:
            return dataclasses.replace(verdict, looks=verdict.looks + 1)
        return verdict

    return tuple(map(confirm, first))
