"""Judge each figure that is compared with the baseline, and decide when there are enough blocks for all of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from pytest_trt.core import noise_levels
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Block, Estimate, Verdict
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.judge.regression import paired, stored
from pytest_trt.judge.regression.estimates import EstimateRule, judge_estimates
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.measure.run import MeasuredRun
from pytest_trt.measure.stopping import IfSampled, Rule
from pytest_trt.spec.gates import Gate

BY_BLOCKS = frozenset(("ms", "gpu_ms", "h2d_ms", "d2h_ms", "host_ms", "enqueue_ms"))
"""The figures that every block has samples of, where the backend measures them."""

BETTER = "better than the baseline's by more than the tolerance; only latency and device memory move the reference"


def judge_gate(
    gate: Gate,
    question: RegressionQuestion,
    baseline: Baseline,
    run: MeasuredRun,
    mode: Literal["paired", "stored"],
) -> Verdict | None:
    """Return the verdict of one figure against the baseline; None if a figure that nobody requested is not comparable.

    Args:
        gate: The figure.
        question: The question about the figure.
        baseline: The baseline.
        run: The measurement.
        mode: Whether the baseline's engine was measured in turn with the new one.
    """
    name = gate.figure
    if name not in run.figures:
        return _not_measured(gate) if gate.requested else None
    if name == "throughput" and "gpu_ms" not in run.figures and not gate.requested:
        return None  # Queries follow one another: throughput is the inverse of the latency, which is judged.
    new = run.figures[name]
    if mode == "paired" and _is_sampled(question, run):
        return without_reference(paired.judge_paired(question, *run.sampling.sides))
    if mode == "paired" and (old := _other_estimate(question, run)) is not None:
        between = question.open_order_effect + (question.spread if name == "throughput" else 0.0)
        return without_reference(judge_estimates(question, new, old, between, "judged engine against engine"))
    if name not in baseline.figures and not gate.requested and name != "ms":
        return None
    return without_reference(stored.judge_stored(question, new, baseline))


def decision_rules(
    gates: Iterable[Gate],
    question: Callable[[str], RegressionQuestion],
    baseline: Baseline,
    mode: Literal["paired", "stored"],
) -> Iterator[Rule]:
    """Yield the rules that end the sampling once each requested figure is decided, except for `ms`.

    A figure that nobody requested has a wide tolerance, and must not prolong the sampling.

    Args:
        gates: The figures that are compared.
        question: Returns the question about a figure.
        baseline: The baseline.
        mode: Whether the baseline's engine takes turns with the new one.
    """
    for gate in gates:
        name, asked = gate.figure, question(gate.figure)
        if not gate.requested or name == "ms":
            continue
        if name in noise_levels.PERCENTILES:
            if mode == "paired":
                yield EstimateRule(asked, asked.open_order_effect)
            elif name in baseline.figures:
                yield EstimateRule(asked, stored.between_runs(asked, baseline), baseline.figures[name])
        elif mode == "paired" and (name in BY_BLOCKS or name == "throughput"):
            yield IfSampled(functools.partial(_has_series, asked), paired.PairedRule(asked))


def _has_series(question: RegressionQuestion, block: Block) -> bool:
    """Return whether the question can be decided by blocks such as this one.

    It cannot if the backend does not measure the figure, or if the figure is 0 because nothing is copied. The
    throughput of a pipeline that overlaps queries is not measured in blocks.
    """
    if question.figure == "throughput" and "gpu_ms" in block.times:
        return False
    return min(block.times.get(question.series, (0.0,))) > 0


def _is_sampled(question: RegressionQuestion, run: MeasuredRun) -> bool:
    """Return whether all blocks of both sides decide the question."""
    sides = run.sampling.sides
    return all(_has_series(question, block) for side in sides for samples in side for block in samples.blocks)


def _other_estimate(question: RegressionQuestion, run: MeasuredRun) -> Estimate | None:
    """Return the figure of the other side, which was sampled in turn; None if it has none of its own."""
    if question.figure in noise_levels.PERCENTILES:
        return noise_levels.estimate(question.figure, run.sampling.sides[1], question.spread)
    return run.other_figures.get(question.figure) if question.figure == "throughput" else None


def _not_measured(gate: Gate) -> Verdict:
    text = (
        f"{FIGURES[gate.figure].title} ({gate.figure}) is to be compared with the baseline, but this backend does not "
        "measure it: compare it only where it is measured"
    )
    return Verdict("unenforced", "baseline", gate.figure, text, tolerance=gate.tolerance)


def without_reference(verdict: Verdict) -> Verdict:
    """Return the verdict; the improvement of a figure that does not move the reference is `ok`."""
    if verdict.status != "improved" or FIGURES[verdict.figure].moves_reference:
        return verdict
    text = verdict.text.replace(" improved:", " ok:", 1)
    return dataclasses.replace(verdict, status="ok", text=text, details=(*verdict.details, BETTER))
