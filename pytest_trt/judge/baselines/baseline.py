"""What a stored measurement is, and when it moves. Pure: where it is kept is not known here.

stored, saved = update_baseline(old, measurement, status)             # what to store now; the reference seldom moves
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal

from pytest_trt.core import stats
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import (
    SCHEMA,
    Block,
    Environment,
    Estimate,
    LayerProfile,
    Measurement,
    Samples,
    Status,
    StoredOutput,
)

RUNS = 10
"""How many runs a baseline remembers."""

WHOLE_BLOCKS = 32
"""Of how many blocks of a probe all samples are stored."""

MOST = 1e15
"""What no figure reaches: as latency, 30,000 years. What is computed with figures up to it stays finite."""

STORED: frozenset[Status] = frozenset(("ok", "improved", "new", "missing", "unenforced"))
"""What is stored without force."""

IN_HISTORY = tuple(name for name, figure in FIGURES.items() if figure.in_history)

_DIGEST = re.compile(r"[0-9a-f]{0,128}")
_COMMIT = re.compile(r"[0-9A-Za-z.+_-]{0,80}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
_RUN = re.compile(rf"{_TIME.pattern}\|{_COMMIT.pattern}\|{_DIGEST.pattern}", re.ASCII)

SaveOutcome = Literal["created", "moved", "recorded", "unchanged", "refused"]


@dataclasses.dataclass(frozen=True)
class Run:
    """A stored run in short: its figures' values, and the first digits of its plan's SHA-256. `moved`: from here on it
    is the reference; `reason` is what was said when that was accepted."""

    time: str
    commit: str | None
    figures: Mapping[str, float]
    plan: str = ""
    moved: bool = False
    reason: str = ""

    def __post_init__(self) -> None:
        if not _RUN.fullmatch(f"{self.time}|{self.commit or ''}|{self.plan}"):  # many: asked together, told one by one
            _matches(_TIME, "time", self.time)
            _matches(_COMMIT, "commit", self.commit or "")
            _matches(_DIGEST, "plan", self.plan)
        _are_figures(self.figures)
        if self.figures and not 0 <= min(self.figures.values()) <= max(self.figures.values()) <= MOST:
            name, value = next((n, v) for n, v in self.figures.items() if not 0 <= v <= MOST)
            raise ValueError(f"figures.{name} is {value:g}: it cannot be negative, nor beyond {MOST:g}")


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The measurement that a test is compared with, and its last runs, oldest first.

    `build_spread` is how far builds of this engine differ, as shares by figure, where that was measured. Raises
    ValueError for figures, digests and times that cannot be.
    """

    node_id: str
    environment: Environment
    spec: Mapping[str, str]
    spec_digest: str
    figures: Mapping[str, Estimate]
    engine_digest: str
    plan_sha256: str
    proof: Mapping[str, str]
    time: str
    history: tuple[Run, ...] = ()
    build_spread: Mapping[str, float] = dataclasses.field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        _matches(_TIME, "time", self.time)
        for name in ("spec_digest", "engine_digest", "plan_sha256"):
            _matches(_DIGEST, name, getattr(self, name))
        _matches(_COMMIT, "environment.commit", self.environment.commit or "")
        if not self.figures:
            raise ValueError("figures is empty: nothing can be compared with it")
        _are_figures(self.figures)
        for name, estimate in self.figures.items():
            if not 0 <= estimate.low <= estimate.value <= estimate.high <= MOST:
                raise ValueError(
                    f"figures.{name} is {estimate.value:g} in {estimate.low:g} to {estimate.high:g}: its value must "
                    f"lie in its interval, and that must not be negative, nor beyond {MOST:g}"
                )

    @property
    def commit(self) -> str | None:
        return self.environment.commit


@dataclasses.dataclass(frozen=True)
class BaselineData:
    """What is too large to review: the reference's samples and layers. It belongs to the baseline of the same time. Of
    many blocks some are whole; of the others the median stands for the samples."""

    node_id: str
    time: str
    samples: tuple[Samples, ...] = ()
    profile: LayerProfile | None = None
    outputs: Mapping[str, StoredOutput] = dataclasses.field(default_factory=dict)
    schema: int = SCHEMA


@dataclasses.dataclass(frozen=True)
class Saved:
    """What saving did, in a word and in a sentence."""

    outcome: SaveOutcome
    text: str


def update_baseline(
    old: Baseline | None,
    measurement: Measurement,
    status: Status,
    *,
    force: bool = False,
    new_only: bool = False,
    reason: str = "",
    keep: int = RUNS,
) -> tuple[Baseline | None, Saved]:
    """What to store once `measurement` was judged `status`; None where nothing changes.

    No ratchet: an `ok` run is remembered and leaves the reference where it was, so that ten times +4 % is a regression.
    What is new, improved or forced becomes the reference, and so does what has a figure that the old one lacks; a
    failing verdict is stored with force alone.
    """
    if status not in STORED and not force:
        return None, Saved("refused", f"not saved: its verdict is {status}; --trt-baseline-force saves it all the same")
    if old is not None and new_only:
        return None, Saved("unchanged", "not saved: it has a baseline, and only new ones were asked for")
    lacks = old is not None and status == "missing" and not measurement.figures.keys() <= old.figures.keys()
    moves = old is None or force or status == "improved" or lacks
    history = (*(old.history if old else ()), _run(measurement, moves, reason))[-keep:]
    if old is not None and not moves:
        text = "remembered beside its baseline, which stays as it was"
        return dataclasses.replace(old, history=history), Saved("recorded", text)
    made = baseline_of(measurement, history, measurement.build_spread or (old.build_spread if old else {}))
    if old is None:
        return made, Saved("created", "baseline created")
    return made, Saved("moved", f"baseline moved ({reason or status})")


def baseline_of(
    measurement: Measurement, history: tuple[Run, ...] = (), build_spread: Mapping[str, float] | None = None
) -> Baseline:
    """The measurement as a reference. Raises ValueError where its figures, digests or time cannot be."""
    return Baseline(
        node_id=measurement.node_id,
        environment=measurement.environment,
        spec=measurement.spec,
        spec_digest=measurement.spec_digest,
        figures=measurement.figures,
        engine_digest=measurement.engine_digest,
        plan_sha256=measurement.plan_sha256,
        proof=measurement.proof,
        time=measurement.time,
        history=history,
        build_spread=build_spread or {},
    )


def measurement_of(baseline: Baseline) -> Measurement:
    """The reference as the measurement that it was, without what is not stored."""
    return Measurement(
        node_id=baseline.node_id,
        environment=baseline.environment,
        figures=baseline.figures,
        spec=baseline.spec,
        spec_digest=baseline.spec_digest,
        engine_digest=baseline.engine_digest,
        plan_sha256=baseline.plan_sha256,
        proof=baseline.proof,
        time=baseline.time,
    )


def data_of(measurement: Measurement) -> BaselineData:
    samples, profile = tuple(map(_thinned, measurement.samples)), measurement.profile
    if profile is not None:  # blame reads the layers alone
        profile = dataclasses.replace(profile, inspected={})
    return BaselineData(measurement.node_id, measurement.time, samples, profile, measurement.outputs)


def _thinned(samples: Samples) -> Samples:
    """The samples with WHOLE_BLOCKS of their blocks as they are, evenly spread, and the medians of the others. Times
    are kept to a nanosecond, which is finer than any timer's step here."""
    every = -(-len(samples.blocks) // WHOLE_BLOCKS)

    def kept(number: int, block: Block) -> Block:
        whole = number % every == 0
        times = {n: t if whole else (stats.median(t),) for n, t in block.times.items()}
        return dataclasses.replace(block, times={n: tuple(round(ms, 6) for ms in t) for n, t in times.items()})

    return dataclasses.replace(samples, blocks=tuple(kept(n, b) for n, b in enumerate(samples.blocks)))


def _run(measurement: Measurement, moved: bool, reason: str) -> Run:
    values = {name: measurement.figures[name].value for name in IN_HISTORY if name in measurement.figures}
    commit = measurement.environment.commit
    return Run(measurement.time, commit, values, measurement.plan_sha256[:16], moved, reason)


def _matches(pattern: re.Pattern[str], name: str, value: str) -> None:
    if not pattern.fullmatch(value):
        raise ValueError(f"{name} is {value[:60]!r}, which it cannot be")


def _are_figures(figures: Mapping[str, object]) -> None:
    if not figures.keys() <= FIGURES.keys():
        unknown = next(name for name in figures if name not in FIGURES)
        raise ValueError(f"figures has {unknown[:60]!r}, which is no figure")
