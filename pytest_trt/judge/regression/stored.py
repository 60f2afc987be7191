"""Compare a measurement with a baseline's stored figures.

if not is_identical(baseline, environment, engine_digest=..., plan_sha256=..., spec_digest=...):
    verdict = judge_stored(question, estimate, baseline, environment.card)
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from pytest_trt.core.cards import CardComparison
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Environment, Estimate, Status, Verdict
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.judge.regression.card_levels import reference_on
from pytest_trt.judge.regression.estimates import judge_estimates
from pytest_trt.judge.regression.question import RegressionQuestion

_COMPARED_FIELDS = (
    "device", "device_uuid", "mig_profile", "backend", "backend_version", "driver", "measurement", "host_cpu",
    "threads",
)  # fmt: skip
"""The fields of an environment that a figure depends on."""


def is_identical(
    baseline: Baseline, environment: Environment, *, engine_digest: str, plan_sha256: str, spec_digest: str
) -> bool:
    """Return whether there is nothing to compare: the same engine, run in the same way on the same card and host.

    A baseline from before hosts were recorded has the same host if it has the same GPU.

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
        and (then.host == environment.host or not (then.host or then.device_uuid is None))
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


def judge_stored(question: RegressionQuestion, new: Estimate, baseline: Baseline, card: str = "") -> Verdict:
    """Return the verdict of a figure against its stored value, for engines that cannot be measured in turn.

    The reference is the stored value, not the mean of the runs since then, which would drift with them. The spread
    between runs counts once for each side. How much slower or faster this card is than that of the reference is taken
    out if the baseline has runs on it, and otherwise widens the interval (`card_levels`).

    Args:
        question: The question to answer.
        new: The figure of this run, in its own unit.
        baseline: The baseline, with its history.
        card: The card of this run (`Environment.card`); empty for that of the reference.
    """
    name = question.figure
    if name not in baseline.figures:
        text = f"the baseline has no {FIGURES[name].title} ({name}): --trt-baseline-save adds it"
        return Verdict("missing", "baseline", name, text)
    old = baseline.figures[name]
    if new.low == new.high and old.low == old.high and not FIGURES[name].occurs_once:
        return judge_estimates(question, new, old, 0.0)  # A size does not scatter, and does not depend on the card.
    reference = reference_on(card, question, baseline)
    spread = f"{100 * reference.run_spread:.2g} %"
    detail = f"judged against stored intervals, not engine against engine; runs differ by up to {spread}"
    verdict = judge_estimates(question, new, reference.estimate, reference.between, detail)
    as_if_equal = judge_estimates(question, new, old, math.sqrt(2) * reference.run_spread).ratio
    if not card or as_if_equal is None or as_if_equal.low == as_if_equal.high:
        return verdict
    cards = CardComparison(reference.card, card, as_if_equal, reference.limit, reference.known)
    text = verdict.text
    if not reference.known and verdict.status == "inconclusive":
        text = f"{text}; first run on {card}: nothing shows yet how fast this card is"
    details = (*verdict.details, *reference.details)
    return dataclasses.replace(verdict, text=text, details=details, cards=cards)
