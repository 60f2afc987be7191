"""Is it slower than before? Ratios of new to old, with intervals, judged against a tolerance.

    question = Question(figure="ms", tolerance=0.05, spread=0.002)        # spread=0: the source has no probe level
    sampling = sample(source, PairedRule(question), limits)               # side 0 is new, side 1 old
    verdict = judge_paired(question, *sampling.sides)

    verdict = confirmed(verdict, again)                                   # again: the question, asked once more
    verdict = judge_unpaired(question, new, runs)                         # runs: block medians of the stored last runs
    verdict = judge_exact("memory_mb", 628.0, 600.0, tolerance=0.05)

`judge_paired` of the blocks that a rule has seen says what the rule itself decided: both ask `compare_paired`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from pytest_trt import stats
from pytest_trt.records import FIGURES, Block, Estimate, Samples, Status, Verdict


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """Is `figure` worse by more than `tolerance` (a share)?

    `alpha` is the error of `regressed`, `beta` that of `ok` and `improved`. `spread` is how far two probes of one plan
    may differ as calibrations show it (a share: 0.002 on a GPU, 0.1 on a CPU, until there are any), 0 where the source
    of the blocks has no probe level; `run_spread` the same for two runs on different days, for unpaired questions.
    """

    figure: str = "ms"
    tolerance: float = 0.05
    alpha: float = 0.001
    beta: float = 0.001
    spread: float = 0.002
    run_spread: float = 0.01


def compare_paired(question: Question, pairs: Sequence[Sequence[float]], step: float = 0.0) -> stats.Interval:
    """The interval of log(new / old) from log ratios of blocks taken in turn, one sequence for each pair of probes.
    `step` is the timer's resolution (a share), which no number of blocks improves on."""
    return stats.location(pairs, question.spread, question.alpha, question.beta).widened(step, step)


def log_ratios(question: Question, new: Sequence[Samples], old: Sequence[Samples]) -> list[list[float]]:
    """Log of new over old of the k-th blocks of each pair of probes. Raises ValueError where the sides do not pair."""
    if len(new) != len(old):
        raise ValueError(f"{len(new)} probes cannot be paired with {len(old)}: sample both sides in turn")
    return [
        [_log_median(question, a) - _log_median(question, b) for a, b in zip(ours.blocks, theirs.blocks)]  # noqa: B905
        for ours, theirs in zip(new, old, strict=True)
    ]


class PairedRule:
    """Stops a paired sampling when its question is decided."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self.start(2)

    def start(self, sides: int) -> None:
        self._medians: tuple[list[list[float]], list[list[float]]] = ([], [])
        self._pairs: list[list[float]] = []
        self._step = math.inf
        self._interval = stats.Interval(math.nan, -math.inf, math.inf)

    def add(self, side: int, probe: int, block: Block) -> None:
        for of_side in self._medians:
            while len(of_side) <= probe:
                of_side.append([])
        while len(self._pairs) <= probe:
            self._pairs.append([])
        self._medians[side][probe].append(_log_median(self._question, block))
        self._step = min(self._step, _timer_step(self._question, block))
        new, old = self._medians[0][probe], self._medians[1][probe]
        pairs = self._pairs[probe]
        if len(pairs) < min(len(new), len(old)):
            pairs.append(new[len(pairs)] - old[len(pairs)])
            if stats.looks_at(sum(map(len, self._pairs))):
                self._interval = compare_paired(self._question, self._pairs, _finite(self._step))

    def finished(self) -> str:
        status = _status(self._question, self._interval)
        return "" if status == "inconclusive" else f"decided: {status}"

    def wants_probe(self) -> bool:
        """Whether the probes' spread is more than half of what the interval is wide, and it is undecided."""
        if self.finished() or not math.isfinite(self._interval.low) or not self._question.spread:
            return False
        inner = stats.interval([x for pairs in self._pairs for x in pairs], self._question.alpha, self._question.beta)
        return (inner.high - inner.low) < (self._interval.high - self._interval.low) / 2


def judge_paired(question: Question, new: Sequence[Samples], old: Sequence[Samples]) -> Verdict:
    """The verdict of blocks taken in turn: `regressed`, `improved`, `ok` or `inconclusive`."""
    pairs = log_ratios(question, new, old)
    seconds = sum(block.seconds for side in (new, old) for samples in side for block in samples.blocks)
    blocks = sum(map(len, pairs))
    basis = f"judged engine against engine: {len(new)} probes x {blocks} blocks a side, {seconds:.1f} s"
    cycles = clock_ratio(question, new, old)
    details = (basis,) if cycles is None else (basis, f"in clock cycles {cycles - 1:+.2%} (information only)")
    step = min(_timer_step(question, block) for side in (new, old) for samples in side for block in samples.blocks)
    return _verdict(question, compare_paired(question, pairs, _finite(step)), details)


def judge_unpaired(question: Question, new: Sequence[Samples], runs: Sequence[Sequence[float]]) -> Verdict:
    """The verdict against stored runs, oldest first, each the block medians of one run in the figure's unit.

    The spread between runs is what the runs show, pooled with `run_spread`; that of blocks comes on top.
    """
    blocks = [_log_median(question, block) for samples in new for block in samples.blocks]
    ours = stats.interval(blocks, question.alpha, question.beta)
    means = [math.log(stats.median(run)) for run in runs if len(run)]
    if not means:
        raise ValueError("no stored run to compare with")
    center = ours.center - sum(means) / len(means)
    grow = math.sqrt(len(means) + 1)  # one new run against the mean of n stored: a variance of 1 + 1 / n, not 1 / n
    below = stats.level_margin(means, question.run_spread, question.alpha) * grow
    above = stats.level_margin(means, question.run_spread, question.beta) * grow
    shift = center - ours.center
    found = stats.Interval(center, ours.low + shift, ours.high + shift).widened(below, above)
    return _verdict(question, found, (f"judged against {len(means)} stored runs, not engine against engine",))


def judge_exact(figure: str, new: float, old: float, tolerance: float) -> Verdict:
    """The verdict of a figure without scatter, such as a size: compared as it is."""
    ratio = new / old if old else (1.0 if not new else math.inf)
    worse = old / new if FIGURES[figure].higher_is_better and new else ratio
    status: Status = "regressed" if worse > 1 + tolerance else "improved" if worse < 1 - tolerance else "ok"
    about = FIGURES[figure]
    text = f"{about.title} {status}: {new:g} {about.unit} against {old:g} {about.unit}, tolerance {tolerance:.3g}"
    return Verdict(status, "baseline", figure, text, ratio=Estimate.exact(ratio), tolerance=tolerance, resolution=0.0)


def confirmed(first: Verdict, again: Verdict, *, rebuilt: bool = False) -> Verdict:
    """A regression stands only when the second look, in fresh probes or at another build, sees it too."""
    if first.status != "regressed":
        return first
    if again.status == "regressed":
        return dataclasses.replace(first, details=(*first.details, "seen again when measured again"))
    why = "build lottery: another build did not regress" if rebuilt else "not seen again in fresh probes"
    return dataclasses.replace(first, status="inconclusive", text=f"{first.text} ({why})")


def clock_ratio(question: Question, new: Sequence[Samples], old: Sequence[Samples]) -> float | None:
    """New over old in clock cycles (time times SM clock, medians over blocks); None where the clock was not read."""
    cycles = []
    for side in (new, old):
        blocks = [block for samples in side for block in samples.blocks if block.state.get("sm_mhz")]
        if not blocks:
            return None
        cycles.append(stats.median([math.exp(_log_median(question, b)) * b.state["sm_mhz"] for b in blocks]))
    return cycles[0] / cycles[1]


def _log_median(question: Question, block: Block) -> float:
    return math.log(stats.median(block.times[question.figure]))


def _timer_step(question: Question, block: Block) -> float:
    return stats.timer_step(block.times[question.figure]) or math.inf  # a block of equal samples says nothing of it


def _finite(step: float) -> float:
    return step if math.isfinite(step) else 0.0


def _status(question: Question, found: stats.Interval) -> Status:
    if FIGURES[question.figure].higher_is_better:
        found = stats.Interval(-found.center, -found.high, -found.low)
    limit = math.log1p(question.tolerance)
    if found.low > limit:
        return "regressed"
    if found.high < -limit:
        return "improved"
    return "ok" if found.high <= limit else "inconclusive"


def _verdict(question: Question, found: stats.Interval, details: tuple[str, ...]) -> Verdict:
    status = _status(question, found)
    known = math.isfinite(found.low) and math.isfinite(found.high)
    ratio = Estimate(math.exp(found.center), math.exp(found.low), math.exp(found.high)) if known else None
    resolution = math.expm1(found.center - found.low) if known else None
    shown = f"{ratio.value - 1:+.1%} [{ratio.low - 1:+.1%}, {ratio.high - 1:+.1%}]" if ratio else "too few blocks"
    text = f"{FIGURES[question.figure].title} {status}: {shown}, tolerance {question.tolerance:.3g}"
    if resolution is not None:
        details = (*details, f"would see >= {resolution:.1%}")
        if resolution > question.tolerance:
            details = (*details, f"the tolerance of {question.tolerance:.1%} is tighter than that")
    return Verdict(status, "baseline", question.figure, text, ratio=ratio, tolerance=question.tolerance,
                   resolution=resolution, details=details)  # fmt: skip
