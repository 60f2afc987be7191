"""Compare a measurement with a baseline's stored figures.

if not is_identical(baseline, environment, engine_digest=..., plan_sha256=..., spec_digest=...):
    verdict = judge_stored(question, estimate, baseline)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from pytest_trt.core import noise_levels, stats
from pytest_trt.core.distributions import t_quantile
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Environment, Estimate, Status, Verdict
from pytest_trt.judge.baselines.baseline import Baseline, Run
from pytest_trt.judge.regression.estimates import judge_estimates
from pytest_trt.judge.regression.question import RegressionQuestion

_ENOUGH_DIFFERENCES = 3
"""The least differences of neighbouring runs from which a spread is estimated."""

_COMPARED_FIELDS = (
    "device", "mig_profile", "backend", "backend_version", "driver", "measurement", "host_cpu", "threads",
)  # fmt: skip
"""The fields of an environment that a figure depends on."""


def is_identical(
    baseline: Baseline, environment: Environment, *, engine_digest: str, plan_sha256: str, spec_digest: str
) -> bool:
    """Return whether there is nothing to compare: the same engine, run in the same way on the same machine.

    The plan alone does not tell: external weights, plugin libraries and stripped weights lie beside it. The digest of
    what the engine was made from covers them.

    Args:
        baseline: The test's baseline.
        environment: The environment of this run.
        engine_digest: The digest of what this run's engine was made from.
        plan_sha256: The hash of this run's plan; empty if unknown, which makes nothing identical.
        spec_digest: The digest of this run's spec, which covers the shape and the pipeline.
    """
    then = baseline.environment
    return (
        bool(plan_sha256)
        and engine_digest == baseline.engine_digest
        and (plan_sha256, spec_digest) == (baseline.plan_sha256, baseline.spec_digest)
        and all(getattr(then, name) == getattr(environment, name) for name in _COMPARED_FIELDS)
    )


def absence_verdict(name: str, device: str, *, any_of_device: bool, others: Sequence[str] = ()) -> Verdict:
    """Return the verdict of a test without a baseline: `new` if other tests of the device have one, else `missing`.

    Args:
        name: The baseline's name, which may be misspelt.
        device: The device's own name.
        any_of_device: Whether any test has a baseline of this name on this device.
        others: The names of the baselines in the folder, if it has none of this name.
    """
    status: Status = "new" if any_of_device else "missing"
    text = f"baseline {name} does not have this test" if any_of_device else f"there is no baseline {name} for {device}"
    hint = f" or any other device (there is {', '.join(others)})" if others else ""
    return Verdict(status, "baseline", "", f"{text}{hint}: --trt-baseline-save stores one")


def run_spread(baseline: Baseline, figure: str, default: float = 0.01, alpha: float = stats.ALPHA) -> float:
    """Return how far two runs of the same engine may differ, as a share that holds with probability 1 - `alpha`.

    The standard deviation is estimated from the median absolute deviation of the differences of neighbouring runs,
    times 1.4826 / sqrt(2) as for normal ones. So neither a drift nor one step in the history hides what follows it. The
    estimate is pooled with `default` as in `noise_levels.level_margin`, and is no less than the history alone gives.
    With fewer than four runs since the reference moved, `default` is used instead.

    The result is never less than the swing: the largest difference that occurred upwards as well as downwards. Between
    runs at two levels, the median deviation is often 0.

    Args:
        baseline: The baseline, with its history.
        figure: The figure's name.
        default: The spread to expect without a history, as a share.
        alpha: The error of the margin.
    """
    runs = list(_runs_of_reference(baseline))
    logs = [math.log(run.figures[figure]) for run in runs if run.figures.get(figure, 0.0) > 0]
    differences = [b - a for a, b in itertools.pairwise(logs)]
    swing = max(min(max(differences, default=0.0), -min(differences, default=0.0)), 0.0)
    if len(differences) < _ENOUGH_DIFFERENCES:
        return max(default, swing)
    freedom, count = noise_levels.FREEDOM, len(differences) - 1
    prior = default / t_quantile(alpha, freedom)
    drift = stats.median(differences)
    deviation = 1.4826 * stats.median([abs(difference - drift) for difference in differences]) / math.sqrt(2)
    pooled = (freedom * prior**2 + count * deviation**2) / (freedom + count)
    return max(t_quantile(alpha, freedom + count) * math.sqrt(pooled), t_quantile(alpha, count) * deviation, swing)


def _runs_of_reference(baseline: Baseline) -> tuple[Run, ...]:
    """Return the runs since the reference moved, with the run that became the reference."""
    last = max((i for i, run in enumerate(baseline.history) if run.moved), default=0)
    return baseline.history[last:]


def judge_stored(question: RegressionQuestion, new: Estimate, baseline: Baseline) -> Verdict:
    """Return the verdict of a figure against its stored value, for engines that cannot be measured in turn.

    The reference is the stored value, not the mean of the runs since then, which would drift with them. The spread
    between runs counts once for each side.

    Args:
        question: The question to answer.
        new: The figure of this run, in its own unit.
        baseline: The baseline, with its history.
    """
    name = question.figure
    if name not in baseline.figures:
        text = f"the baseline has no {FIGURES[name].title} ({name}): --trt-baseline-save adds it"
        return Verdict("missing", "baseline", name, text)
    old, between = baseline.figures[name], between_runs(question, baseline)
    if new.low == new.high and old.low == old.high and not FIGURES[name].occurs_once:
        between = 0.0  # A size does not scatter.
    spread = f"{100 * between / math.sqrt(2):.2g} %"
    detail = f"judged against stored intervals, not engine against engine; runs differ by up to {spread}"
    return judge_estimates(question, new, old, between, detail)


def between_runs(question: RegressionQuestion, baseline: Baseline) -> float:
    """Return how far the figures of two runs of the same engine may differ, as a share; see `run_spread`.

    A time that occurs once scatters as far as the history shows; no other spread is assumed for it.
    """
    default = 0.0 if FIGURES[question.figure].occurs_once else question.run_spread
    return math.sqrt(2) * run_spread(baseline, question.figure, default, question.alpha)
