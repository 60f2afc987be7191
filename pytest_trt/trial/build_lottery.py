"""The build lottery: builds of one model differ, and a verdict about one of them is not one about the model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from pytest_trt.core.records import Samples, Verdict
from pytest_trt.judge.regression import paired
from pytest_trt.trial.comparison import Comparison

Sides = Sequence[Sequence[Samples]]


@dataclasses.dataclass(frozen=True)
class Lottery:
    """How far builds differ: `spread` as shares by figure, said in `notes`. `verdict` is that of all builds together,
    where they were compared with a baseline's engine."""

    spread: Mapping[str, float] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    verdict: Verdict | None = None

    @classmethod
    def of(cls, comparison: Comparison, builds: Sequence[Sides], *, judged: bool) -> Lottery:
        """From the samplings of builds that took turns with one and the same engine: the baseline's (`judged`), or the
        first build, which then is one more at a ratio of 1."""
        question = comparison.question
        centers = [paired.compare_paired(question, new, old).center for new, old in builds]
        centers += [] if judged else [0.0]
        spread = math.expm1(max(centers) - min(centers))
        note = f"{len(centers)} builds differ by {100 * spread:.2g} % in latency"
        verdict = paired.judge_builds(question, builds) if judged else None
        return cls({"ms": spread}, (note,), verdict)

    def weighed(self, verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
        """The verdicts, with that of all builds in place of the one build's."""
        if self.verdict is None:
            return tuple(verdicts)
        return tuple(
            self.verdict if (v.basis, v.figure) == (self.verdict.basis, self.verdict.figure) else v for v in verdicts
        )
