"""How a test is compared with its baseline: which way there is, what it asks of the sampling, and its verdicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_trt.engine.provider import Provided
from pytest_trt.judge import budgets, compare
from pytest_trt.measure.figures import SPREAD
from pytest_trt.measure.probe_source import Subject
from pytest_trt.measure.stopping import AllOf, Resolution, Rule
from pytest_trt.probe.client import ProbeServer
from pytest_trt.records import FIGURES, Environment, Estimate, Samples, Verdict
from pytest_trt.spec import Declaration

if TYPE_CHECKING:
    from pytest_trt.baselines import BaselineFolder
    from pytest_trt.bench import Bench

_BLOCK_FIGURES = frozenset(("ms", "gpu_ms", "p95_ms", "p99_ms"))


@dataclasses.dataclass(frozen=True)
class Comparison:
    other: tuple[tuple[ProbeServer, Subject], ...] = ()
    spread: float = 0.1
    time: str | None = None

    @classmethod
    def choose(cls, baselines, node_id, engine, environment, declaration, bench) -> Comparison:
        return cls(spread=SPREAD[environment.kind])

    def rule(self, limits: Mapping[str, float], resolution: float) -> Rule:
        asked = {name: limit for name, limit in limits.items() if name in _BLOCK_FIGURES}
        rules: list[Rule] = []
        if asked:
            rules.append(budgets.LimitRule(asked, spread=self.spread))
        if not rules:
            rules.append(Resolution("ms", resolution))
        return AllOf(rules)

    def verdicts(self, sides, figures) -> tuple[Verdict, ...]:
        return ()


def confirmed(first, again, *, rebuilt=False):
    return first
