"""One test's whole course: its engine, probes, sampling, confirmation, verdicts. Free of pytest.

with Trial(bench, node_id, declaration, folders, baselines) as trial:
    outputs = trial(inputs)
    measurement = trial.measure()
    result = trial.finish()
"""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core.records import Estimate, Measurement, Result, Verdict
from pytest_trt.engine.arrays import refuse_nan
from pytest_trt.engine.provide import ProvidedEngine
from pytest_trt.errors import DeclarationError
from pytest_trt.judge import budgets
from pytest_trt.measure import host_state
from pytest_trt.measure.engine_probe import Subject
from pytest_trt.measure.gpu_state import decode_reasons, slowdown_reasons
from pytest_trt.measure.run import MeasuredRun, measure_run
from pytest_trt.measure.sampler import Limits
from pytest_trt.measure.stopping import FixedTime
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.description import description_digest
from pytest_trt.trial.accuracy_check import Rightness
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.build_lottery import Lottery
from pytest_trt.trial.case import Case
from pytest_trt.trial.choose_comparison import choose, choose_revision
from pytest_trt.trial.comparison import Comparison, confirmed

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays
    from pytest_trt.judge.baselines import BaselineFolder
    from pytest_trt.trial.against.revision import Revision

WARM_UP_S = 3.0


class Trial(Case):
    """A test's runner: a case that is measured and judged. `finish` gives the result.

    Every TrtError that its parts raise passes through.
    """

    def __init__(
        self,
        bench: Bench,
        node_id: str,
        declaration: Declaration,
        folders: Sequence[Path],
        baselines: BaselineFolder | None = None,
        revision: Revision | None = None,
    ) -> None:
        super().__init__(bench, node_id, declaration, folders)
        self._revision = revision
        self._baselines = baselines if revision is None else None  # what is compared with a revision needs none
        self._right = Rightness(self, bench, node_id, folders, self._baselines)
        self.result: Result | None = None
        self._error: Exception | None = None
        self._over = False

    def measure(self, inputs: Arrays | None = None) -> Measurement:
        """Measure the engine alone in a fresh probe, and judge it. Without `inputs` they are drawn from the seed.

        The verdict fails the test after its body. Raises DeclarationError when called a second time, or once the
        body is over.
        """
        if self._over:
            raise DeclarationError("measure() was called after the test was judged: call it in its body, or before")
        try:
            return self._measure(inputs)
        except Exception as error:  # whatever it was: a test that catches it shall not pass for that
            self._error = error
            raise

    def _measure(self, inputs: Arrays | None) -> Measurement:
        if inputs is not None:
            refuse_nan(inputs)
        if self.result is not None:
            raise DeclarationError("measure() was called twice in one test: a test has one measurement; parametrise it")
        started = time.perf_counter()
        engine, spec_digest = self.engine, description_digest(self.said)
        self.close()
        new = self.subject(engine, inputs)
        # reads baselines and waits for builds: under the device's lock, that build would wait for us
        comparison = self._comparison(engine, new, spec_digest)
        with self._bench.lock(self.environment):
            busy = self._others()
            taken = self._take(engine, new, comparison, asked=self._right.asked())
            comparison = comparison.knowing(taken.other_figures)
            verdicts = self._verdicts(taken, comparison)
            again = None
            if any(verdict.status in ("over_budget", "regressed") for verdict in verdicts):
                again = self._take(engine, new, comparison, profiled=True)
                verdicts = confirmed(verdicts, self._verdicts(again, comparison))
            right, outputs = self._right.judged(taken, comparison.baseline)
            verdicts = (*verdicts, *right, *self._invalid(busy, taken))
        if engine.built and any(verdict.status == "regressed" for verdict in verdicts):
            another = self.build_again()  # may wait for another build: not under the device's lock
            with self._bench.lock(self.environment):
                third = self._take(another, self.subject(another, inputs), comparison)
            verdicts = confirmed(verdicts, self._verdicts(third, comparison), rebuilt=True)
        verdicts = self._right.traced(verdicts, taken)
        lottery = self._lottery(engine, new, taken, comparison) if self._bench.settings.builds > 1 else Lottery()
        verdicts = lottery.weighed(verdicts)
        measurement = dataclasses.replace(
            self._measurement(engine, taken, again, spec_digest, lottery), outputs=outputs
        )
        if again is not None:
            verdicts = comparison.explained(verdicts, measurement, again, self._baselines)
        self.result = Result(
            node_id=self._node_id,
            verdicts=verdicts,
            measurement=measurement,
            baseline_time=comparison.time,
            built_s=engine.build_s if engine.built else None,
            seconds=time.perf_counter() - started,
            parts_s=taken.parts_s,
        )
        return measurement

    def _others(self) -> str | None:
        """Who keeps the GPU busy, once --trt-wait has passed and nothing of ours runs."""
        gpu = self._bench.gpu(self.environment)
        return None if gpu is None else gpu.wait_until_free((), self._bench.settings.wait_s, self._bench.say)

    def _invalid(self, busy: str | None, taken: MeasuredRun) -> tuple[Verdict, ...]:
        """Whatever makes the figures worthless: that is no regression, and no pass either."""
        faults = [f"another process kept the GPU busy ({busy}): measure when it is free"] if busy else []
        faults += [
            f"the GPU was slowed down ({why}): measure when it is cool" for why in slowdown_reasons(taken.states)
        ]
        return tuple(Verdict("invalid", "run", "", fault) for fault in faults)

    def _comparison(self, engine: ProvidedEngine, new: Subject, spec_digest: str) -> Comparison:
        """How this engine is compared with its baseline, or with the one at a revision."""
        settings, store, tolerance = self._bench.settings, self._bench.store, self.declaration.tolerance
        if self._revision is not None:
            return choose_revision(
                self._revision,
                self._node_id,
                new,
                self.model.path,
                engine,
                self.environment,
                spec_digest,
                tolerance,
                settings,
                store,
            )
        return choose(
            self._baselines,
            self._node_id,
            new,
            engine,
            self.environment,
            self.said,
            spec_digest,
            tolerance,
            settings,
            store,
        )

    def _lottery(self, engine: ProvidedEngine, new: Subject, taken: MeasuredRun, comparison: Comparison) -> Lottery:
        """Build the rest of --trt-builds, and set each against the baseline's engine, or else against the first."""
        builds = [self.build_again() for _ in range(self._bench.settings.builds - 1)]
        others = [build for build in builds if build.plan_sha256 != engine.plan_sha256]
        if not others:
            return Lottery(notes=(f"{len(builds) + 1} builds gave one and the same plan",))
        paired = comparison if comparison.way == "paired" else comparison.against(new)
        with self._bench.lock(self.environment):
            takes = [self._take(build, dataclasses.replace(new, plan=build.plan), paired) for build in others]
        first = [taken.sampling.sides] if comparison.way == "paired" else []
        return Lottery.of(paired, [*first, *(take.sampling.sides for take in takes)], judged=bool(first))

    def _take(
        self,
        engine: ProvidedEngine,
        new: Subject,
        comparison: Comparison,
        *,
        profiled: bool = False,
        asked: Arrays | None = None,
    ) -> MeasuredRun:
        settings, server = self._bench.settings, self._bench.server(self.backend)
        gpu = self._bench.gpu(self.environment)
        limits = Limits(min_time_s=settings.min_time_s, max_time_s=settings.max_time_s, warm_up_s=WARM_UP_S)
        rule = comparison.rule(self._limits, settings.resolution, settings.builds)
        if settings.disabled:
            limits, rule = Limits(min_time_s=0.0, max_time_s=0.0), FixedTime(0.0)
        subjects = [new] if comparison.other is None else [new, comparison.other]
        taken = measure_run(
            [(server, subject) for subject in subjects],
            rule,
            limits,
            batch=self.batch,
            spread=comparison.spread,
            profile_layers=profiled or settings.baseline_save or settings.exports_layers,
            measure_other_side=comparison.measures_other,
            requested_inputs=asked,
            state=gpu.read if gpu is not None else host_state.read,
        )
        return dataclasses.replace(taken, figures={**taken.figures, **_of_plan(engine)})

    @cached_property
    def _limits(self) -> dict[str, float]:
        seen = self.environment
        return budgets.matching_limits(
            self.declaration.budgets,
            device=seen.device,
            kind=seen.kind,
            mig_profile=seen.mig_profile,
            params=self.declaration.params,
        )

    def _verdicts(self, taken: MeasuredRun, comparison: Comparison) -> tuple[Verdict, ...]:
        """Budgets, then baselines. Nothing is left unsaid: a budget on a figure that was not measured is an error."""
        if self._bench.settings.disabled:
            return ()
        verdicts = [
            budgets.judge(name, taken.figures[name], limit) if name in taken.figures else _unmeasured(name, limit)
            for name, limit in self._limits.items()
        ]
        if self.declaration.budgets and not self._limits:
            named = ", ".join(sorted({budget.scope for budget in self.declaration.budgets}))
            text = f"no budget is for this test on {self.environment.device}: they name {named}"
            verdicts.append(Verdict("unenforced", "budget", "", text))
        return (*verdicts, *comparison.verdicts(taken.sampling.sides, taken.figures))

    def _measurement(
        self, engine: ProvidedEngine, taken: MeasuredRun, again: MeasuredRun | None, spec_digest: str, lottery: Lottery
    ) -> Measurement:
        profiles = (again.profiles if again is not None else ()) or taken.profiles
        if not self._bench.settings.exports_layers:
            profiles = tuple(dataclasses.replace(profile, inspected={}) for profile in profiles)
        gpu = self._bench.gpu(self.environment)
        return Measurement(
            node_id=self._node_id,
            environment=self.environment,
            figures=taken.figures,
            spec=self.said,
            spec_digest=spec_digest,
            engine_digest=engine.digest,
            plan_sha256=engine.plan_sha256,
            proof={
                **taken.proof,
                **{f"{name} layers": f"{share:.0%}" for name, share in engine.precisions.items()},
                **(gpu.proof(taken.states) if gpu is not None else host_state.proof(taken.states)),
            },
            built=engine.built,
            warm_up_s=taken.sampling.warm_up_s,
            measured_s=taken.sampling.seconds,
            time=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            samples=taken.sampling.sides[0],
            profile=profiles[0] if profiles else None,
            notes=(*engine.notes, *self.environment.notes, *_capped(taken), *lottery.notes),
            build_spread=lottery.spread,
        )

    def finish(self) -> Result | None:
        """What came of the test, whose body is over; None where it neither measured nor had to. Raises BaselineError
        for a baseline that cannot be read."""
        self._over = True
        if self.result is None and not self._bench.settings.disabled and (text := self._owed()):
            self.result = Result(self._node_id, (Verdict("error", "run", "", text),))
        return self.result

    def _owed(self) -> str:
        """Why a test that measured nothing should have; empty where nothing asks for it."""
        if self._error is not None:
            return f"measure() failed, and the test went on: nothing was judged ({self._error})"
        return owed(self.declaration, stored=self._has_baseline())

    def _has_baseline(self) -> bool:
        from pytest_trt.judge.baselines import device_slug

        if self._baselines is None:
            return False
        return self._baselines.load(self._node_id, device_slug(self.environment)) is not None


def owed(declaration: Declaration | None, *, stored: bool) -> str:
    """Why a test that measured nothing should have; empty where nothing that it declares, and no `stored` baseline,
    asks for it."""
    declared = {
        "budgets stand": declaration is not None and declaration.budgets,
        "trt_accuracy stands": declaration is not None and declaration.accuracy,
        "a baseline is stored": stored,
    }
    stands = " and ".join(what for what, said in declared.items() if said)
    return f"{stands}, but the test measured nothing: call trt_runner.measure() in it" if stands else ""


def _of_plan(engine: ProvidedEngine) -> dict[str, Estimate]:
    size = sum(part.stat().st_size for part in engine.plan.parent.glob(f"{engine.plan.name}*"))
    found = {"engine_mb": Estimate.exact(size / 1e6)}
    if engine.build_s is not None:
        found["build_s"] = Estimate.exact(engine.build_s)
    return found


def _capped(taken: MeasuredRun) -> tuple[str, ...]:
    capped = any("power cap" in decode_reasons(state.get("reasons", 0)) for state in taken.states)
    return ("the GPU was at its power cap: its clock wanders, and figures scatter with it",) if capped else ()


def _unmeasured(name: str, limit: float) -> Verdict:
    text = f"{name} has a budget of {limit:g}, but this backend does not measure it: drop it, or name another device"
    return Verdict("error", "budget", name, text, limit=limit)
