"""Compare a figure with an earlier one: ratios of new to old, with intervals, judged against a tolerance.

    question = RegressionQuestion(figure="ms", tolerance=0.05, spread=0.002)  # spread=0: no probe level
    sampling = sample(source, PairedRule(question), limits)  # side 0 is new, side 1 old
    verdict = judge_paired(question, *sampling.sides)

    verdict = confirm_regression(verdict, again)  # again: the verdict of a second measurement
    verdict = judge_builds(question, [sampling.sides, another.sides])  # several builds, each against the old plan

`judge_paired` decides as `PairedRule` did on the same blocks, since both call `compare_paired`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

from pytest_trt.core import noise_levels, stats
from pytest_trt.core.records import Block, Samples, Status, Verdict
from pytest_trt.judge.regression.question import (
    RegressionQuestion,
    may_be_improved,
    percent,
    status_of,
    verdict_from_interval,
)

MANY_BLOCKS = 48
"""The blocks a side of a pair of probes after which a fresh pair is requested sooner (`PairedRule.wants_probe`)."""

REFERENCE_PRECISION = 0.25
"""How well a figure must be known before it may become a reference, as a share, unless the tolerance is larger. Without
this limit, a few blocks of a noisy moment became a reference that nothing regressed against."""


def compare_paired(question: RegressionQuestion, new: Sequence[Samples], old: Sequence[Samples]) -> stats.Interval:
    """Return the interval of log(new / old) from blocks that were measured in turn.

    The timer's step widens the interval, since more blocks cannot improve on it.

    Args:
        question: The figure, with its errors and spreads.
        new: The new side's samples, one for each probe.
        old: The old side's samples, one for each probe.

    Raises:
        ValueError: The sides have different numbers of probes.
    """
    step = _timer_step(question, new, old)
    ratios = log_ratios(question, new, old)
    if sum(len(pair) >= stats.LOOKS[0] for pair in ratios) < 2:
        times, known = question.lone_pair, abs(question.place)
        effect = max(times * (question.open_order_effect - known), (times - 1) * known)
        question = dataclasses.replace(question, spread=times * question.spread, open_order_effect=effect)
        ratios = [[unit - question.place for unit in pair] for pair in ratios]
    found = noise_levels.location_interval(
        ratios, question.spread, question.alpha, question.beta, open_order_effect=question.open_order_effect, pairs=True
    )
    return found.widened(step, step)


def pair_medians(question: RegressionQuestion, sides: Sequence[Sequence[Samples]]) -> tuple[float, ...]:
    """Return the median log ratio, new over old, of each pair of probes that has enough blocks, in their order.

    Pairs after one with too few blocks are left out, since the order of opening must be known.
    """
    ratios = log_ratios(question, *sides)
    full = list(itertools.takewhile(lambda pair: len(pair) >= stats.LOOKS[0], ratios))
    shortest = min(map(len, full), default=0)
    return tuple(stats.median(pair[:shortest]) for pair in full)


def log_ratios(question: RegressionQuestion, new: Sequence[Samples], old: Sequence[Samples]) -> list[list[float]]:
    """Return log(new / old) of the k-th blocks of both sides, for each pair of probes.

    Raises:
        ValueError: The sides have different numbers of probes.
    """
    if len(new) != len(old):
        raise ValueError(f"{len(new)} probes cannot be paired with {len(old)}: sample both sides in turn")
    return [
        [_log_median(question, a) - _log_median(question, b) for a, b in zip(ours.blocks, theirs.blocks, strict=False)]
        for ours, theirs in zip(new, old, strict=True)
    ]


class PairedRule:
    """A stopping rule (`measure.stopping.Rule`): stop a paired sampling when its question is decided.

    Args:
        question: The question to decide.
        builds: How many builds are judged together; if there are several, the interval includes the build lottery.
    """

    def __init__(self, question: RegressionQuestion, builds: int = 1) -> None:
        self._question = question
        # How far the builds differ is not known yet. Assume that they scatter as usual, by a quarter of their bound.
        scattered = [question.build_spread / 4 * (-1) ** n for n in range(builds)]
        self._build_margins = build_margins(question, scattered) if builds > 1 else (0.0, 0.0)
        self.start(2)

    def start(self, sides: int) -> None:
        """Forget an earlier sampling."""
        self._blocks: tuple[list[list[Block]], list[list[Block]]] = ([], [])
        self._status: Status = "inconclusive"
        self._needs_blocks = False
        self._spread_decides = False

    def add(self, side: int, probe: int, block: Block) -> None:
        """Add one block of either side."""
        for probes in self._blocks:
            while len(probes) <= probe:
                probes.append([])
        self._blocks[side][probe].append(block)
        new, old = (len(probes[-1]) for probes in self._blocks)
        if new == old and stats.is_look(new):
            self._look()

    def _look(self) -> None:
        new, old = ([Samples(tuple(blocks)) for blocks in probes] for probes in self._blocks)
        found = compare_paired(self._question, new, old)
        found = found.widened(*self._build_margins)
        self._status = status_of(self._question, found)
        self._needs_blocks = self._status == "ok" and may_be_improved(self._question, found)
        if self._status in ("regressed", "improved"):  # the new side may become the reference, so it must be known well
            units = [[_log_median(self._question, block) for block in samples.blocks] for samples in new]
            alone = noise_levels.location_interval(units, 0.0, self._question.alpha)
            precision = max(self._question.tolerance, REFERENCE_PRECISION)
            self._needs_blocks = alone.high - alone.low > 2 * math.log1p(precision)
        if self._question.spread:
            alone = compare_paired(
                dataclasses.replace(self._question, spread=0.0, open_order_effect=0.0, place=0.0), new, old
            )
            part = 3 if len(new[-1].blocks) < MANY_BLOCKS else 2
            # A lone pair counts its margins twice, but is not left earlier: later pairs get no more blocks than it.
            margins = 2 * (self._question.spread + self._question.open_order_effect) + sum(self._build_margins)
            whole = min(found.high - found.low, alone.high - alone.low + margins)
            self._spread_decides = alone.high - alone.low < whole / part

    def finished(self) -> str:
        """Return the verdict's status as the reason to stop; empty while more blocks are needed."""
        return "" if self._needs_blocks or self._status == "inconclusive" else f"decided: {self._status}"

    def wants_probe(self) -> bool:
        """Return whether only a fresh pair of probes can decide.

        That is so if the spread between probes makes up two thirds of the interval, or half of it after `MANY_BLOCKS`.
        It is also so if more blocks of this pair would not count (`noise_levels.last_probe_caught_up`). With few
        blocks, half would be too early, since later pairs get no more blocks than the first.
        """
        enough = self._spread_decides or noise_levels.last_probe_caught_up(self._blocks[0])
        return enough and not self.finished() and len(self._blocks[0][-1]) >= stats.LOOKS[0]


def judge_paired(question: RegressionQuestion, new: Sequence[Samples], old: Sequence[Samples]) -> Verdict:
    """Return the verdict of blocks that were measured in turn: `regressed`, `improved`, `ok` or `inconclusive`.

    Args:
        question: The question to answer.
        new: The new side's samples, one for each probe.
        old: The old side's samples, one for each probe.

    Raises:
        ValueError: The sides have different numbers of probes.
    """
    found = compare_paired(question, new, old)
    seconds = sum(block.seconds for side in (new, old) for samples in side for block in samples.blocks)
    blocks = sum(len(samples.blocks) for samples in new)
    probes = f"{len(new)} probe{'s' * (len(new) > 1)}"
    basis = f"judged engine against engine: {probes} x {blocks} blocks a side, {seconds:.1f} s"
    cycles = clock_ratio(question, new, old)
    details = (basis,) if cycles is None else (basis, f"in clock cycles {100 * cycles - 100:+.2f} % (information only)")
    if (step := _timer_step(question, new, old)) == 1:
        details = (*details, "every sample is the same: this timer is too coarse to tell engines apart")
    elif step > question.tolerance / 2:
        details = (*details, f"the timer's step is {percent(step)} of a sample")
    return verdict_from_interval(question, found, details)


def judge_builds(question: RegressionQuestion, builds: Sequence[Sequence[Sequence[Samples]]]) -> Verdict:
    """Return the verdict of the mean of several builds of one model.

    Its interval includes the build lottery, which the details show apart from the noise of the runs.

    Args:
        question: The question to answer.
        builds: For each build, the sides (new, old) that were sampled in turn.

    Raises:
        ValueError: The sides of a build have different numbers of probes.
    """
    found = [compare_paired(question, new, old) for new, old in builds]
    centers = [interval.center for interval in found]
    count = len(found)
    mean = sum(centers) / count
    low, high = (sum(ends) / count for ends in ([i.low for i in found], [i.high for i in found]))
    lottery = math.expm1(max(centers) - min(centers))
    noise = math.expm1((high - low) / 2)
    details = (f"{count} builds differ by {percent(lottery)}; each is known to +-{percent(noise)}",)
    interval = stats.Interval(mean, low, high).widened(*build_margins(question, centers))
    return verdict_from_interval(question, interval, details)


def build_margins(question: RegressionQuestion, centers: Sequence[float]) -> tuple[float, float]:
    """Return how far the mean of all possible builds may lie below and above the mean of these.

    Args:
        question: The question, with its errors and the spread of builds.
        centers: The log ratio of each build.
    """
    below, above = (
        noise_levels.level_margin(centers, question.build_spread, e) for e in (question.alpha, question.beta)
    )
    return below, above


def confirm_regression(first: Verdict, again: Verdict, *, rebuilt: bool = False) -> Verdict:
    """Return the first verdict; a regression that a second measurement refutes becomes `inconclusive`.

    Only a second measurement that says `ok` or `improved` refutes it. One that cannot decide, on a busy machine for
    example, is no evidence against the first: then the first verdict stands.

    Args:
        first: The verdict to confirm. One that is not `regressed` is returned as it is.
        again: The verdict of the second measurement.
        rebuilt: Whether that measured another build, rather than the same plan in fresh probes.
    """
    if first.status != "regressed":
        return first
    if again.status == "regressed":
        confirmation = "another build regressed too" if rebuilt else "seen again when measured again"
        return dataclasses.replace(first, details=(*first.details, confirmation), looks=first.looks + 1)
    if again.status not in ("ok", "improved"):
        undecided = (
            f"{'another build' if rebuilt else 'a second measurement'} could not decide: the first verdict stands"
        )
        return dataclasses.replace(first, details=(*first.details, undecided))
    why = "build lottery: another build did not regress" if rebuilt else "not seen again in fresh probes"
    return dataclasses.replace(first, status="inconclusive", text=f"{first.text} ({why})")


def clock_ratio(question: RegressionQuestion, new: Sequence[Samples], old: Sequence[Samples]) -> float | None:
    """Return the ratio of new to old in clock cycles: time times SM clock, medians over blocks.

    Returns:
        None if the blocks of a side have no SM clock.
    """
    cycles = []
    for side in (new, old):
        blocks = [block for samples in side for block in samples.blocks if block.state.get("sm_mhz")]
        if not blocks:
            return None
        cycles.append(stats.median([stats.median(b.times[question.series]) * b.state["sm_mhz"] for b in blocks]))
    return cycles[0] / cycles[1]


def _timer_step(question: RegressionQuestion, new: Sequence[Samples], old: Sequence[Samples]) -> float:
    first = (block for side in (new, old) for block in side[0].blocks[: stats.STEP_BLOCKS])
    return stats.timer_step([block.times[question.series] for block in first])


def _log_median(question: RegressionQuestion, block: Block) -> float:
    log_median = math.log(stats.median(block.times[question.series]))
    return -log_median if question.inverse_of else log_median
