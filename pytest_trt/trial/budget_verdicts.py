"""Judge a test's budgets: which of them hold on the device, and whether the figures keep within them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Environment, Estimate, Samples, Verdict
from pytest_trt.judge import budgets
from pytest_trt.spec.declaration import Declaration


def budget_limits(declaration: Declaration, environment: Environment) -> dict[str, float]:
    """Return the limits that hold for the test on this device, by figure, each in the figure's own unit."""
    return budgets.matching_limits(
        declaration.budgets,
        device=environment.device,
        kind=environment.kind,
        mig_profile=environment.mig_profile,
        params=declaration.params,
    )


def budget_verdicts(
    declaration: Declaration,
    environment: Environment,
    figures: Mapping[str, Estimate],
    samples: Sequence[Samples] = (),
) -> tuple[Verdict, ...]:
    """Judge every limit. A limit on a figure that was not measured is an error; so no budget goes unmentioned.

    If the test has budgets, but none for this device, the verdict is `unenforced`.

    Args:
        declaration: The test's budgets.
        environment: The device.
        figures: The figures of the measurement.
        samples: Its samples (`MeasuredRun.samples`): a budget considers the drift of the blocks.
    """
    limits = budget_limits(declaration, environment)
    if declaration.budgets and not limits:
        named = ", ".join(sorted({budget.scope for budget in declaration.budgets}))
        text = f"no budget is for this test on {environment.device}: they name {named}"
        return (Verdict("unenforced", "budget", "", text),)
    return tuple(
        budgets.judge(name, figures[name], limit, _samples_of(name, samples))
        if name in figures
        else _unmeasured(name, limit)
        for name, limit in limits.items()
    )


def _samples_of(figure: str, samples: Sequence[Samples]) -> Sequence[Samples]:
    """Return the samples that have values of a figure; if there are none, those of the latency."""
    for name in (figure, "ms"):
        if found := [one for one in samples if one.blocks and name in one.blocks[0].times]:
            return found
    return ()


def _unmeasured(name: str, limit: float) -> Verdict:
    text = f"{name} has a budget of {limit:g}, but this backend does not measure it: drop it, or name another device"
    if FIGURES[name].of_generation:
        text = f"{name} has a budget of {limit:g}, but nothing is generated: drop it, or declare trt_generate"
    return Verdict("error", "budget", name, text, limit=limit)
