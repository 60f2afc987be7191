"""The runs in the history of a baseline, and the checks of the texts in a baseline's file."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Mapping

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Measurement

MOST = 1e15
"""The largest value of a figure; as a latency, it is 30,000 years. Results computed from such figures stay finite."""

IN_HISTORY = tuple(name for name, figure in FIGURES.items() if figure.in_history)
"""The figures that a run in the history has."""

DIGEST = re.compile(r"[0-9a-f]{0,128}")
COMMIT = re.compile(r"[0-9A-Za-z.+_-]{0,80}")
CARD = re.compile(r"[0-9A-Za-z-]{0,40}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
_RUN = re.compile(rf"{TIME.pattern}\|{COMMIT.pattern}\|{DIGEST.pattern}\|{CARD.pattern}", re.ASCII)

_EXPECTED = {
    DIGEST: "lower-case hexadecimal digits",
    COMMIT: "a commit of letters, digits and .+_-",
    CARD: "the first digits of a GPU's UUID, or of a host",
    TIME: "an ISO 8601 time",
}


@dataclasses.dataclass(frozen=True)
class Run:
    """A run in the history of a baseline.

    Attributes:
        time: When it was measured, an ISO 8601 time.
        commit: The commit that it measured, if known.
        figures: The values of its figures.
        plan: The first digits of its plan's SHA-256.
        moved: Whether it became the reference.
        reason: The reason that was stated when it was accepted as the reference.
        card: The card that it ran on (`Environment.card`); empty in files that were written before cards were recorded.

    Raises:
        ValueError: A figure, time, commit, digest or card is not valid.
    """

    time: str
    commit: str | None
    figures: Mapping[str, float]
    plan: str = ""
    moved: bool = False
    reason: str = ""
    card: str = ""

    def __post_init__(self) -> None:
        if not _RUN.fullmatch(f"{self.time}|{self.commit or ''}|{self.plan}|{self.card}"):  # one test of all, for speed
            check_text(TIME, "time", self.time)
            check_text(COMMIT, "commit", self.commit or "")
            check_text(DIGEST, "plan", self.plan)
            check_text(CARD, "card", self.card)
        check_names(self.figures)
        if self.figures and not 0 <= min(self.figures.values()) <= max(self.figures.values()) <= MOST:
            name, value = next((n, v) for n, v in self.figures.items() if not 0 <= v <= MOST)
            raise ValueError(f"figures.{name} is {value:g}: it must be between 0 and {MOST:g}")


def run_of(measurement: Measurement, moved: bool, reason: str) -> Run:
    """Return the run that a measurement adds to the history."""
    values = {name: measurement.figures[name].value for name in IN_HISTORY if name in measurement.figures}
    then = measurement.environment
    return Run(measurement.time, then.commit, values, measurement.plan_sha256[:16], moved, reason, then.card)


def last_runs(runs: tuple[Run, ...], keep: int) -> tuple[Run, ...]:
    """Return at most `keep` runs. Those before the reference moved are dropped first, the oldest one at the beginning.

    Then the oldest run of the card with the most runs is dropped: a card that seldom runs would otherwise be forgotten
    between two of its runs.
    """
    kept = list(runs)
    while len(kept) > keep:
        counts = collections.Counter(run.card for run in kept)
        outdated = any(run.moved for run in kept[1:])
        kept.pop(0 if outdated else next(i for i, run in enumerate(kept) if counts[run.card] == max(counts.values())))
    return tuple(kept)


def check_text(pattern: re.Pattern[str], name: str, value: str) -> None:
    """Raise ValueError if a text does not match the pattern of its kind."""
    if not pattern.fullmatch(value):
        raise ValueError(f"{name} is {value[:60]!r}: it must be {_EXPECTED[pattern]}")


def check_names(figures: Mapping[str, object]) -> None:
    """Raise ValueError if there is no figure of such a name."""
    if not figures.keys() <= FIGURES.keys():
        unknown = next(name for name in figures if name not in FIGURES)
        raise ValueError(f"figures has {unknown[:60]!r}: there is no such figure")
