"""A measurement against what is stored of a baseline: whether there is something to compare, and what it shows.

if is_identical(stored, environment, plan_sha256, spec_digest): ...
verdict = judge_stored(question, estimate, stored)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from pytest_trt.core import noise_levels, stats
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Environment, Estimate, Status, Verdict
from pytest_trt.judge.baselines.baseline import Baseline, Run
from pytest_trt.judge.regression.paired import RegressionQuestion, judge_exact, verdict_from_interval

_ENOUGH_DIFFERENCES = 3


def is_identical(baseline: Baseline, environment: Environment, plan_sha256: str, spec_digest: str) -> bool:
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


def absence_verdict(name: str, device: str, *, any_of_device: bool, others: Sequence[str] = ()) -> Verdict:
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
    as in noise_levels.level_margin, and no less than what the history shows by itself; with fewer than four runs since
    the reference moved, `default` takes its place. Runs that have gone up as well as down show a swing, which is the
    least that others of them may lie apart: between two levels the median deviation is often 0.
    """
    runs = list(_since_moved(baseline))
    logs = [math.log(run.figures[figure]) for run in runs if run.figures.get(figure, 0.0) > 0]
    differences = [b - a for a, b in itertools.pairwise(logs)]
    swing = max(min(max(differences, default=0.0), -min(differences, default=0.0)), 0.0)
    if len(differences) < _ENOUGH_DIFFERENCES:
        return max(default, swing)
    freedom, count = noise_levels.FREEDOM, len(differences) - 1
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


def judge_stored(question: RegressionQuestion, new: Estimate, baseline: Baseline) -> Verdict:
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
    return verdict_from_interval(question, stats.Interval(center, center - below, center + above), (detail,))
