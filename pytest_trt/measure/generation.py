"""Measure whole generations: how long the first token takes, and each token after it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from pytest_trt.core import noise_levels, stats
from pytest_trt.core.records import Block, Estimate, Samples
from pytest_trt.measure.engine_probe import EngineProbe, GenerationInputs
from pytest_trt.measure.stopping import Rule
from pytest_trt.pipeline.generation import Generated

FIGURES = ("ttft_ms", "itl_ms", "itl_p99_ms", "tokens_s")
"""The figures of every generation. Each generation is one sample of each of them."""


WIDEST = 1000.0
"""The widest interval of a figure to either side, as a factor: a wider one says nothing more."""

MOST_STEPS = 64
"""The most steps whose times a report keeps."""


@dataclasses.dataclass(frozen=True)
class GenerationRun:
    """The result of a pass.

    Attributes:
        figures: The figures.
        samples: The generations: each is a block.
        step_ms: The median time of a step in ms, by the number of tokens before it, for up to `MOST_STEPS` steps.
        growth: How the time of a step grows with the number of tokens before it, as text; empty for a single step.
        example: A generation with the logits of its tokens; None unless requested.
    """

    figures: Mapping[str, Estimate]
    samples: tuple[Samples, ...]
    step_ms: Mapping[str, float] = dataclasses.field(default_factory=dict)
    growth: str = ""
    example: Generated | None = None


def measure_generation(
    probe: EngineProbe,
    inputs: GenerationInputs,
    *,
    spread: float,
    rule: Rule | None,
    max_time_s: float,
    keep_example: bool,
) -> GenerationRun:
    """Generate again and again, and return the figures.

    The first generation is not counted: it sets memory aside. After `max_time_s`, fewer generations than an interval
    needs must do.

    Args:
        probe: The probe that generates.
        inputs: What it generates.
        spread: How far two probes of one plan may differ, as a share.
        rule: Decides when there are enough generations; None for as many as an interval needs.
        max_time_s: The most time of all generations, in seconds.
        keep_example: Whether to return a generation with its logits.
    """
    first = probe.generate(inputs, keep_logits=keep_example)
    blocks: list[Block] = []
    steps: list[tuple[float, ...]] = []
    while not blocks or (
        sum(block.seconds for block in blocks) < max_time_s
        and (len(blocks) < stats.LOOKS[0] or (rule is not None and not (rule.finished() or rule.wants_probe())))
    ):
        one = probe.generate(inputs)
        steps.append(one.step_ms)
        blocks.append(_block(one))
        if rule is not None:
            rule.add(0, 0, blocks[-1])
    samples = (Samples(tuple(blocks)),)
    figures = {name: _bounded(noise_levels.estimate(name, samples, spread)) for name in blocks[0].times}
    figures["kv_mb"] = Estimate.exact(first.state_bytes / 1e6)
    medians = [stats.median(times) for times in zip(*steps, strict=True)]
    prompt = inputs.arrays[inputs.job.reading.roles.tokens].shape[1]
    shown = sorted({number * len(medians) // MOST_STEPS for number in range(MOST_STEPS)}) if medians else []
    step_ms = {str(prompt + number): medians[number] for number in shown}
    return GenerationRun(figures, samples, step_ms, _describe_growth(medians, prompt), first if keep_example else None)


def _bounded(estimate: Estimate) -> Estimate:
    """Return the estimate with an interval that is not wider than `WIDEST` to either side.

    A few generations on a busy machine may scatter so much that the interval of their logarithms is no number any more.
    """
    low, high = max(estimate.low, estimate.value / WIDEST), min(estimate.high, estimate.value * WIDEST)
    return dataclasses.replace(estimate, low=low, high=high)


def _block(generated: Generated) -> Block:
    total_ms = generated.ttft_ms + sum(generated.step_ms)
    times = {"ttft_ms": (generated.ttft_ms,), "tokens_s": (generated.tokens.size / total_ms * 1000,)}
    if generated.step_ms:
        times["itl_ms"] = (stats.median(generated.step_ms),)
        times["itl_p99_ms"] = (stats.percentile(generated.step_ms, 99.0),)
    return Block(times, total_ms / 1000)


def _describe_growth(step_ms: Sequence[float], prompt: int) -> str:
    if len(step_ms) < 2:
        return ""
    parts = min(4, len(step_ms))
    edges = [len(step_ms) * part // parts for part in range(parts + 1)]
    return ", ".join(
        f"{stats.median(step_ms[low:high]):.4g} ms from {prompt + low} tokens on"
        for low, high in itertools.pairwise(edges)
    )
