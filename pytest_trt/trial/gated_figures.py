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
from pytest_trt.judge.regression import paired, stored, windows
from pytest_trt.judge.regression.card_levels import reference_on
from pytest_trt.judge.regression.estimates import EstimateRule, judge_estimates
from pytest_trt.judge.regression.question import RegressionQuestion, without_minor_improvement
from pytest_trt.measure.run import MeasuredRun
from pytest_trt.measure.stopping import IfSampled, Rule
from pytest_trt.spec.gates import Gate

BY_BLOCKS = frozenset(("ms", "gpu_ms", "h2d_ms", "d2h_ms", "host_ms", "enqueue_ms"))
"""The figures that every block has samples of, where the backend measures them."""


def judge_gate(
    gate: Gate,
    question: RegressionQuestion,
    baseline: Baseline,
    run: MeasuredRun,
    mode: Literal["paired", "stored"],
    card: str = "",
) -> Verdict | None:
    """Return the verdict of one figure against the baseline; None if a figure that nobody requested is not comparable.

    Args:
        gate: The figure.
        question: The question about the figure.
        baseline: The baseline.
        run: The measurement.
        mode: Whether the baseline's engine was measured in turn with the new one.
        card: The card of this run.
    """
    name = gate.figure
    if name not in run.figures:
        lost = FIGURES[name].of_generation and name in baseline.figures
        return _not_measured(gate) if gate.requested or lost else None
    if name == "throughput" and "gpu_ms" not in run.figures and not gate.requested:
        return None  # Queries follow one another: throughput is the inverse of the latency, which is judged.
    new = run.figures[name]
    by_blocks = _by_blocks(question)
    if mode == "paired" and _is_sampled(by_blocks, run):
        return without_minor_improvement(paired.judge_paired(by_blocks, *run.sampling.sides))
    if mode == "paired" and run.energy is not None and run.energy.in_turn(name):
        return without_minor_improvement(windows.judge_windows(question, *run.energy.sides))
    if mode == "paired" and (old := _other_estimate(question, run)) is not None:
        between, detail = question.open_order_effect, "judged engine against engine"
        return without_minor_improvement(judge_estimates(question, new, old, between, detail))
    if name not in baseline.figures and not gate.requested and name != "ms":
        return None
    return without_minor_improvement(stored.judge_stored(question, new, baseline, card))


def rules_in_turn(gates: Iterable[Gate], question: Callable[[str], RegressionQuestion]) -> Iterator[Rule]:
    """Yield the rules that end the sampling of two engines in turn once each requested figure is decided.

    The rule of `ms` is not among them. A figure that nobody requested has a wide tolerance, and must not prolong the
    sampling.

    Args:
        gates: The figures that are compared.
        question: Returns the question about a figure.
    """
    for name in _requested(gates):
        if name in noise_levels.PERCENTILES:
            yield EstimateRule(question(name), question(name).open_order_effect)
        elif name in BY_BLOCKS or name == "throughput":
            by_blocks = _by_blocks(question(name))
            yield IfSampled(functools.partial(_has_series, by_blocks), paired.PairedRule(by_blocks))


def rules_with_stored(
    gates: Iterable[Gate], question: Callable[[str], RegressionQuestion], baseline: Baseline, card: str
) -> Iterator[Rule]:
    """Yield the rules that end the sampling of one engine once each requested percentile is decided.

    Any other figure is decided by the rule of `ms`, which ends as soon as more blocks would not help.
    """
    for name in _requested(gates):
        if name in noise_levels.PERCENTILES and name in baseline.figures:
            reference = reference_on(card, question(name), baseline)
            yield EstimateRule(question(name), reference.between, reference.estimate)


def _requested(gates: Iterable[Gate]) -> list[str]:
    return [gate.figure for gate in gates if gate.requested and gate.figure != "ms"]


def _by_blocks(question: RegressionQuestion) -> RegressionQuestion:
    """Return the question as the blocks decide it: throughput is the inverse of the latency, unless queries overlap."""
    return dataclasses.replace(question, inverse_of="ms") if question.figure == "throughput" else question


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
    if FIGURES[gate.figure].of_generation:
        text = (
            f"{FIGURES[gate.figure].title} ({gate.figure}) is to be compared with the baseline, but nothing is "
            "generated: declare trt_generate, or save the baseline again"
        )
    return Verdict("unenforced", "baseline", gate.figure, text, tolerance=gate.tolerance)
