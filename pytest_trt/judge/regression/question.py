"""The question that a comparison answers, and the verdict that an interval or two exact values give.

question = RegressionQuestion(figure="ms", tolerance=0.05)
verdict = verdict_from_interval(question, interval, details=())
verdict = judge_exact("memory_mb", 628.0, 600.0, tolerance=0.05)
"""

from __future__ import annotations

import dataclasses
import math

from pytest_trt.core import stats
from pytest_trt.core.engine_noise import LONE_PAIR
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Estimate, Status, Verdict

_WIDEST_LOG_RATIO = 300.0
"""The log ratio beyond which no ratio is shown: such figures are not real, and their ratio soon exceeds a float."""

_BETTER = "better than the baseline's by more than the tolerance; only latency and sizes move the reference"


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
        place: The part of `open_order_effect` that is known: the expected log ratio of a single pair whose new side is
            opened first, for an engine that has not changed.
        lone_pair: How many times both count for a single pair of probes, without what is known of the effect. Nothing
            in one pair shows that they are larger than known, as they are for some engines; with a second pair, the
            difference of both shows it.
        run_spread: How far two runs on different days may differ, as a share; used if the sides are not paired.
        build_spread: How far two builds of one model may differ, as a share.
        inverse_of: The samples whose inverse is the figure: `ms` for the throughput of queries that follow one another.
    """

    figure: str = "ms"
    tolerance: float = 0.05
    alpha: float = 0.001
    beta: float = 0.001
    spread: float = 0.002
    open_order_effect: float = 0.0
    place: float = 0.0
    lone_pair: float = LONE_PAIR
    run_spread: float = 0.01
    build_spread: float = 0.01
    inverse_of: str = ""

    @property
    def series(self) -> str:
        """The name of the samples of a block that decide the question."""
        return self.inverse_of or self.figure


def verdict_from_interval(question: RegressionQuestion, found: stats.Interval, details: tuple[str, ...]) -> Verdict:
    """Return the verdict that an interval of log(new / old) gives.

    Args:
        question: The question to answer.
        found: The interval.
        details: The first details of the verdict; the resolution follows them.
    """
    status = status_of(question, found)
    known = found.low > -_WIDEST_LOG_RATIO and found.high < _WIDEST_LOG_RATIO
    ratio = Estimate(math.exp(found.center), math.exp(found.low), math.exp(found.high)) if known else None
    # A regression ends the sampling as soon as it is plain, so its resolution is coarse and not worth showing.
    unseen = known and status in ("ok", "inconclusive")
    resolution = math.expm1(found.center - found.low) if unseen else None
    shown = "too few blocks" if math.isinf(found.low) or math.isinf(found.high) else "the ratio is out of range"
    if ratio is not None:
        shown = f"{100 * ratio.value - 100:+.1f} % [{100 * ratio.low - 100:+.1f}, {100 * ratio.high - 100:+.1f}]"
    text = f"{FIGURES[question.figure].title} {status}: {shown}, tolerance {percent(question.tolerance)}"
    if resolution is not None:
        details = (*details, f"would see >= {percent(resolution, 2)}")
        if resolution > question.tolerance:
            details = (*details, f"the tolerance of {percent(question.tolerance)} is tighter than that")
    return Verdict(status, "baseline", question.figure, text, ratio=ratio, tolerance=question.tolerance,
                   resolution=resolution, details=details)  # fmt: skip


def judge_exact(figure: str, new: float, old: float, tolerance: float) -> Verdict:
    """Return the verdict of a figure without scatter, such as a size: the two values are compared as they are.

    Args:
        figure: The figure's name.
        new: The new value, in the figure's unit.
        old: The old value, in the figure's unit.
        tolerance: How much worse it may be, as a share.
    """
    ratio = _ratio(new, old)
    about, shown = FIGURES[figure], Estimate.exact(ratio) if math.isfinite(ratio) else None
    worse = _ratio(old, new) if about.higher_is_better else ratio
    status: Status = "regressed" if worse > 1 + tolerance else "improved" if worse < 1 - tolerance else "ok"
    text = f"{about.title} {status}: {new:g} {about.unit} against {old:g} {about.unit}, tolerance {percent(tolerance)}"
    return Verdict(status, "baseline", figure, text, ratio=shown, tolerance=tolerance, resolution=0.0)


def status_of(question: RegressionQuestion, found: stats.Interval) -> Status:
    """Return the status that an interval of log(new / old) gives."""
    found = _worse(question, found)
    limit = math.log1p(question.tolerance)
    if found.low > limit:
        return "regressed"
    if found.high < -limit:
        return "improved"
    return "ok" if found.high <= limit else "inconclusive"


def without_minor_improvement(verdict: Verdict) -> Verdict:
    """Return the verdict; the improvement of a figure that is neither the latency nor a size is `ok`."""
    if verdict.status != "improved" or verdict.figure == "ms" or FIGURES[verdict.figure].is_size:
        return verdict
    text = verdict.text.replace(" improved:", " ok:", 1)
    return dataclasses.replace(verdict, status="ok", text=text, details=(*verdict.details, _BETTER))


def may_be_improved(question: RegressionQuestion, found: stats.Interval) -> bool:
    """Return whether more blocks may yet show that an `ok` figure is better by more than the tolerance.

    That is unlikely while the interval's center is within half of the tolerance.
    """
    found, limit = _worse(question, found), math.log1p(question.tolerance)
    return found.low < -limit and found.center < -limit / 2


def percent(share: float, digits: int = 3) -> str:
    """Return a share as text in percent, with so many significant digits."""
    return f"{100 * share:.{digits}g} %"


def _worse(question: RegressionQuestion, found: stats.Interval) -> stats.Interval:
    """Return the interval of how much worse the figure is: for throughput, how much lower."""
    if FIGURES[question.figure].higher_is_better:
        return stats.Interval(-found.center, -found.high, -found.low)
    return found


def _ratio(one: float, other: float) -> float:
    return one / other if other else math.inf if one else 1.0
