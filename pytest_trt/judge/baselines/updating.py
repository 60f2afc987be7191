"""Decide what to store after a measurement, and when the reference of a baseline moves.

baseline, saved = update_baseline(old, measurement, status)  # the baseline to store; its reference seldom moves
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from typing import Literal

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Estimate, Measurement, Status, Verdict
from pytest_trt.judge.baselines.baseline import Baseline, baseline_of
from pytest_trt.judge.baselines.run import last_runs, run_of

RUNS = 10
"""How many runs the history of a baseline has."""

STORED: frozenset[Status] = frozenset(("ok", "improved", "new", "missing", "unenforced"))
"""The verdicts with which a measurement is stored without force."""

SaveOutcome = Literal["created", "moved", "recorded", "amended", "unchanged", "refused"]


@dataclasses.dataclass(frozen=True)
class Saved:
    """The result of saving a measurement.

    Attributes:
        outcome: The result in a word.
        text: The result in a sentence.
    """

    outcome: SaveOutcome
    text: str


@dataclasses.dataclass(frozen=True)
class Judged:
    """A measurement to save.

    Attributes:
        measurement: The measurement.
        status: Its verdict.
        improved: The figures that improved by more than their tolerance.
        verdicts: The verdicts of its figures, for the history.
    """

    measurement: Measurement
    status: Status = "ok"
    improved: Collection[str] = ()
    verdicts: Iterable[Verdict] = ()


def update_baseline(
    old: Baseline | None,
    measurement: Measurement,
    status: Status,
    *,
    improved: Collection[str] = (),
    verdicts: Iterable[Verdict] = (),
    force: bool = False,
    new_only: bool = False,
    reason: str = "",
    keep: int = RUNS,
) -> tuple[Baseline | None, Saved]:
    """Decide what to store after a measurement.

    An `ok` run is added to the history and leaves the reference unchanged, so that ten times +4 % is a regression. Only
    figures that the reference lacks are added to it. The measurement becomes the reference if it is new or forced. With
    a failing verdict, it is stored only by force. An `inconclusive` run is added to the history too: the spread between
    runs comes from it, and without it one stored run could never become `ok`. Only figures without an interval are
    added to the reference from such a run.

    An `improved` run moves the reference of each figure that improved. A better latency makes this run's engine the
    reference's engine; every other figure then keeps the better of its two values. So no figure becomes worse step by
    step while another one improves. A time on another card than the reference's is not comparable with it: it moves
    only with the latency, and then always.

    Args:
        old: The stored baseline; None if there is none.
        measurement: The measurement.
        status: Its verdict.
        improved: The figures that improved by more than their tolerance.
        verdicts: The verdicts of its figures, for the history.
        force: Whether to make it the reference whatever its verdict.
        new_only: Whether to store it only if there is no baseline.
        reason: Why it is accepted as the reference.
        keep: How many runs the history keeps.

    Returns:
        The baseline to store, None if nothing is stored; and the outcome.
    """
    records = status == "inconclusive" and old is not None and not new_only
    if status not in STORED and not force and not records:
        return None, Saved("refused", f"not saved: its verdict is {status}; --trt-baseline-force saves it anyway")
    if old is not None and new_only:
        return None, Saved("unchanged", "not saved: it has a baseline, and --trt-baseline-new-only saves only new ones")
    improved = improved if status == "improved" else ()
    if old is not None and "ms" not in improved:
        improved = [name for name in improved if _is_comparable(name, old, measurement)]
    moves = old is None or force or "ms" in improved
    history = last_runs((*(old.history if old else ()), run_of(measurement, moves, reason, verdicts)), keep)
    if old is None or moves:
        updated = baseline_of(measurement, history, measurement.build_spread or (old.build_spread if old else {}))
        if old is None:
            return updated, Saved("created", "baseline created")
        if not force:
            updated = dataclasses.replace(updated, figures=_moved_figures(old, measurement, improved))
        return updated, Saved("moved", f"baseline moved ({reason or status})")
    text = "added to the history of its baseline, whose reference is unchanged"
    certain = {n: e for n, e in measurement.figures.items() if not records or e.low == e.high}
    added = {name: estimate for name, estimate in certain.items() if name not in old.figures}
    changes = [f"it now has {', '.join(added)}"] if added else []
    for name in improved:
        added[name] = measurement.figures[name]
        changes.append(f"{name} moved to {added[name].value:g} {FIGURES[name].unit} ({status})")
    recorded = dataclasses.replace(old, history=history, figures={**old.figures, **added})
    if not changes:
        return recorded, Saved("recorded", text)
    return recorded, Saved("amended", f"{text}, except that {' and '.join(changes)}")


def _moved_figures(old: Baseline, measurement: Measurement, improved: Collection[str]) -> dict[str, Estimate]:
    """Return the reference's figures after a better latency: those that improved, and the better one of each other."""

    def better(name: str, new: Estimate) -> Estimate:
        kept = old.figures.get(name, new)
        is_better = new.value >= kept.value if FIGURES[name].higher_is_better else new.value <= kept.value
        return new if is_better or name in improved or not _is_comparable(name, old, measurement) else kept

    return {**old.figures, **{name: better(name, new) for name, new in measurement.figures.items()}}


def _is_comparable(figure: str, old: Baseline, measurement: Measurement) -> bool:
    """Return whether a figure does not depend on the card, or was measured on that of the reference."""
    return FIGURES[figure].unit == "MB" or old.environment.card in ("", measurement.environment.card)
