"""Walk all stages for one test: engine, measurement, verdicts, confirmation, explanation. Without pytest.

with Trial(bench, node_id, declaration, folders, baselines) as trial:
    outputs = trial(inputs)
    measurement = trial.measure()
    result = trial.finish()
"""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.core.backends import BACKENDS
from pytest_trt.core.figures import ON_REQUEST
from pytest_trt.core.records import Measurement, Result, Verdict
from pytest_trt.core.stored_output import StoredOutput
from pytest_trt.engine.provide import ProvidedEngine
from pytest_trt.errors import DeclarationError
from pytest_trt.measure.engine_probe import Subject
from pytest_trt.measure.figures import split_supported
from pytest_trt.measure.gpu_state import power_notes
from pytest_trt.measure.run import MeasuredRun
from pytest_trt.measure.sampler import Limits
from pytest_trt.measure.stopping import FixedTime
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.description import description_digest
from pytest_trt.trial.accuracy_check import AccuracyCheck
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.budget_verdicts import budget_limits, budget_verdicts
from pytest_trt.trial.build_lottery import BuildLottery
from pytest_trt.trial.caller_arrays import take_measured_inputs
from pytest_trt.trial.case import Case
from pytest_trt.trial.choose_comparison import EngineUnderTest, choose_baseline, choose_revision
from pytest_trt.trial.comparison import Comparison, ComparisonTerms
from pytest_trt.trial.confirm import confirm_verdicts
from pytest_trt.trial.energy import needs_energy, with_energy_verdicts
from pytest_trt.trial.layer_check import layer_verdicts
from pytest_trt.trial.measuring import ConfirmedRun, MeasuringDevice, measure_and_confirm
from pytest_trt.trial.missing_measurement import missing_measurement
from pytest_trt.trial.revision_engine import engine_on_host
from pytest_trt.trial.shown_reference import with_reference

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays
    from pytest_trt.judge.baselines import BaselineFolder
    from pytest_trt.trial.against.revision import Revision


class Trial(Case):
    """A test's runner: a case that is measured and judged once.

    Every TrtError that its parts raise passes through.

    Args:
        bench: The resources of the run.
        node_id: The test.
        declaration: What the test declares.
        folders: Where relative paths are looked for, in this order.
        baselines: The stored baselines to compare with; None for no comparison.
        revision: The git revision to compare with instead.
        is_gone: Whether a test certainly no longer exists, by its node id: its baseline may be that of a renamed test.
    """

    def __init__(
        self,
        bench: Bench,
        node_id: str,
        declaration: Declaration,
        folders: Sequence[Path],
        baselines: BaselineFolder | None = None,
        revision: Revision | None = None,
        is_gone: Callable[[str], bool] = lambda node_id: False,
    ) -> None:
        super().__init__(bench, node_id, declaration, folders)
        self._revision, self._is_gone = revision, is_gone
        self._baselines = baselines if revision is None else None
        self._accuracy = AccuracyCheck(self, bench, node_id, folders, self._baselines)
        self.result: Result | None = None
        self._error: Exception | None = None
        self._ended = False

    def measure(self, inputs: Mapping[str, Any] | None = None) -> Measurement:
        """Measure the engine alone in a fresh probe, and judge it; a failing verdict fails the test after its body.

        Args:
            inputs: Arrays by input name to measure on; None to generate them from the spec's seed.

        Returns:
            The measurement, with every figure and its interval.

        Raises:
            DeclarationError: The test has measured already, or its body has ended.
            InputError: The inputs do not fit the engine, or hold NaN.
        """
        if self._ended:
            raise DeclarationError("measure() was called after the test was judged: call it in its body, or before")
        try:
            return self._on_host(lambda: self._measure(inputs))
        except Exception as error:  # any error: a test that catches it must not pass because of that
            self._error = error
            raise

    def _measure(self, inputs: Mapping[str, Any] | None) -> Measurement:
        if inputs is not None:
            inputs = take_measured_inputs(inputs, self.spec, self.state, self.shapes)
        if self.result is not None:
            raise DeclarationError("measure() was called twice in one test: a test has one measurement; parametrise it")
        started = time.perf_counter()
        self.close()
        tested = self._engine_under_test(inputs)
        comparison = self._comparison(tested)  # may wait for another build, which waits for the device's lock
        with self._device.exclusively():
            found, comparison = self._measure_and_confirm(tested, comparison)
            accurate, outputs = self._accuracy.judge(found.run, comparison.baseline)
            verdicts = (*found.verdicts, *accurate, *self._device.invalid_verdicts(found.run))
        verdicts = self._confirm_in_another_build(verdicts, tested, comparison)
        verdicts = self._accuracy.trace(verdicts, found.run)
        lottery = self._build_lottery(tested, found.run, comparison)
        measurement = self._measurement(tested, found, comparison, lottery, outputs)
        verdicts = lottery.replace_verdict(verdicts)
        if found.again is not None:
            verdicts = comparison.explain(verdicts, measurement, found.again, self._baselines)
        self.result = Result(
            node_id=self._node_id,
            verdicts=verdicts,
            measurement=measurement,
            baseline_time=comparison.baseline_time,
            built_s=tested.engine.build_s if tested.engine.built else None,
            seconds=time.perf_counter() - started,
            parts_s=found.run.parts_s,
        )
        if self._bench.settings.shows_reference:
            self.result = with_reference(self.result, comparison, found, self._baselines)
        return measurement

    @cached_property
    def _device(self) -> MeasuringDevice:
        return MeasuringDevice(self._bench, self.environment, description_digest(self.description)[:16])

    def _engine_under_test(self, inputs: Arrays | None) -> EngineUnderTest:
        engine = self.engine
        return EngineUnderTest(
            node_id=self._node_id,
            model=self.model.path,
            engine=engine,
            subject=self.subject(engine, inputs),
            environment=self.environment,
            description=self.description,
        )

    def _comparison(self, tested: EngineUnderTest) -> Comparison:
        """Return how the engine is compared with its baseline, or with the engine of a git revision."""
        terms = ComparisonTerms.of(
            self.declaration.tolerance, self._bench.settings, self._device.spread, self.environment
        )
        if self._revision is not None:
            locate = partial(engine_on_host, self._bench, self.environment, self._node_id)
            return choose_revision(self._revision, tested, terms, locate)
        return choose_baseline(self._baselines, tested, terms, self._host.engines, self._is_gone)

    def _measure_and_confirm(self, tested: EngineUnderTest, comparison: Comparison) -> tuple[ConfirmedRun, Comparison]:
        """Measure, judge, and confirm what fails; return also the comparison with the figures of the other engine."""
        requested, completed = self._accuracy.requested_inputs(), comparison

        def measure(failing: Sequence[Verdict]) -> MeasuredRun:
            return self._run(
                tested.engine,
                tested.subject,
                completed,
                profile_layers=bool(failing),
                requested_inputs=None if failing else requested,
                confirming=bool(failing),
                energy=needs_energy(failing),
                phase="confirming" if failing else "measuring",
            )

        def judge(run: MeasuredRun) -> tuple[Verdict, ...]:
            nonlocal completed
            completed = completed.with_measurements(run.other_figures)
            return self._verdicts(run, completed)

        return measure_and_confirm(measure, judge), completed

    def _confirm_in_another_build(
        self, verdicts: tuple[Verdict, ...], tested: EngineUnderTest, comparison: Comparison
    ) -> tuple[Verdict, ...]:
        """Return the verdicts; a regression of an engine that this run built must show in another build too.

        A backend that runs the model itself has no build lottery: its engine is not built again.
        """
        has_lottery = tested.engine.built and not BACKENDS[self.backend].runs_model
        regressed = {verdict.figure for verdict in verdicts if verdict.status == "regressed"}
        if not (has_lottery and regressed):
            return verdicts
        another = self.build_again()  # may wait for another build, which waits for the device's lock
        with self._device.exclusively(wait=False):
            subject, energy = self.subject(another, tested.subject.inputs), not regressed.isdisjoint(ON_REQUEST)
            run = self._run(another, subject, comparison, energy=energy)
        return confirm_verdicts(verdicts, self._verdicts(run, comparison), rebuilt=True)

    def _build_lottery(self, tested: EngineUnderTest, run: MeasuredRun, comparison: Comparison) -> BuildLottery:
        """Build the rest of --trt-builds, and pair each with the baseline's engine, or else with the first build."""
        if self._bench.settings.builds == 1:
            return BuildLottery()
        builds = [self.build_again() for _ in range(self._bench.settings.builds - 1)]
        others = [build for build in builds if build.plan_sha256 != tested.engine.plan_sha256]
        if not others:
            return BuildLottery(notes=(f"{len(builds) + 1} builds gave one and the same plan",))
        has_baseline = comparison.mode == "paired"
        paired = comparison if has_baseline else comparison.paired_with(tested.subject)
        with self._device.exclusively(wait=False):
            runs = [self._run(build, dataclasses.replace(tested.subject, plan=build.plan), paired) for build in others]
        first = [run.sampling.sides] if has_baseline else []
        return BuildLottery.of(paired.question, [*first, *(r.sampling.sides for r in runs)], judged=has_baseline)

    def _run(
        self,
        engine: ProvidedEngine,
        new: Subject,
        comparison: Comparison,
        *,
        profile_layers: bool = False,
        requested_inputs: Arrays | None = None,
        confirming: bool = False,
        energy: bool = False,
        phase: str = "confirming in another build",
    ) -> MeasuredRun:
        settings, server = self._bench.settings, self._bench.server(self.backend, self.environment)
        budgets = budget_limits(self.declaration, self.environment)
        rule = comparison.rule(budgets, settings.resolution, self.batch, settings.builds, reversed_opening=confirming)
        limits = None
        needs_layers = settings.keeps_layers or self.declaration.layers is not None
        if settings.disabled:
            rule, limits = FixedTime(0.0), Limits(min_time_s=0.0, max_time_s=0.0)
        run = self._device.measure(
            [(server, subject) for subject in (new, comparison.other) if subject is not None],
            rule,
            batch=self.batch,
            limits=limits,
            profile_layers=profile_layers or needs_layers,
            measure_other_side=comparison.measures_other,
            requested_inputs=requested_inputs,
            confirming=confirming,
            budgets=None if settings.disabled else budgets,
            energy=comparison.energy_rule(budgets, settings) if energy and not settings.disabled else None,
            phase=phase,
        )
        return dataclasses.replace(run, figures={**run.figures, **engine.figures})

    def _verdicts(self, run: MeasuredRun, comparison: Comparison) -> tuple[Verdict, ...]:
        """Judge the budgets, then the baseline."""
        if self._bench.settings.disabled:
            return ()
        within_budgets = budget_verdicts(self.declaration, self.environment, run.figures, run.samples)
        layers = layer_verdicts(self.declaration.layers, run, comparison, self._baselines, self.backend)
        return with_energy_verdicts((*within_budgets, *comparison.verdicts(run), *layers), run.energy)

    def _measurement(
        self,
        tested: EngineUnderTest,
        found: ConfirmedRun,
        comparison: Comparison,
        lottery: BuildLottery,
        outputs: Mapping[str, StoredOutput],
    ) -> Measurement:
        engine, run = tested.engine, found.run
        profiles = (found.again.profiles if found.again is not None else ()) or run.profiles
        if not self._bench.settings.exports_layers:
            profiles = tuple(dataclasses.replace(profile, inspected={}) for profile in profiles)
        figures, unsupported = (run.figures, {}) if self._bench.settings.disabled else split_supported(run.figures)
        return Measurement(
            node_id=self._node_id,
            environment=self.environment,
            figures=figures,
            unsupported=unsupported,
            spec=tested.description,
            spec_digest=tested.spec_digest,
            engine_digest=engine.digest,
            plan_sha256=engine.plan_sha256,
            proof={
                **run.proof,
                **{f"{name} layers": f"{share:.0%}" for name, share in engine.precisions.items()},
                **(self._bench.gpu(self.environment) or self._host.cpu).proof(run.states),
            },
            built=engine.built,
            warm_up_s=run.sampling.warm_up_s,
            measured_s=run.sampling.seconds,
            time=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            samples=run.sampling.sides[0],
            profile=profiles[0] if profiles else None,
            notes=(*engine.notes, *self.environment.notes, *comparison.notes, *power_notes(run.states), *lottery.notes),
            build_spread=lottery.spread,
            outputs=outputs,
            step_ms=run.generation.step_ms if run.generation is not None else {},
        )

    def finish(self) -> Result | None:
        """End the test's body and return its result; None if it neither measured nor had to.

        Raises:
            BaselineError: A baseline cannot be read.
        """
        self._ended = True
        if self.result is None and not self._bench.settings.disabled and (text := self._missing_measurement()):
            self.result = Result(self._node_id, (Verdict("error", "run", "", text),))
        return self.result

    def _missing_measurement(self) -> str:
        if self._error is not None:
            return f"measure() failed, but the test continued: nothing was judged ({self._error})"
        from pytest_trt.judge.baselines import device_slug

        stored = self._baselines is not None and self._baselines.load(self._node_id, device_slug(self.environment))
        return missing_measurement(self.declaration, stored=bool(stored))
