"""Compare a figure with an earlier one: ratios of new to old, with intervals, judged against a tolerance.

    question = RegressionQuestion(figure="ms", tolerance=0.05, spread=0.002)  # spread=0: no probe level
    sampling = sample(source, PairedRule(question), limits)  # side 0 is new, side 1 old
    verdict = judge_paired(question, *sampling.sides)

    verdict = confirm_regression(verdict, again)  # again: the verdict of a second measurement
    verdict = judge_builds(question, [sampling.sides, another.sides])  # several builds, each against the old plan
    verdict = judge_exact("memory_mb", 628.0, 600.0, tolerance=0.05)

`judge_paired` decides as `PairedRule` did on the same blocks, since both call `compare_paired`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from pytest_trt.core import noise_levels, stats
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Block, Estimate, Samples, Status, Verdict

MANY_BLOCKS = 48
"""The blocks a side of a pair of probes after which a fresh pair is requested sooner (`PairedRule.wants_probe`)."""

REFERENCE_PRECISION = 0.25
"""How well a figure must be known before it may become a reference, as a share, unless the tolerance is larger. Without
this limit, a few blocks of a noisy moment became a reference that nothing regressed against."""

_WIDEST_LOG_RATIO = 300.0
"""The log ratio beyond which no ratio is shown: such figures are not real, and their ratio soon exceeds a float."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegressionQuestion:
    """The question that a comparison answers: is `figure` worse by more than `tolerance`?

    Attributes:
        figure: The figure's name.
        tolerance: How much worse the figure may be, as a share.
        alpha: The error of `regressed`.
        beta: The error of `ok` and `improved`.
        spread: How far two probes of one plan may differ, as a share; 0 if the source of the blocks has no probe level.
        open_order_effect: How far the order in which a pair of probes is opened may move its ratio, as a share.
        run_spread: How far two runs on different days may differ, as a share; used if the sides are not paired.
        build_spread: How far two builds of one model may differ, as a share.
    """

    figure: str = "ms"
    tolerance: float = 0.05
    alpha: float = 0.001
    beta: float = 0.001
    spread: float = 0.002
    open_order_effect: float = 0.0
    run_spread: float = 0.01
    build_spread: float = 0.01


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
    found = noise_levels.location_interval(
        ratios, question.spread, question.alpha, question.beta, open_order_effect=question.open_order_effect
    )
    return found.widened(step, step)


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
        self._status = _status(self._question, found)
        self._needs_blocks = self._status == "ok" and _may_be_improved(self._question, found)
        if self._status in ("regressed", "improved"):  # the new side may become the reference, so it must be known well
            units = [[_log_median(self._question, block) for block in samples.blocks] for samples in new]
            alone = noise_levels.location_interval(units, 0.0, self._question.alpha)
            precision = max(self._question.tolerance, REFERENCE_PRECISION)
            self._needs_blocks = alone.high - alone.low > 2 * math.log1p(precision)
        if self._question.spread:
            alone = compare_paired(dataclasses.replace(self._question, spread=0.0, open_order_effect=0.0), new, old)
            part = 3 if len(new[-1].blocks) < MANY_BLOCKS else 2
            self._spread_decides = alone.high - alone.low < (found.high - found.low) / part

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
        details = (*details, f"the timer's step is {_percent(step)} of a sample")
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
    details = (f"{count} builds differ by {_percent(lottery)}; each is known to +-{_percent(noise)}",)
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


def judge_exact(figure: str, new: float, old: float, tolerance: float) -> Verdict:
    """Return the verdict of a figure without scatter, such as a size: the two values are compared as they are.

    Args:
        figure: The figure's name.
        new: The new value, in the figure's unit.
        old: The old value, in the figure's unit.
        tolerance: How much worse it may be, as a share.
    """
    ratio = _ratio(new, old)
    worse = _ratio(old, new) if FIGURES[figure].higher_is_better else ratio
    status: Status = "regressed" if worse > 1 + tolerance else "improved" if worse < 1 - tolerance else "ok"
    about, shown = FIGURES[figure], Estimate.exact(ratio) if math.isfinite(ratio) else None
    text = f"{about.title} {status}: {new:g} {about.unit} against {old:g} {about.unit}, tolerance {_percent(tolerance)}"
    return Verdict(status, "baseline", figure, text, ratio=shown, tolerance=tolerance, resolution=0.0)


def confirm_regression(first: Verdict, again: Verdict, *, rebuilt: bool = False) -> Verdict:
    """Return the first verdict; a regression that a second measurement does not confirm becomes `inconclusive`.

    Args:
        first: The verdict to confirm. One that is not `regressed` is returned as it is.
        again: The verdict of the second measurement.
        rebuilt: Whether that measured another build, rather than the same plan in fresh probes.
    """
    if first.status != "regressed":
        return first
    if again.status == "regressed":
        confirmation = "another build regressed too" if rebuilt else "seen again when measured again"
        return dataclasses.replace(first, details=(*first.details, confirmation))
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
        cycles.append(stats.median([math.exp(_log_median(question, b)) * b.state["sm_mhz"] for b in blocks]))
    return cycles[0] / cycles[1]


def verdict_from_interval(question: RegressionQuestion, found: stats.Interval, details: tuple[str, ...]) -> Verdict:
    """Return the verdict that an interval of log(new / old) gives.

    Args:
        question: The question to answer.
        found: The interval.
        details: The first details of the verdict; the resolution follows them.
    """
    status = _status(question, found)
    known = found.low > -_WIDEST_LOG_RATIO and found.high < _WIDEST_LOG_RATIO
    ratio = Estimate(math.exp(found.center), math.exp(found.low), math.exp(found.high)) if known else None
    # A regression ends the sampling as soon as it is plain, so its resolution is coarse and not worth showing.
    unseen = known and status in ("ok", "inconclusive")
    resolution = math.expm1(found.center - found.low) if unseen else None
    shown = "too few blocks" if math.isinf(found.low) or math.isinf(found.high) else "the ratio is out of range"
    if ratio is not None:
        shown = f"{100 * ratio.value - 100:+.1f} % [{100 * ratio.low - 100:+.1f}, {100 * ratio.high - 100:+.1f}]"
    text = f"{FIGURES[question.figure].title} {status}: {shown}, tolerance {_percent(question.tolerance)}"
    if resolution is not None:
        details = (*details, f"would see >= {_percent(resolution, 2)}")
        if resolution > question.tolerance:
            details = (*details, f"the tolerance of {_percent(question.tolerance)} is tighter than that")
    return Verdict(status, "baseline", question.figure, text, ratio=ratio, tolerance=question.tolerance,
                   resolution=resolution, details=details)  # fmt: skip


def _timer_step(question: RegressionQuestion, new: Sequence[Samples], old: Sequence[Samples]) -> float:
    first = (block for side in (new, old) for block in side[0].blocks[: stats.STEP_BLOCKS])
    return stats.timer_step([block.times[question.figure] for block in first])


def _log_median(question: RegressionQuestion, block: Block) -> float:
    return math.log(stats.median(block.times[question.figure]))


def _worse(question: RegressionQuestion, found: stats.Interval) -> stats.Interval:
    """Return the interval of how much worse the figure is: for throughput, how much lower."""
    if FIGURES[question.figure].higher_is_better:
        return stats.Interval(-found.center, -found.high, -found.low)
    return found


def _status(question: RegressionQuestion, found: stats.Interval) -> Status:
    found = _worse(question, found)
    limit = math.log1p(question.tolerance)
    if found.low > limit:
        return "regressed"
    if found.high < -limit:
        return "improved"
    return "ok" if found.high <= limit else "inconclusive"


def _may_be_improved(question: RegressionQuestion, found: stats.Interval) -> bool:
    """Return whether more blocks may yet show that an `ok` figure is better by more than the tolerance.

    That is unlikely while the interval's center is within half of the tolerance.
    """
    found, limit = _worse(question, found), math.log1p(question.tolerance)
    return found.low < -limit and found.center < -limit / 2


def _ratio(one: float, other: float) -> float:
    return one / other if other else math.inf if one else 1.0


def _percent(share: float, digits: int = 3) -> str:
    return f"{100 * share:.{digits}g} %"
