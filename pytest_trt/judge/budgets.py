"""Does it cost more than it may? Which budget counts, and the verdict of a figure against its limit.

limits = matching_limits(budgets, device="NVIDIA H200", kind="gpu", mig_profile=None, params={"precision": "fp16"})
sampling = sample(source, LimitRule(limits, spread=0.002), sampling_limits)
verdicts = [judge(figure, estimates[figure], limit) for figure, limit in limits.items()]
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pytest_trt.core import noise_levels, stats
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Block, Estimate, Samples, Status, Verdict
from pytest_trt.spec.expectations import Budget

NEAR = 0.95
"""From this share of a limit on, a verdict that is `ok` carries a warning."""


SPELLS_S = 0.5
"""A percentile is sampled for so long at least, in seconds of blocks: slow blocks that have not come yet are in no
interval. Of blocks of which 30 % are 8 % slower, 11 of 1000 first answers were wrong about a p95 at its limit, and none
after 0.5 s (simulated)."""


def matching_limits(
    budgets: Sequence[Budget],
    *,
    device: str,
    kind: Literal["gpu", "cpu"],
    mig_profile: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """The limits that hold here, by figure. Of several for one figure the most specific counts: first the one that
    names more words of the device, then the one with more parameters, then the tighter one."""
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


_ABSENT = object()


def names_device(words: str, device: str, kind: str, mig_profile: str | None = None) -> bool:
    """Whether `words` (`gpu`, `cpu`, or whole words of a device's name) name this device."""
    return _matched_words(words, device, kind, mig_profile) is not None


def _matched_words(wanted: str, device: str, kind: str, mig_profile: str | None) -> int | None:
    """How many words of the device `wanted` names; 0 for a whole kind; None where it does not match. A MIG slice is
    another device than the card: it matches only where the slice is named."""
    if wanted.lower() in ("gpu", "cpu"):
        return 0 if wanted.lower() == kind else None
    have, named = _words(device), _words(wanted)
    slice_words = _words(mig_profile or "")
    if slice_words and not slice_words <= named:
        return None
    return len(named) if named <= have | slice_words else None


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9.+]+", text.lower()))


def judge(figure: str, estimate: Estimate, limit: float) -> Verdict:
    """The verdict of one figure: `over_budget` when its whole interval lies beyond the limit, `ok` when the whole of it
    lies within, else `inconclusive`. Throughput is a lower limit; every other limit is an upper one."""
    about = FIGURES[figure]
    value, limit_text = f"{estimate.value:.4g} {about.unit}", f"{limit:.4g} {about.unit}"
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
    else:
        status, why = "inconclusive", " (at the limit)"
    text = f"{about.title} {status.replace('_', ' ')}{why}: {value}, budget {limit_text}"
    return Verdict(status, "budget", figure, text, limit=limit, details=details)


class LimitRule:
    """Stops when each figure of side 0 that comes from blocks is decided against its limit. Figures that do not come
    from blocks (sizes, build time) are not its business: leave them out. Neither are those that the blocks of this
    backend lack, such as `gpu_ms` on a CPU: whoever judges the measurement says so."""

    def __init__(self, limits: Mapping[str, float], *, spread: float = 0.002) -> None:
        self._limits, self._spread = dict(limits), spread
        self.start(1)

    def start(self, sides: int) -> None:
        self._probes: list[list[Block]] = []
        self._verdicts: dict[str, Verdict] = {}
        self._spread_decides = False
        self._seconds = 0.0

    def add(self, side: int, probe: int, block: Block) -> None:
        if side:
            return
        if not self._probes:
            self._limits = {
                f: limit for f, limit in self._limits.items() if f in {*block.times, *noise_levels.PERCENTILES}
            }
        while len(self._probes) <= probe:
            self._probes.append([])
        self._probes[probe].append(block)
        self._seconds += block.seconds
        if stats.is_look(len(self._probes[-1])):
            samples = [Samples(tuple(blocks), probe=number) for number, blocks in enumerate(self._probes)]
            self._verdicts = self._judged(samples, self._spread)
            open_alone = {f for f, v in self._judged(samples, 0.0).items() if v.status == "inconclusive"}
            in_vain = noise_levels.last_probe_caught_up(self._probes) and open_alone.isdisjoint(
                noise_levels.PERCENTILES
            )
            self._spread_decides = not open_alone or in_vain

    def _judged(self, samples: Sequence[Samples], spread: float) -> dict[str, Verdict]:
        return {f: judge(f, noise_levels.estimate(f, samples, spread), limit) for f, limit in self._limits.items()}

    def finished(self) -> str:
        undecided = [f for f in self._limits if f not in self._verdicts or self._verdicts[f].status == "inconclusive"]
        too_soon = not noise_levels.PERCENTILES.keys().isdisjoint(self._limits) and self._seconds < SPELLS_S
        return "" if undecided or too_soon else "budgets decided"

    def wants_probe(self) -> bool:
        """Whether nothing but the spread between probes leaves a figure at its limit, or more blocks of this probe
        would not count. A probe that has only just begun is given its time first."""
        return self._spread_decides and not self.finished() and len(self._probes[-1]) >= stats.LOOKS[0]
