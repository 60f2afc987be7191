"""Find the trend of a figure in a test's runs, and tell a change of the engine from a drift of the machine.

A value belongs to the machine as it was on that day. A ratio to the reference does not, if both engines took turns, or
if they were the same plan. So the level of a figure follows the ratios that were judged, from reference to reference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.past_run import PastRun
from pytest_trt.judge.baselines.run import Run
from pytest_trt.judge.regression.change_points import LONGEST, change_points


@dataclasses.dataclass(frozen=True)
class _Reference:
    """A reference: its level and its value, and the plan and the software that it ran."""

    level: float
    value: float
    engine: tuple[str, str] = ("", "")


def trend(runs: Sequence[Run], figure: str, *, with_changes: bool = True) -> tuple[PastRun, ...]:
    """Return the last runs that have a figure, with the points at which its level changes.

    Args:
        runs: The runs, the oldest first.
        figure: The name of the figure.
        with_changes: Whether to find the points at which the level changes.
    """
    known = [run for run in runs if run.figures.get(figure, 0.0) > 0][-LONGEST:]
    values = [run.figures[figure] for run in known]
    levels = values if FIGURES[figure].is_size else list(_levels(known, figure))  # A size has no drift.
    changes: dict[int, Literal["level", "machine"]] = {}
    if with_changes:
        drifts = [value / level for value, level in zip(values, levels, strict=True)]
        changes = dict.fromkeys(change_points(drifts), "machine")
        changes.update(dict.fromkeys(change_points(levels), "level"))
    causes = {number: _cause(known[number - 1], known[number], change) for number, change in changes.items()}
    return tuple(
        PastRun(
            time=run.time,
            commit=run.commit or "",
            value=values[number],
            level=levels[number],
            ratio=run.ratios.get(figure),
            change=changes.get(number, ""),
            cause=causes.get(number, ""),
            moved=run.moved,
            reason=run.reason,
            limit=run.limits.get(figure),
        )
        for number, run in enumerate(known)
    )


def _levels(runs: Sequence[Run], figure: str) -> Iterator[float]:
    """Yield the level of each run.

    The same plan with the same software has the same level, whatever its value is today. Any other run without a ratio,
    such as one from an earlier version of the file, moves the level as far as its value.
    """
    reference: _Reference | None = None
    for run in runs:
        value, ratio, engine = run.figures[figure], run.ratios.get(figure, 0.0), (run.plan, run.software)
        if reference is None and ratio > 0:  # its reference is no longer in the history
            reference = _Reference(value / ratio, value / ratio)
        reference = reference or _Reference(value, value, engine)
        if ratio <= 0:
            ratio = 1.0 if run.plan and engine == reference.engine else value / reference.value
        level = reference.level * ratio
        yield level
        if run.moved:
            reference = _Reference(level, value, engine)


def _cause(before: Run, run: Run, change: Literal["level", "machine"]) -> str:
    """Return what differs between two runs, as far as it is recorded."""
    by_machine, same_plan = change == "machine", bool(run.plan) and before.plan == run.plan
    differences = [
        f"{name} {old} to {new}"
        for name, old, new in (("software", before.software, run.software), ("card", before.card, run.card))
        if old and new and old != new
    ]
    if not same_plan:
        plan = "the judged ratio kept its level" if by_machine else "another plan" if before.plan and run.plan else ""
    else:
        plan = "same plan"
    if differences:
        return ", ".join(filter(None, (plan, *differences)))
    if by_machine:
        return f"{plan}: the machine, not the commit"
    return f"{plan}: its options or the machine" if same_plan else plan
