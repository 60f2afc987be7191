"""The build lottery: builds of one model differ, so a verdict about one build is not a verdict about the model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from pytest_trt.core.records import Samples, Verdict
from pytest_trt.judge.regression import paired
from pytest_trt.judge.regression.question import RegressionQuestion

Sides = Sequence[Sequence[Samples]]


@dataclasses.dataclass(frozen=True)
class BuildLottery:
    """A frozen record of how far builds of one model differ.

    Attributes:
        spread: By figure, how far the builds differ, as a share.
        notes: The same as sentences for the report.
        verdict: The verdict of all builds together; None if they were not compared with a baseline's engine.
    """

    spread: Mapping[str, float] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    verdict: Verdict | None = None

    @classmethod
    def of(cls, question: RegressionQuestion, builds: Sequence[Sides], *, judged: bool) -> BuildLottery:
        """Return the lottery of builds that each took turns with one and the same engine.

        Args:
            question: The question that each pair answers.
            builds: For each build, the blocks of both sides.
            judged: Whether the other engine was the baseline's. If not, it was the first build, which then counts as
                one more build at a ratio of 1.
        """
        centers = [paired.compare_paired(question, new, old).center for new, old in builds]
        centers += [] if judged else [0.0]
        spread = math.expm1(max(centers) - min(centers))
        note = f"{len(centers)} builds differ by {100 * spread:.2g} % in latency"
        verdict = paired.judge_builds(question, builds) if judged else None
        return cls({"ms": spread}, (note,), verdict)

    def replace_verdict(self, verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
        """Return the verdicts, with the verdict of all builds in place of the first build's."""
        if self.verdict is None:
            return tuple(verdicts)
        mine = self.verdict
        return tuple(mine if (v.basis, v.figure) == (mine.basis, mine.figure) else v for v in verdicts)
