"""Judge figures against budgets: find the limits that apply, and compare each figure with its limit.

limits = matching_limits(budgets, device="NVIDIA H200", kind="gpu", mig_profile=None, params={"precision": "fp16"})
sampling = sample(source, LimitRule(limits, spread=0.002), sampling_limits)
verdicts = [judge(figure, estimates[figure], limit, sampling.sides[0]) for figure, limit in limits.items()]
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pytest_trt.core import drift, noise_levels, repeats, stats
from pytest_trt.core.figures import FIGURES, status_words
from pytest_trt.core.records import Block, Estimate, Samples, Status, Verdict
from pytest_trt.spec.expectations import Budget

NEAR = 0.95
"""The share of a limit from which an `ok` verdict carries a warning."""

MISSED = 0.01
"""The share of samplings that miss all spells of slow samples of the mean distance that a verdict reports."""

LARGEST_LOG = 100.0
"""The largest margin of a drift, as a log ratio: far beyond any, and not too large for a number."""

_ABSENT = object()
"""The value of a parameter that a test does not have; it equals no other value."""


def matching_limits(
    budgets: Sequence[Budget],
    *,
    device: str,
    kind: Literal["gpu", "cpu"],
    mig_profile: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Return the limits that apply, by figure.

    If several budgets limit one figure, the most specific counts: the one that names more words of the device, then
    the one with more parameters, then the tighter one.

    Args:
        budgets: The test's budgets.
        device: The device's own name.
        kind: Whether the device is a GPU or a CPU.
        mig_profile: The profile of a MIG slice; None for a whole card.
        params: The test's parameters, which a budget's `where` is compared with.
    """
    chosen: dict[str, tuple[tuple[int, int, float], float]] = {}
    for budget in budgets:
        words = _matched_words(budget.device, device, kind, mig_profile)
        if words is None or any((params or {}).get(name, _ABSENT) != value for name, value in budget.where.items()):
            continue
        for figure, limit in budget.limits.items():
            tight = limit if FIGURES[figure].higher_is_better else -limit
            rank = (words, len(budget.where), tight)
            if figure not in chosen or rank > chosen[figure][0]:
                chosen[figure] = (rank, limit)
    return {figure: limit for figure, (_, limit) in chosen.items()}


def names_device(words: str, device: str, kind: str, mig_profile: str | None = None) -> bool:
    """Return whether `words` name this device: `gpu`, `cpu`, or whole words of a device's name."""
    return _matched_words(words, device, kind, mig_profile) is not None


def _matched_words(name: str, device: str, kind: str, mig_profile: str | None) -> int | None:
    """Return how many words of the device `name` contains: 0 for a whole kind, None if it does not match.

    A MIG slice is another device than its card: it matches only if `name` names the slice.
    """
    if name.lower() in ("gpu", "cpu"):
        return 0 if name.lower() == kind else None
    device_words, named = _words(device), _words(name)
    slice_words = _words(mig_profile or "")
    if slice_words and not slice_words <= named:
        return None
    return len(named) if named <= device_words | slice_words else None


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9.+]+", text.lower()))


def judge(figure: str, estimate: Estimate, limit: float, samples: Sequence[Samples] = ()) -> Verdict:
    """Return the verdict of one figure.

    It is `over_budget` if the whole interval lies beyond the limit, `ok` if the whole interval lies within it, and
    `inconclusive` otherwise. A limit on throughput is a lower limit; every other limit is an upper one.

    A drift that the blocks show, or may hide, widens the interval of a median (`drift.margins`). At the power cap of a
    GPU, nothing is decided within the first second. A percentile is not `ok` within its first seconds. A single value
    of a time that occurs once in a process gets the interval that is assumed for it (`repeats.ASSUMED_SPREAD`).

    Args:
        figure: The figure's name.
        estimate: The figure with its interval, in the figure's unit.
        limit: The limit, in the figure's unit.
        samples: The samples that the figure comes from, one for each probe; empty if it does not come from blocks.
    """
    about = FIGURES[figure]
    value, limit_text = f"{estimate.value:.4g} {about.unit}", f"{limit:.4g} {about.unit}"
    blocks = [block for probe in samples for block in probe.blocks]
    sampled_s = sum(block.seconds for block in blocks)
    once = about.occurs_once
    if once and estimate.samples == 1:
        estimate = repeats.estimate_repeats(figure, [estimate.value])
    if blocks and (series := _series(figure, blocks[0])):
        estimate = _with_drift(series, estimate, samples, sampled_s, inverse=series != figure)
    low, high, bound = (estimate.low, estimate.high, limit)
    if about.higher_is_better:
        low, high, bound = -estimate.high, -estimate.low, -limit
    status: Status
    details: tuple[str, ...] = ()
    if estimate.needs_s > 0:
        status, why = "inconclusive", f" (too few samples: needs {estimate.needs_s:.2g} s more)"
    elif low > bound:
        status, why = "over_budget", ""
    elif high <= bound:
        status, why = "ok", ""
        share = limit / estimate.value if about.higher_is_better else estimate.value / limit
        if share >= NEAR:
            details = (f"at {100 * share:.0f} % of its budget",)
        if figure in noise_levels.PERCENTILES and blocks:
            if sampled_s < noise_levels.MIN_PERCENTILE_S:
                status, why = (
                    "inconclusive",
                    f" (too few samples: needs {noise_levels.MIN_PERCENTILE_S - sampled_s:.2g} s more)",
                )
            distance = sampled_s / -math.log(MISSED)
            details = (*details, f"spells of slow samples more than {distance:.2g} s apart may have been missed")
    else:
        status, why = "inconclusive", " (at the limit)"
    if once:
        source = "build" if figure == "build_s" else "process" if estimate.samples == 1 else "processes"
        details = (*details, f"from {estimate.samples} {source}")
    text = f"{about.title} {status_words(status, figure)}{why}: {value}, budget {limit_text}"
    return Verdict(status, "budget", figure, text, limit=limit, details=details)


def _series(figure: str, block: Block) -> str:
    """Return the samples whose median is the figure; for the throughput of queries that follow one another, `ms`."""
    if figure == "throughput" and not block.times.keys() & {"throughput", "gpu_ms"}:
        return "ms"
    return figure if figure in block.times else ""


def _with_drift(
    figure: str, estimate: Estimate, samples: Sequence[Samples], sampled_s: float, *, inverse: bool
) -> Estimate:
    """Return the estimate of a median, widened by the drift of its blocks, or marked as too early at the power cap.

    The scatter of the blocks and that of their slope are independent, so their margins add by their squares.

    Args:
        figure: The samples that drift.
        estimate: The estimate.
        samples: The samples of each probe.
        sampled_s: How long all blocks lasted, in seconds.
        inverse: Whether the estimate is of the inverse of the samples.
    """
    blocks = [block for probe in samples for block in probe.blocks]
    if min(min(block.times[figure]) for block in blocks) <= 0:  # something that did not happen, such as a copy
        return estimate
    units = [[math.log(stats.median(block.times[figure])) for block in probe.blocks] for probe in samples]
    capped = sum(drift.is_power_capped(block.state) for block in blocks)
    below, above = drift.margins(units, sampled_s / len(blocks), capped=2 * capped > len(blocks))
    below, above = (above, below) if inverse else (below, above)
    needs_s = estimate.needs_s
    if capped:
        needs_s = max(needs_s, drift.CAPPED_S - sampled_s)
    low = estimate.value * math.exp(-math.hypot(math.log(estimate.value / estimate.low), below))
    above = min(math.hypot(math.log(estimate.high / estimate.value), above), LARGEST_LOG)
    return dataclasses.replace(estimate, low=low, high=estimate.value * math.exp(above), needs_s=needs_s)


class LimitRule:
    """A stopping rule (`measure.stopping.Rule`): stop when each figure of side 0 is decided against its limit.

    Figures that the blocks of a backend lack, such as `gpu_ms` on a CPU, are ignored: the trial reports them. The
    throughput of queries that follow one another is the inverse of the latency.

    Args:
        limits: Limits by figure, without figures that do not come from blocks (sizes, build time).
        spread: How far two probes of one plan may differ, as a share.
        batch: The number of inferences in a query.
    """

    def __init__(self, limits: Mapping[str, float], *, spread: float = 0.002, batch: int = 1) -> None:
        self._limits, self._spread, self._batch = dict(limits), spread, batch
        self.start(1)

    def start(self, sides: int) -> None:
        """Forget an earlier sampling."""
        self._probes: list[list[Block]] = []
        self._verdicts: dict[str, Verdict] = {}
        self._spread_decides = self._drift_decides = False
        self._seconds = 0.0

    def add(self, side: int, probe: int, block: Block) -> None:
        """Add one block; blocks of side 1 are ignored."""
        if side:
            return
        if not self._probes:
            self._limits = {
                f: limit for f, limit in self._limits.items() if _series(f, block) or f in noise_levels.PERCENTILES
            }
        while len(self._probes) <= probe:
            self._probes.append([])
        self._probes[probe].append(block)
        before, self._seconds = self._seconds, self._seconds + block.seconds
        waited = any(before < least <= self._seconds for least in (drift.CAPPED_S, noise_levels.MIN_PERCENTILE_S))
        if waited or stats.is_look(len(self._probes[-1])):
            samples = [Samples(tuple(blocks), probe=number) for number, blocks in enumerate(self._probes)]
            self._verdicts = self._judge(samples, self._spread)
            undecided = {f for f, v in self._judge(samples, 0.0).items() if v.status == "inconclusive"}
            caught_up = noise_levels.last_probe_caught_up(self._probes)
            self._spread_decides = not undecided or (caught_up and undecided.isdisjoint(noise_levels.PERCENTILES))
            self._drift_decides = any(
                v.status == "inconclusive"
                and judge(f, self._estimate(f, samples, self._spread), self._limits[f]).status != "inconclusive"
                for f, v in self._verdicts.items()
            )

    def _judge(self, samples: Sequence[Samples], spread: float) -> dict[str, Verdict]:
        return {f: judge(f, self._estimate(f, samples, spread), limit, samples) for f, limit in self._limits.items()}

    def _estimate(self, figure: str, samples: Sequence[Samples], spread: float) -> Estimate:
        if figure == "throughput" and figure not in samples[0].blocks[0].times:
            return noise_levels.estimate("ms", samples, spread).inverse(1000 * self._batch)
        return noise_levels.estimate(figure, samples, spread)

    def finished(self) -> str:
        """Return the reason to stop; empty while a figure is undecided."""
        undecided = [f for f in self._limits if f not in self._verdicts or self._verdicts[f].status == "inconclusive"]
        return "" if undecided else "budgets decided"

    def wants_probe(self) -> bool:
        """Return whether only fresh probes can decide.

        That is so if the spread between probes alone leaves a figure undecided, or if more blocks of this probe would
        not count. The probe is first sampled until its first look, and until a drift is excluded.
        """
        return (
            self._spread_decides
            and not self._drift_decides
            and not self.finished()
            and len(self._probes[-1]) >= stats.LOOKS[0]
        )
