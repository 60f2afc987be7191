"""Two runs of the past compared: what was measured then against what was measured at another time. Pure.

No engine takes turns with another here, so that the spread between runs is part of every interval.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import ALWAYS_FAIL, Measurement, Result, Verdict
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.judge.regression.changes import describe_changes
from pytest_trt.judge.regression.paired import RegressionQuestion
from pytest_trt.judge.regression.stored import judge_stored

RUN_SPREAD = {"gpu": 0.01, "cpu": 0.1}
"""How far two runs of one engine differ, as a share, where no history says better."""

Key = tuple[str, str]
"""A device and a test's node id."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tolerances:
    """How much worse a figure may be, as shares; `figures` are those that are compared."""

    max_slowdown: float = 0.05
    max_memory_growth: float = 0.05
    figures: tuple[str, ...] = ("ms", "memory_mb")

    def of(self, figure: str) -> float:
        return self.max_memory_growth if FIGURES[figure].unit == "MB" else self.max_slowdown


def compare_runs(old: Mapping[Key, Baseline], new: Mapping[Key, Result], tolerances: Tolerances) -> tuple[Result, ...]:
    """The results of `new`, each judged against `old`, and one for each test that is in `old` alone.

    A test that failed otherwise keeps those verdicts; one that was not measured again is `inconclusive`: nothing says
    that it is as good as before.
    """
    found = [_compared(old.get(key), result, tolerances) for key, result in new.items()]
    for (_, node_id), baseline in ((key, old[key]) for key in old if key not in new):
        text = f"it was measured on {baseline.time[:10]}, and not in the run that is compared with that"
        found.append(Result(node_id, (Verdict("inconclusive", "baseline", "", text),)))
    return tuple(found)


def _compared(old: Baseline | None, new: Result, tolerances: Tolerances) -> Result:
    carried = tuple(v for v in new.verdicts if v.basis != "baseline" and v.status in ALWAYS_FAIL)
    if new.measurement is not None:
        verdicts = (*carried, *_verdicts(old, new.measurement, tolerances))
    else:
        verdicts = carried or (Verdict("inconclusive", "run", "", "it has no measurement"),)
    return dataclasses.replace(new, verdicts=verdicts, baseline_time=old.time if old else None)


def _verdicts(old: Baseline | None, new: Measurement, tolerances: Tolerances) -> Iterator[Verdict]:
    if old is None:
        yield Verdict("new", "baseline", "", "only the newer run has this test")
        return
    kind = new.environment.kind
    compared = 0
    for figure in tolerances.figures:
        if figure not in new.figures or figure not in old.figures:
            continue
        compared += 1
        question = RegressionQuestion(figure=figure, tolerance=tolerances.of(figure), run_spread=RUN_SPREAD[kind])
        verdict = judge_stored(question, new.figures[figure], old)
        if verdict.status == "regressed":
            verdict = dataclasses.replace(verdict, details=(*verdict.details, *describe_changes(old, new)))
        yield verdict
    if not compared:
        named = ", ".join(tolerances.figures)
        yield Verdict("inconclusive", "baseline", "", f"both runs have none of {named}: name others with --figure")


def devices(keys: Iterable[Key]) -> str:
    """The devices that these tests ran on, for a person."""
    return ", ".join(sorted({device for device, _ in keys})) or "none"
