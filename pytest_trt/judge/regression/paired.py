"""Is it slower than before? Ratios of new to old, with intervals, judged against a tolerance.

    question = RegressionQuestion(figure="ms", tolerance=0.05, spread=0.002)  # spread=0: no probe level
    sampling = sample(source, PairedRule(question), limits)               # side 0 is new, side 1 old
    verdict = judge_paired(question, *sampling.sides)

    verdict = confirm_regression(verdict, again)                          # again: the verdict of a second measurement
    verdict = judge_builds(question, [sampling.sides, another.sides])     # K builds, each against the baseline's plan
    verdict = judge_exact("memory_mb", 628.0, 600.0, tolerance=0.05)

`judge_paired` of the blocks that a rule has seen says what the rule itself decided: both ask `compare_paired`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from pytest_trt.core import noise_levels, stats
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Block, Estimate, Samples, Status, Verdict

MANY_BLOCKS = 48
"""After so many blocks a side of one pair of probes, it has had its share of the time."""


REFERENCE = 0.25
"""How well, as a share, a figure has to be known that a baseline may keep, if the tolerance asks no less: a few blocks
of a noisy moment had been accepted as a reference that nothing regressed against."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RegressionQuestion:
    """Is `figure` worse by more than `tolerance` (a share)?

    `alpha` is the error of `regressed`, `beta` that of `ok` and `improved`. `spread` is how far two probes of one plan
    may differ as calibrations show it (a share), 0 where the source of the blocks has no probe level;
    `open_order_effect` how far the order in which a pair of them was opened may move it; `run_spread` is how
    far two runs on different days differ, for unpaired questions, and `build_spread` two builds of one model.
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
    """The interval of log(new / old) from blocks taken in turn, one Samples a probe on either side.

    The timer's step widens it, since no number of blocks improves on that. Raises ValueError where the sides do not
    pair.
    """
    step = _step(question, new, old)
    ratios = log_ratios(question, new, old)
    found = noise_levels.location_interval(
        ratios, question.spread, question.alpha, question.beta, open_order_effect=question.open_order_effect
    )
    return found.widened(step, step)


def _step(question: RegressionQuestion, new: Sequence[Samples], old: Sequence[Samples]) -> float:
    first = (block for side in (new, old) for block in side[0].blocks[: stats.STEP_BLOCKS])
    return stats.timer_step([block.times[question.figure] for block in first])


def log_ratios(question: RegressionQuestion, new: Sequence[Samples], old: Sequence[Samples]) -> list[list[float]]:
    """Log of new over old of the k-th blocks of each pair of probes. Raises ValueError where the sides do not pair."""
    if len(new) != len(old):
        raise ValueError(f"{len(new)} probes cannot be paired with {len(old)}: sample both sides in turn")
    return [
        [_log_median(question, a) - _log_median(question, b) for a, b in zip(ours.blocks, theirs.blocks, strict=False)]
        for ours, theirs in zip(new, old, strict=True)
    ]


class PairedRule:
    """Stops a paired sampling when its question is decided; where it is one of several `builds` that are judged
    together, when it is decided with the build lottery in the interval."""

    def __init__(self, question: RegressionQuestion, builds: int = 1) -> None:
        self._question = question
        # what the builds will show is not known yet: as if they scattered as usual, by a quarter of what bounds them
        scattered = [question.build_spread / 4 * (-1) ** n for n in range(builds)]
        self._lottery = build_margins(question, scattered) if builds > 1 else (0.0, 0.0)
        self.start(2)

    def start(self, sides: int) -> None:
        self._blocks: tuple[list[list[Block]], list[list[Block]]] = ([], [])
        self._status: Status = "inconclusive"
        self._open = False
        self._spread_decides = False

    def add(self, side: int, probe: int, block: Block) -> None:
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
        found = found.widened(*self._lottery)
        self._status = _status(self._question, found)
        self._open = self._status == "ok" and _may_be_improved(self._question, found)
        if self._status in ("regressed", "improved"):  # what may become the reference has to be known itself
            units = [[_log_median(self._question, block) for block in samples.blocks] for samples in new]
            alone = noise_levels.location_interval(units, 0.0, self._question.alpha)
            self._open = alone.high - alone.low > 2 * math.log1p(max(self._question.tolerance, REFERENCE))
        if self._question.spread:
            alone = compare_paired(dataclasses.replace(self._question, spread=0.0, open_order_effect=0.0), new, old)
            part = 3 if len(new[-1].blocks) < MANY_BLOCKS else 2
            self._spread_decides = alone.high - alone.low < (found.high - found.low) / part

    def finished(self) -> str:
        return "" if self._open or self._status == "inconclusive" else f"decided: {self._status}"

    def wants_probe(self) -> bool:
        """Whether the question is undecided and two thirds of the interval come from the spread between probes, or half
        of it after MANY_BLOCKS; or more blocks of this pair would tell nothing. Half of it with
        few blocks would be too early: later pairs get no more blocks than the first."""
        enough = self._spread_decides or noise_levels.last_probe_caught_up(self._blocks[0])
        return enough and not self.finished() and len(self._blocks[0][-1]) >= stats.LOOKS[0]


def judge_paired(question: RegressionQuestion, new: Sequence[Samples], old: Sequence[Samples]) -> Verdict:
    """The verdict of blocks taken in turn: `regressed`, `improved`, `ok` or `inconclusive`."""
    found = compare_paired(question, new, old)
    seconds = sum(block.seconds for side in (new, old) for samples in side for block in samples.blocks)
    blocks = sum(len(samples.blocks) for samples in new)
    probes = f"{len(new)} probe{'s' * (len(new) > 1)}"
    basis = f"judged engine against engine: {probes} x {blocks} blocks a side, {seconds:.1f} s"
    cycles = clock_ratio(question, new, old)
    details = (basis,) if cycles is None else (basis, f"in clock cycles {100 * cycles - 100:+.2f} % (information only)")
    if (step := _step(question, new, old)) == 1:
        details = (*details, "every sample is the same: this timer is too coarse to tell engines apart")
    elif step > question.tolerance / 2:
        details = (*details, f"the timer's step is {_share(step)} of a sample")
    return verdict_from_interval(question, found, details)


def judge_builds(question: RegressionQuestion, builds: Sequence[Sequence[Sequence[Samples]]]) -> Verdict:
    """The verdict of several builds of one model, each a pair of sides (new, old) as sampled: of their mean, with the
    build lottery in the interval and shown apart from the noise of the runs."""
    found = [compare_paired(question, new, old) for new, old in builds]
    centers = [interval.center for interval in found]
    count = len(found)
    mean = sum(centers) / count
    low, high = (sum(ends) / count for ends in ([i.low for i in found], [i.high for i in found]))
    lottery = math.expm1(max(centers) - min(centers))
    noise = math.expm1((high - low) / 2)
    details = (f"{count} builds differ by {_share(lottery)}; each is known to +-{_share(noise)}",)
    return verdict_from_interval(
        question, stats.Interval(mean, low, high).widened(*build_margins(question, centers)), details
    )


def build_margins(question: RegressionQuestion, centers: Sequence[float]) -> tuple[float, float]:
    """How far the mean of builds, at log ratios of `centers`, may lie below and above that of all builds there are."""
    below, above = (
        noise_levels.level_margin(centers, question.build_spread, e) for e in (question.alpha, question.beta)
    )
    return below, above


def judge_exact(figure: str, new: float, old: float, tolerance: float) -> Verdict:
    """The verdict of a figure without scatter, such as a size: compared as it is."""
    ratio = _ratio(new, old)
    worse = _ratio(old, new) if FIGURES[figure].higher_is_better else ratio
    status: Status = "regressed" if worse > 1 + tolerance else "improved" if worse < 1 - tolerance else "ok"
    about, shown = FIGURES[figure], Estimate.exact(ratio) if math.isfinite(ratio) else None
    text = f"{about.title} {status}: {new:g} {about.unit} against {old:g} {about.unit}, tolerance {_share(tolerance)}"
    return Verdict(status, "baseline", figure, text, ratio=shown, tolerance=tolerance, resolution=0.0)


def _ratio(one: float, other: float) -> float:
    return one / other if other else math.inf if one else 1.0


def confirm_regression(first: Verdict, again: Verdict, *, rebuilt: bool = False) -> Verdict:
    """A regression stands only when the second look, in fresh probes or at another build, sees it too."""
    if first.status != "regressed":
        return first
    if again.status == "regressed":
        seen = "another build regressed too" if rebuilt else "seen again when measured again"
        return dataclasses.replace(first, details=(*first.details, seen))
    why = "build lottery: another build did not regress" if rebuilt else "not seen again in fresh probes"
    return dataclasses.replace(first, status="inconclusive", text=f"{first.text} ({why})")


def clock_ratio(question: RegressionQuestion, new: Sequence[Samples], old: Sequence[Samples]) -> float | None:
    """New over old in clock cycles (time times SM clock, medians over blocks); None where the clock was not read."""
    cycles = []
    for side in (new, old):
        blocks = [block for samples in side for block in samples.blocks if block.state.get("sm_mhz")]
        if not blocks:
            return None
        cycles.append(stats.median([math.exp(_log_median(question, b)) * b.state["sm_mhz"] for b in blocks]))
    return cycles[0] / cycles[1]


_WIDEST = 300.0
"""Where the log of a ratio ends that is told: beyond it are figures that were made up, and soon what no float holds."""


def _share(value: float, digits: int = 3) -> str:
    """A share in per cent."""
    return f"{100 * value:.{digits}g} %"


def _log_median(question: RegressionQuestion, block: Block) -> float:
    return math.log(stats.median(block.times[question.figure]))


def _worse(question: RegressionQuestion, found: stats.Interval) -> stats.Interval:
    """The interval of how much worse it is: of throughput, how much lower."""
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
    """Whether more blocks may yet show that what is no slower is faster by more than the tolerance. Where the middle is
    within half of that they will hardly."""
    found, limit = _worse(question, found), math.log1p(question.tolerance)
    return found.low < -limit and found.center < -limit / 2


def verdict_from_interval(question: RegressionQuestion, found: stats.Interval, details: tuple[str, ...]) -> Verdict:
    """What the interval `found` of log(new / old) answers to the question; `details` come first among the verdict's."""
    status = _status(question, found)
    known = found.low > -_WIDEST and found.high < _WIDEST
    ratio = Estimate(math.exp(found.center), math.exp(found.low), math.exp(found.high)) if known else None
    # how fine it looked is said where nothing was seen: a regression ends the sampling as soon as it is plain
    unseen = known and status in ("ok", "inconclusive")
    resolution = math.expm1(found.center - found.low) if unseen else None
    shown = "too few blocks" if math.isinf(found.low) or math.isinf(found.high) else "beyond any measure"
    if ratio is not None:
        shown = f"{100 * ratio.value - 100:+.1f} % [{100 * ratio.low - 100:+.1f}, {100 * ratio.high - 100:+.1f}]"
    text = f"{FIGURES[question.figure].title} {status}: {shown}, tolerance {_share(question.tolerance)}"
    if resolution is not None:
        details = (*details, f"would see >= {_share(resolution, 2)}")
        if resolution > question.tolerance:
            details = (*details, f"the tolerance of {_share(question.tolerance)} is tighter than that")
    return Verdict(status, "baseline", question.figure, text, ratio=ratio, tolerance=question.tolerance,
                   resolution=resolution, details=details)  # fmt: skip
