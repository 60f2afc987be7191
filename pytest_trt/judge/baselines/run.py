"""The runs in the history of a baseline, and the checks of the texts in a baseline's file."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Iterable, Mapping

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Environment, Measurement, Verdict

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
        ratios: The ratios to the reference of that time that were judged, by figure. The two values of a ratio may have
            been measured on different days, or in turn on the same one. A ratio of sizes is not stored: it is that of
            their values.
        limits: The budgets that applied, by figure.
        software: The backend and the driver with their versions, if they were recorded.

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
    ratios: Mapping[str, float] = dataclasses.field(default_factory=dict)
    limits: Mapping[str, float] = dataclasses.field(default_factory=dict)
    software: str = ""

    def __post_init__(self) -> None:
        if not _RUN.fullmatch(f"{self.time}|{self.commit or ''}|{self.plan}|{self.card}"):  # one test of all, for speed
            check_text(TIME, "time", self.time)
            check_text(COMMIT, "commit", self.commit or "")
            check_text(DIGEST, "plan", self.plan)
            check_text(CARD, "card", self.card)
        _check_values("figures", self.figures)
        for name in ("ratios", "limits"):
            if values := getattr(self, name):
                _check_values(name, values)


def _check_values(name: str, values: Mapping[str, float]) -> None:
    """Raise ValueError if a name is not that of a figure, or a value is out of range."""
    check_names(values)
    if values and not 0 <= min(values.values()) <= max(values.values()) <= MOST:
        figure, value = next((n, v) for n, v in values.items() if not 0 <= v <= MOST)
        raise ValueError(f"{name}.{figure} is {value:g}: it must be between 0 and {MOST:g}")


def run_of(measurement: Measurement, moved: bool, reason: str, verdicts: Iterable[Verdict] = ()) -> Run:
    """Return the run that a measurement adds to the history.

    Args:
        measurement: The measurement.
        moved: Whether it becomes the reference.
        reason: Why it is accepted as the reference.
        verdicts: Its verdicts, which have the ratios and the budgets.
    """
    verdicts = tuple(verdicts)
    environment = measurement.environment
    return Run(
        time=measurement.time,
        commit=environment.commit,
        figures={name: measurement.figures[name].value for name in IN_HISTORY if name in measurement.figures},
        plan=measurement.plan_sha256[:16],
        moved=moved,
        reason=reason,
        card=environment.card,
        ratios={
            v.figure: v.ratio.value for v in verdicts if v.ratio is not None and is_judged_ratio(v.basis, v.figure)
        },
        limits={v.figure: v.limit for v in verdicts if v.basis == "budget" and v.limit is not None},
        software=software_of(environment),
    )


def is_judged_ratio(basis: str, figure: str) -> bool:
    """Return whether the history keeps the ratio of a verdict."""
    return basis == "baseline" and figure in FIGURES and not FIGURES[figure].is_size


def software_of(environment: Environment) -> str:
    """Return the backend and the driver with their versions."""
    driver = f", driver {environment.driver}" if environment.driver else ""
    return f"{environment.backend} {environment.backend_version}{driver}"


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
