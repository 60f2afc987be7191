"""The comparison of a test with its baseline: the rule that ends the sampling, and the verdicts."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pytest_trt.core.engine_noise import LONE_PAIR
from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Environment, Estimate, LayerProfile, Measurement, Samples, Verdict
from pytest_trt.judge import budgets
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.judge.regression import paired
from pytest_trt.judge.regression.changes import describe_changes
from pytest_trt.judge.regression.offline import RUN_SPREAD
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.measure.engine_probe import Subject
from pytest_trt.measure.run import MeasuredRun
from pytest_trt.measure.stopping import AllOf, Resolution, Rule
from pytest_trt.spec.expectations import Tolerance
from pytest_trt.spec.gates import OWN_SETTINGS, Gate, choose_gates
from pytest_trt.spec.settings import Settings
from pytest_trt.trial import gated_figures
from pytest_trt.trial.energy import energy_rule
from pytest_trt.trial.explain import EngineCosts, explain_slowdown
from pytest_trt.trial.probe_spread import ProbeSpread

if TYPE_CHECKING:
    from pytest_trt.judge.baselines import BaselineFolder

ComparisonMode = Literal["off", "absent", "identical", "paired", "stored"]
"""No comparison is requested; there is no baseline; the engine is the baseline's; both engines take turns; the new
engine is compared with the stored figures."""

BUILD_SPREAD = 0.01
"""How far two builds of one model may differ, as a share, until --trt-builds has measured it."""

REBUILT = "build lottery: the baseline's model and options, in another build; --trt-builds=3 judges three together"

NARROWED_BY_BLOCKS = frozenset(("ms", "gpu_ms", "p95_ms", "p99_ms", "enqueue_ms", "throughput"))
"""Figures whose interval narrows with more blocks. The throughput of queries that overlap has windows instead."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparisonTerms:
    """A frozen record of what a comparison allows, and of how far probes differ by themselves.

    Attributes:
        gates: The figures that are compared, by name.
        tolerance: The test's own `trt_regression`, with its quarantine.
        spread: How far two probes of one plan differ on this device.
        environment: The device, and the card among those of its name.
    """

    gates: Mapping[str, Gate]
    tolerance: Tolerance
    spread: ProbeSpread
    environment: Environment

    @classmethod
    def of(
        cls, tolerance: Tolerance, settings: Settings, spread: ProbeSpread, environment: Environment
    ) -> ComparisonTerms:
        """Return the terms of a test: its own tolerances, else those of the settings."""
        declared = {figure: getattr(tolerance, own) for figure, own in OWN_SETTINGS.items()}
        by_settings = {name: share for name, share in settings.gates if declared.get(name) is None}
        own = {
            figure: getattr(settings, name) if declared[figure] is None else declared[figure]
            for figure, name in OWN_SETTINGS.items()
        }
        gates = choose_gates({**by_settings, **tolerance.gates}, own)
        return cls(gates=gates, tolerance=tolerance, spread=spread, environment=environment)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """A frozen record of how one engine is compared.

    Attributes:
        mode: The kind of comparison.
        terms: What the comparison allows.
        baseline: What the engine is compared with; None if there is nothing.
        other: The baseline's engine, if the two take turns.
        absence: The verdict if there is no baseline.
        since: The name of the baseline in sentences that say what changed since then.
        rebuilt: Whether this engine is another build of the baseline's model and options; the verdict then names the
            build lottery.
        notes: What a reader of the report should know about the baseline.
    """

    mode: ComparisonMode
    terms: ComparisonTerms
    baseline: Baseline | None = None
    other: Subject | None = None
    absence: Verdict | None = None
    since: str = "the baseline"
    rebuilt: bool = False
    notes: tuple[str, ...] = ()

    def paired_with(self, other: Subject) -> Comparison:
        """Return the same comparison, with another engine to take turns with."""
        return dataclasses.replace(self, mode="paired", other=other)

    def with_measurements(self, others: Mapping[str, Estimate]) -> Comparison:
        """Return the comparison with the figures of the other engine: those of a git revision are measured only now."""
        if self.baseline is None or not self.measures_other:
            return self
        figures = {**others, **self.baseline.figures}
        return dataclasses.replace(self, baseline=dataclasses.replace(self.baseline, figures=figures))

    @property
    def measures_other(self) -> bool:
        """Whether the other engine's figures are not known yet (see `with_measurements`)."""
        return self.baseline is not None and "ms" not in self.baseline.figures

    @property
    def baseline_time(self) -> str | None:
        """When the baseline was saved, in ISO 8601."""
        return self.baseline.time if self.baseline is not None else None

    @property
    def question(self) -> RegressionQuestion:
        """Whether `ms` is worse than the baseline's by more than the tolerance."""
        return self.question_of("ms")

    def energy_rule(self, limits: Mapping[str, float], settings: Settings) -> Rule | None:
        """Return the rule that ends the windows of energy; None if nothing requests them (see `energy.energy_rule`)."""
        question = self.question_of if self.mode == "paired" else None
        return energy_rule(limits, self.terms.gates.values(), question, always=settings.energy)

    def question_of(self, figure: str, *, reversed_opening: bool = False) -> RegressionQuestion:
        """Return the question whether a figure is worse than the baseline's by more than its tolerance.

        Args:
            figure: The name of the figure.
            reversed_opening: Whether the probes are opened in the opposite order.
        """
        spread, gate = self.terms.spread, self.terms.gates.get(figure)
        build_spread = self.baseline.build_spread if self.baseline else {}
        return RegressionQuestion(
            figure=figure,
            tolerance=gate.tolerance if gate else FIGURES[figure].tolerance or 0.0,
            spread=spread.share,
            open_order_effect=spread.open_order_effect,
            place=(-spread.place if reversed_opening else spread.place) if figure == "ms" else 0.0,
            lone_pair=spread.lone_pair if figure == "ms" else LONE_PAIR,
            run_spread=RUN_SPREAD[self.terms.environment.kind],
            build_spread=build_spread.get(figure, BUILD_SPREAD),
        )

    def rule(
        self,
        limits: Mapping[str, float],
        resolution: float,
        batch: int,
        builds: int = 1,
        *,
        reversed_opening: bool = False,
    ) -> Rule:
        """Return the rule that decides when there are enough blocks.

        Every budget and the question of the baseline must be decided. With neither, the interval must be as narrow as
        `resolution`, or as a quarter of the spread between probes: more blocks of this probe would not make the
        latency of the next one any more certain.

        Args:
            limits: The budgets by figure.
            resolution: The half-width of the interval, as a share.
            batch: The number of inferences in a query.
            builds: How many builds are judged together.
            reversed_opening: Whether the probes are opened in the opposite order.
        """
        narrowed = {name: limit for name, limit in limits.items() if name in NARROWED_BY_BLOCKS}
        spread = self.terms.spread.share
        rules: list[Rule] = [budgets.LimitRule(narrowed, spread=spread, batch=batch)] if narrowed else []
        if self.mode == "paired" and "ms" in self.terms.gates:
            rules.append(paired.PairedRule(self.question_of("ms", reversed_opening=reversed_opening), builds))
        elif self.mode in ("stored", "absent") or narrowed.keys() <= {
            "throughput"
        }:  # a figure that is compared, now or later, needs a narrow interval
            rules.append(Resolution("ms", max(resolution, spread / 4)))
        gates = self.terms.gates.values()
        if self.mode == "paired":
            rules += gated_figures.rules_in_turn(gates, self.question_of)
        elif self.mode == "stored" and self.baseline is not None:
            rules += gated_figures.rules_with_stored(
                gates, self.question_of, self.baseline, self.terms.environment.card
            )
        return AllOf(rules)

    def verdicts(self, run: MeasuredRun) -> tuple[Verdict, ...]:
        """Return the verdict of every figure that is compared."""
        if self.absence is not None:
            return (self.absence,)
        if self.baseline is None:
            return ()
        if self.mode == "identical":
            text = "identical plan: nothing to compare"
            return (Verdict("ok", "baseline", "ms", text, tolerance=self.question.tolerance),)
        mode: Literal["paired", "stored"] = "paired" if self.mode == "paired" else "stored"
        card = self.terms.environment.card
        judged = [
            gated_figures.judge_gate(
                gate,
                self.question_of(gate.figure, reversed_opening=run.reversed_opening),
                self.baseline,
                run,
                mode,
                card,
            )
            for gate in self.terms.gates.values()
        ]
        return tuple(self.quarantine(self._with_notes(verdict)) for verdict in judged if verdict is not None)

    def _with_notes(self, verdict: Verdict) -> Verdict:
        """Return the verdict; that of the latency also has the notes about the builds and the probes."""
        if verdict.figure != "ms":
            return verdict
        notes = (REBUILT,) if self.rebuilt else ()
        if self.mode == "paired" and verdict.status == "inconclusive":
            notes = (*notes, *self.terms.spread.advice())
        return dataclasses.replace(verdict, details=(*verdict.details, *notes))

    def explain(
        self,
        verdicts: Sequence[Verdict],
        measurement: Measurement,
        again: MeasuredRun,
        folder: BaselineFolder | None,
    ) -> tuple[Verdict, ...]:
        """Return the verdicts; regressions also say what changed and which layers explain them.

        Args:
            verdicts: The confirmed verdicts.
            measurement: The test's measurement.
            again: The second measurement, with the new engine's layers and, if the two took turns, the old one's.
            folder: The baselines, whose stored layers stand in for the old engine's.
        """
        first = next((verdict for verdict in verdicts if verdict.status == "regressed"), None)
        if self.baseline is None or first is None:
            return tuple(verdicts)
        changed = describe_changes(self.baseline, measurement, since=self.since)
        new = EngineCosts(measurement.figures, *_side(again, 0))
        old = self._baseline_costs(self.baseline, again, folder)

        def explain(verdict: Verdict) -> Verdict:
            if verdict.status != "regressed":
                return verdict
            found = explain_slowdown(verdict, new, old)
            lines, causes = ((), ()) if found is None else (found.lines(), found.all_causes())
            changes = changed if verdict is first else ()  # shown once per test
            return dataclasses.replace(verdict, details=(*verdict.details, *lines, *changes), causes=causes)

        return tuple(map(explain, verdicts))

    @staticmethod
    def _baseline_costs(baseline: Baseline, again: MeasuredRun, folder: BaselineFolder | None) -> EngineCosts:
        if len(again.profiles) > 1:
            return EngineCosts(baseline.figures, *_side(again, 1))
        data = folder.data(baseline) if folder is not None else None
        return EngineCosts(baseline.figures, *((data.profile, data.samples) if data is not None else (None, ())))

    def quarantine(self, verdict: Verdict) -> Verdict:
        """Return a regression as `unenforced` until its quarantine ends."""
        tolerance = self.terms.tolerance
        if tolerance.enforce or tolerance.until is None:
            return verdict
        quarantine = f"quarantined until {tolerance.until}: {tolerance.reason}"
        if verdict.cards is not None and datetime.date.today() <= tolerance.until:
            verdict = dataclasses.replace(verdict, cards=dataclasses.replace(verdict.cards, quarantine=quarantine))
        if verdict.status != "regressed":
            return verdict
        if datetime.date.today() > tolerance.until:
            return dataclasses.replace(
                verdict, details=(*verdict.details, f"its quarantine ended on {tolerance.until}")
            )
        return dataclasses.replace(verdict, status="unenforced", text=f"{verdict.text}; {quarantine}")


def _side(run: MeasuredRun, number: int) -> tuple[LayerProfile | None, Sequence[Samples]]:
    """Return a side's layers and blocks."""
    profile = run.profiles[number] if len(run.profiles) > number else None
    return profile, run.sampling.sides[number]
