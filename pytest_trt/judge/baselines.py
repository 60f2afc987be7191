"""What a stored measurement is, when it moves, and what it is good for. Pure: where it is kept is not known here.

    stored, saved = after(old, measurement, status)             # what to store now; the reference seldom moves
    if identical(stored, environment, plan_sha256, spec_digest): ...
    verdict = judge_stored(question, estimate, stored)
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from pytest_trt import levels, stats
from pytest_trt.judge.compare import Question, judge_exact, verdict_of
from pytest_trt.records import (
    FIGURES,
    SCHEMA,
    Block,
    Environment,
    Estimate,
    LayerProfile,
    Measurement,
    Samples,
    Status,
    StoredOutput,
    Verdict,
)

RUNS = 10
"""How many runs a baseline remembers."""

WHOLE_BLOCKS = 32
"""Of how many blocks of a probe all samples are stored."""

MOST = 1e15
"""What no figure reaches: as latency, 30,000 years. What is computed with figures up to it stays finite."""

STORED: frozenset[Status] = frozenset(("ok", "improved", "new", "missing", "unenforced"))
"""What is stored without force."""

IN_HISTORY = tuple(name for name in FIGURES if FIGURES[name].budget and name not in ("build_s", "load_s", "first_ms"))

_DIGEST = re.compile(r"[0-9a-f]{0,128}")
_COMMIT = re.compile(r"[0-9A-Za-z.+_-]{0,80}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
_RUN = re.compile(rf"{_TIME.pattern}\|{_COMMIT.pattern}\|{_DIGEST.pattern}", re.ASCII)
_ENOUGH_DIFFERENCES = 3

Happened = Literal["created", "moved", "recorded", "unchanged", "refused"]


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

    what: Happened
    text: str


def after(
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


def identical(baseline: Baseline, environment: Environment, plan_sha256: str, spec_digest: str) -> bool:
    """Whether there is nothing to compare: the same plan, run in the same way by the same software on the same machine.
    `spec_digest` covers the shape that is run and the pipeline."""
    then = baseline.environment
    return (
        bool(plan_sha256)
        and (plan_sha256, spec_digest) == (baseline.plan_sha256, baseline.spec_digest)
        and all(getattr(then, name) == getattr(environment, name) for name in _SAME)
    )


_SAME = (
    "device", "mig_profile", "backend", "backend_version", "driver", "measurement", "host_cpu", "threads",
)  # fmt: skip


def absent(name: str, device: str, *, any_of_device: bool, others: Sequence[str] = ()) -> Verdict:
    """The verdict of a test that has no baseline: `new` where other tests of this device have one, else `missing`.
    `others` are the names of baselines there, where there is none of this name: it may be misspelt."""
    status: Status = "new" if any_of_device else "missing"
    text = f"baseline {name} has nothing of this test" if any_of_device else f"there is no baseline {name} for {device}"
    hint = f", nor for any other device, but {', '.join(others)}" if others else ""
    return Verdict(status, "baseline", "", f"{text}{hint}: --trt-baseline-save stores one")


def run_spread(baseline: Baseline, figure: str, default: float = 0.01, alpha: float = stats.ALPHA) -> float:
    """How far a run may lie from another one of the same engine, as a share that holds with probability 1 - `alpha`.

    The deviation is the median absolute deviation of the differences of neighbouring runs, times 1.4826 / sqrt(2), as
    for normal ones: neither a drift nor one step in the history hides what comes after it. It is pooled with `default`
    as in levels.level_margin, and no less than what the history shows by itself; with fewer than four runs since the
    reference moved, `default` takes its place. Runs that have gone up as well as down show a swing, which is the least
    that others of them may lie apart: between two levels the median deviation is often 0.
    """
    runs = list(_since_moved(baseline))
    logs = [math.log(run.figures[figure]) for run in runs if run.figures.get(figure, 0.0) > 0]
    differences = [b - a for a, b in itertools.pairwise(logs)]
    swing = max(min(max(differences, default=0.0), -min(differences, default=0.0)), 0.0)
    if len(differences) < _ENOUGH_DIFFERENCES:
        return max(default, swing)
    freedom, count = levels.FREEDOM, len(differences) - 1
    prior = default / stats.t_quantile(alpha, freedom)
    drift = stats.median(differences)
    seen = 1.4826 * stats.median([abs(difference - drift) for difference in differences]) / math.sqrt(2)
    pooled = (freedom * prior**2 + count * seen**2) / (freedom + count)
    return max(
        stats.t_quantile(alpha, freedom + count) * math.sqrt(pooled), stats.t_quantile(alpha, count) * seen, swing
    )


def _since_moved(baseline: Baseline) -> tuple[Run, ...]:
    last = max((i for i, run in enumerate(baseline.history) if run.moved), default=0)
    return baseline.history[last:]


def judge_stored(question: Question, new: Estimate, baseline: Baseline) -> Verdict:
    """The verdict of a figure against what is stored, where the engines cannot take turns.

    The reference is the stored one, not the mean of the runs since, which would drift with them. Margins of
    independent estimates add by their squares: each side's own, and the spread between runs, once for each side. A
    figure without scatter on both sides is compared as it is.
    """
    name = question.figure
    if name not in baseline.figures:
        text = f"the baseline has no {FIGURES[name].title} ({name}): --trt-baseline-save puts this run in its place"
        return Verdict("missing", "baseline", name, text)
    old = baseline.figures[name]
    if new.low == new.high and old.low == old.high:
        return judge_exact(name, new.value, old.value, question.tolerance)
    if min(new.low, old.low) <= 0:
        text = f"{FIGURES[name].title} inconclusive: an interval that reaches 0 has no ratio"
        return Verdict("inconclusive", "baseline", name, text)
    spread = run_spread(baseline, name, question.run_spread, question.alpha)
    between = math.sqrt(2) * spread
    center = math.log(new.value / old.value)
    below = math.hypot(math.log(new.value / new.low), math.log(old.high / old.value), between)
    above = math.hypot(math.log(new.high / new.value), math.log(old.value / old.low), between)
    detail = f"judged against stored intervals, not engine against engine; runs differ by up to {100 * spread:.2g} %"
    return verdict_of(question, stats.Interval(center, center - below, center + above), (detail,))


def _matches(pattern: re.Pattern[str], name: str, value: str) -> None:
    if not pattern.fullmatch(value):
        raise ValueError(f"{name} is {value[:60]!r}, which it cannot be")


def _are_figures(figures: Mapping[str, object]) -> None:
    if not figures.keys() <= FIGURES.keys():
        unknown = next(name for name in figures if name not in FIGURES)
        raise ValueError(f"figures has {unknown[:60]!r}, which is no figure")
