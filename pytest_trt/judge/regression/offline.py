"""Compare two runs that were measured at different times.

The engines were not measured in turn, so the spread between runs is part of every interval.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import ALWAYS_FAIL, Measurement, Result, Verdict
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.judge.regression.changes import describe_changes
from pytest_trt.judge.regression.question import RegressionQuestion, without_minor_improvement
from pytest_trt.judge.regression.stored import judge_stored
from pytest_trt.spec.gates import Gate, choose_gates

RUN_SPREAD = {"gpu": 0.01, "cpu": 0.1}
"""How far two runs of one engine may differ, as a share, if no history shows it."""

Key = tuple[str, str]
"""A device and a test's node id."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tolerances:
    """Which figures are compared, and how much worse they may be.

    Attributes:
        max_slowdown: How much slower a test may be, as a share.
        max_memory_growth: How much more device memory a test may use, as a share.
        requested: How much worse other figures may be, as shares by name. None means that a figure is not compared.
        figures: The names of the only figures that are compared; empty for those that are compared by default.
    """

    max_slowdown: float = 0.05
    max_memory_growth: float = 0.05
    requested: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    figures: tuple[str, ...] = ()

    def gates(self) -> tuple[Gate, ...]:
        """Return the figures that are compared. One that `figures` names has a tolerance by its unit."""
        own = {"ms": self.max_slowdown, "memory_mb": self.max_memory_growth}
        if not self.figures:
            return tuple(choose_gates(self.requested, own).values())
        by_unit = {name: own["memory_mb" if FIGURES[name].unit == "MB" else "ms"] for name in self.figures}
        named = {name: self.requested.get(name, share) for name, share in by_unit.items()}
        return tuple(choose_gates({**dict.fromkeys(FIGURES), **named}, {}).values())


def compare_runs(old: Mapping[Key, Baseline], new: Mapping[Key, Result], tolerances: Tolerances) -> tuple[Result, ...]:
    """Return a result for every test of either run, the newer run judged against the older one.

    A test that failed for another reason keeps those verdicts. A test that only the older run measured is
    `inconclusive`: nothing shows that it is as good as before.

    Args:
        old: The older run, as the reference of each test.
        new: The newer run's result of each test.
        tolerances: The figures to compare, and how much worse they may be.
    """
    found = [_compare(old.get(key), result, tolerances) for key, result in new.items()]
    for (_, node_id), baseline in ((key, old[key]) for key in old if key not in new):
        text = f"the older run measured it on {baseline.time[:10]}, but the newer run did not measure it"
        found.append(Result(node_id, (Verdict("inconclusive", "baseline", "", text),)))
    return tuple(found)


def _compare(old: Baseline | None, new: Result, tolerances: Tolerances) -> Result:
    carried = tuple(v for v in new.verdicts if v.basis != "baseline" and v.status in ALWAYS_FAIL)
    if new.measurement is not None:
        verdicts = (*carried, *_verdicts(old, new.measurement, tolerances))
    else:
        verdicts = carried or (Verdict("inconclusive", "run", "", "the newer run has no measurement of it"),)
    return dataclasses.replace(new, verdicts=verdicts, baseline_time=old.time if old else None)


def _verdicts(old: Baseline | None, new: Measurement, tolerances: Tolerances) -> Iterator[Verdict]:
    if old is None:
        yield Verdict("new", "baseline", "", "only the newer run has this test")
        return
    kind = new.environment.kind
    compared = False
    gates = tolerances.gates()
    for gate in gates:
        if gate.figure not in new.figures or gate.figure not in old.figures:
            if gate.figure in tolerances.requested:
                text = f"{FIGURES[gate.figure].title} ({gate.figure}) is not in both runs, so that it is not compared"
                yield Verdict("inconclusive", "baseline", gate.figure, text, tolerance=gate.tolerance)
            continue
        if gate.figure == "throughput" and not gate.requested and "gpu_ms" not in new.figures:
            continue  # Queries follow one another: throughput is the inverse of the latency, which is compared.
        compared = True
        question = RegressionQuestion(figure=gate.figure, tolerance=gate.tolerance, run_spread=RUN_SPREAD[kind])
        verdict = judge_stored(question, new.figures[gate.figure], old, new.environment.card)
        if gate.figure not in tolerances.figures:
            verdict = without_minor_improvement(verdict)
        if verdict.status == "regressed":
            verdict = dataclasses.replace(verdict, details=(*verdict.details, *describe_changes(old, new)))
        yield verdict
    if not compared:
        names = ", ".join(gate.figure for gate in gates)
        text = f"no figure is in both runs (looked for {names}): name others with --figure"
        yield Verdict("inconclusive", "baseline", "", text)


def devices(keys: Iterable[Key]) -> str:
    """Return the devices that these tests ran on, as text; `none` without tests."""
    return ", ".join(sorted({device for device, _ in keys})) or "none"
