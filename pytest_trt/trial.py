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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt.backends.base import BuildJob, BuildReport
from pytest_trt.bench import Bench
from pytest_trt.comparison import Comparison, choose, confirmed
from pytest_trt.description import described, digest_of
from pytest_trt.engine.model import Model, resolve
from pytest_trt.engine.provider import Provided, provide
from pytest_trt.engine.shapes import run_shapes
from pytest_trt.errors import DeclarationError
from pytest_trt.judge import accuracy, budgets
from pytest_trt.measure.gpu_state import reasons_in, slowed_by
from pytest_trt.measure.probe_source import EngineProbe, Subject, tensors_of
from pytest_trt.measure.sampler import Limits
from pytest_trt.measure.stopping import FixedTime
from pytest_trt.measure.take import Taken, take
from pytest_trt.pipeline.arrays import refuse_nan
from pytest_trt.pipeline.ordered import in_order
from pytest_trt.records import Environment, Estimate, LayerProfile, Measurement, Result, Verdict
from pytest_trt.references import given_inputs, reference_outputs
from pytest_trt.spec import Declaration

if TYPE_CHECKING:
    from pytest_trt.backends.base import Arrays
    from pytest_trt.baselines import BaselineFolder

PROFILE_RUNS = 50
WARM_UP_S = 3.0


class Trial:
    """A test's runner. Called with inputs it infers once; `measure` measures and judges; `finish` gives the result.

    Every TrtError that its parts raise passes through.
    """

    def __init__(
        self,
        bench: Bench,
        node_id: str,
        declaration: Declaration,
        folders: Sequence[Path],
        baselines: BaselineFolder | None = None,
    ) -> None:
        self._bench, self._node_id, self._folders, self._baselines = bench, node_id, folders, baselines
        self.backend = bench.backend_name(declaration.spec)
        self.declaration = bench.completed(declaration, self.backend)
        self.result: Result | None = None
        self._probe: EngineProbe | None = None

    @cached_property
    def environment(self) -> Environment:
        """The device and the software that the engine is for."""
        return self._bench.environment_for(self.backend, self.declaration.spec)

    @cached_property
    def model(self) -> Model:
        """The model, found and read."""
        model = resolve(self.declaration.spec, self._folders, self._bench.store)
        if model.kind == "plan":  # what it takes and gives, only its runtime can tell
            server, spec = self._bench.server(self.backend), self.declaration.spec
            model = model.with_tensors(*tensors_of(server, model.path, self._bench.settings.device, spec))
        return model

    @cached_property
    def engine(self) -> Provided:
        """The engine, built or from the cache."""
        return self._provide(fresh=False)

    def build_again(self) -> Provided:
        """The same model and options, built once more beside what is cached: builds differ."""
        return self._provide(fresh=True)

    def _provide(self, *, fresh: bool) -> Provided:
        return provide(
            self.declaration.spec,
            self.model,
            self.declaration.run,
            self.environment,
            self._bench.store,
            self._build,
            device=self._bench.settings.device,
            strongly_typed=self._bench.strongly_typed(self.backend),
            waiting=self._bench.say,
            fresh=fresh,
        )

    def _build(self, job: BuildJob) -> BuildReport:
        with self._bench.lock(self.environment):
            return self._bench.build(job)

    def _subject(self, engine: Provided, inputs: Arrays | None = None) -> Subject:
        return Subject(
            plan=engine.plan,
            device=self._bench.settings.device,
            spec=self.declaration.spec,
            shapes=run_shapes(self.model, self.declaration.spec, self.declaration.run),
            options=self.declaration.pipeline,
            inputs=inputs,
        )

    def __call__(self, inputs: Arrays) -> Arrays:
        """One inference: arrays by name in, arrays by name out. Raises InputError where they do not fit."""
        refuse_nan(inputs)
        return self._opened().infer(inputs)

    def stream(self, batches: Iterable[Arrays], postprocess: Callable[[Arrays], Any] | None = None) -> Iterator[Any]:
        """Outputs in order, or what `postprocess` makes of them on threads of its own (`postprocess_threads`) while the
        pipeline goes on. What `batches` or `postprocess` raises comes up at its item."""
        outputs = self._opened().stream(batches)
        if postprocess is None:
            return outputs
        return in_order(outputs, postprocess, self.declaration.pipeline.postprocess_threads)

    def profile(self, runs: int = PROFILE_RUNS) -> LayerProfile:
        """Per-layer times, in ms, medians over `runs` inferences."""
        return self._opened().profile(runs)

    def _opened(self) -> EngineProbe:
        if self._probe is None:
            self._probe = EngineProbe(self._bench.server(self.backend), self._subject(self.engine))
        return self._probe

    def measure(self, inputs: Arrays | None = None) -> Measurement:
        """Measure the engine alone in a fresh probe, and judge it. Without `inputs` they are drawn from the seed.

        The verdict fails the test after its body. Raises DeclarationError when called a second time.
        """
        if inputs is not None:
            refuse_nan(inputs)
        if self.result is not None:
            raise DeclarationError("measure() was called twice in one test: a test has one measurement; parametrise it")
        started = time.perf_counter()
        engine, spec_digest = self.engine, digest_of(described(self.declaration))
        self.close()
        with self._bench.lock(self.environment):
            busy = self._others()
            new = self._subject(engine, inputs)
            comparison = self._comparison(engine, new, spec_digest)
            taken = self._take(engine, new, comparison)
            verdicts = self._verdicts(taken, comparison)
            again = None
            if any(verdict.status in ("over_budget", "regressed") for verdict in verdicts):
                again = self._take(engine, new, comparison, profile_runs=PROFILE_RUNS)
                verdicts = confirmed(verdicts, self._verdicts(again, comparison))
            verdicts = (*verdicts, *self._accuracy(new), *self._invalid(busy, taken))
        if engine.built and any(verdict.status == "regressed" for verdict in verdicts):
            another = self.build_again()  # may wait for another build: not under the device's lock
            with self._bench.lock(self.environment):
                third = self._take(another, self._subject(another, inputs), comparison)
            verdicts = confirmed(verdicts, self._verdicts(third, comparison), rebuilt=True)
        measurement = self._measurement(engine, taken, again, spec_digest)
        if again is not None:
            verdicts = comparison.explained(verdicts, measurement, again.profiles, self._baselines)
        self.result = Result(
            node_id=self._node_id,
            verdicts=verdicts,
            measurement=measurement,
            baseline_time=comparison.time,
            built_s=engine.build_s if engine.built else None,
            seconds=time.perf_counter() - started,
            parts_s={"warm-up": taken.sampling.warm_up_s, "blocks": taken.sampling.seconds},
        )
        return measurement

    def _others(self) -> str | None:
        """Who keeps the GPU busy, once --trt-wait has passed and nothing of ours runs."""
        gpu = self._bench.gpu(self.environment)
        return None if gpu is None else gpu.wait_until_free((), self._bench.settings.wait_s, self._bench.say)

    def _invalid(self, busy: str | None, taken: Taken) -> tuple[Verdict, ...]:
        """Whatever makes the figures worthless: that is no regression, and no pass either."""
        faults = [f"another process kept the GPU busy ({busy}): measure when it is free"] if busy else []
        faults += [f"the GPU was slowed down ({why}): measure when it is cool" for why in slowed_by(_states(taken))]
        return tuple(Verdict("invalid", "run", "", fault) for fault in faults)

    def _comparison(self, engine: Provided, new: Subject, spec_digest: str) -> Comparison:
        """How this engine is compared with its baseline."""
        return choose(
            self._baselines,
            self._node_id,
            new,
            engine,
            self.environment,
            described(self.declaration),
            spec_digest,
            self.declaration.tolerance,
            self._bench.settings,
            self._bench.store,
        )

    def _take(self, engine: Provided, new: Subject, comparison: Comparison, profile_runs: int = 0) -> Taken:
        settings, server = self._bench.settings, self._bench.server(self.backend)
        gpu = self._bench.gpu(self.environment)
        limits = Limits(min_time_s=settings.min_time_s, max_time_s=settings.max_time_s, warm_up_s=WARM_UP_S)
        rule = comparison.rule(self._limits, settings.resolution)
        if settings.disabled:
            limits, rule = Limits(min_time_s=0.0, max_time_s=0.0), FixedTime(0.0)
        if settings.baseline_save:
            profile_runs = PROFILE_RUNS
        subjects = [new] if comparison.other is None else [new, comparison.other]
        taken = take(
            [(server, subject) for subject in subjects],
            rule,
            limits,
            batch=self.declaration.run.batch or 1,
            spread=comparison.spread,
            profile_runs=profile_runs,
            state=gpu.read if gpu is not None else None,
        )
        return dataclasses.replace(taken, figures={**taken.figures, **_of_plan(engine)})

    @cached_property
    def _limits(self) -> dict[str, float]:
        seen = self.environment
        return budgets.matching(
            self.declaration.budgets,
            device=seen.device,
            kind=seen.kind,
            mig_profile=seen.mig_profile,
            params=self.declaration.params,
        )

    def _verdicts(self, taken: Taken, comparison: Comparison) -> tuple[Verdict, ...]:
        """Budgets, then baselines. Nothing is left unsaid: a budget on a figure that was not measured is an error."""
        if self._bench.settings.disabled:
            return ()
        verdicts = [
            budgets.judge(name, taken.figures[name], limit) if name in taken.figures else _unmeasured(name, limit)
            for name, limit in self._limits.items()
        ]
        if self.declaration.budgets and not self._limits:
            devices = ", ".join(sorted({repr(budget.device) for budget in self.declaration.budgets}))
            text = f"no budget is for {self.environment.device}: they name {devices}"
            verdicts.append(Verdict("unenforced", "budget", "", text))
        return (*verdicts, *comparison.verdicts(taken.sampling.sides, taken.figures))

    def _accuracy(self, new: Subject) -> tuple[Verdict, ...]:
        """The outputs against what `trt_accuracy` names, on its inputs or on those that were measured on."""
        wanted = self.declaration.accuracy
        if wanted is None:
            return ()
        given = given_inputs(wanted.inputs, self._folders)
        subject = new if given is None else dataclasses.replace(new, inputs=given)
        with EngineProbe(self._bench.server(self.backend), subject) as probe:
            inputs = probe.drawn()
            outputs = probe.infer(inputs)
        reference = reference_outputs(
            wanted.reference, inputs, self.model, new.shapes, self._folders, self._bench
        )
        source = wanted.reference if isinstance(wanted.reference, str) else "the reference function"
        limits = accuracy.allowed(wanted, self.declaration.spec.precision, self.declaration.spec.tf32)
        return accuracy.judge(outputs, reference, limits, source)

    def _measurement(self, engine: Provided, taken: Taken, again: Taken | None, spec_digest: str) -> Measurement:
        profiles = (again.profiles if again is not None else ()) or taken.profiles
        return Measurement(
            node_id=self._node_id,
            environment=self.environment,
            figures=taken.figures,
            spec=described(self.declaration),
            spec_digest=spec_digest,
            engine_digest=engine.digest,
            plan_sha256=engine.plan_sha256,
            proof={**taken.proof, **{f"{name} layers": f"{share:.0%}" for name, share in engine.precisions.items()}},
            built=engine.built,
            warm_up_s=taken.sampling.warm_up_s,
            measured_s=taken.sampling.seconds,
            time=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            samples=taken.sampling.sides[0],
            profile=profiles[0] if profiles else None,
            notes=(*engine.notes, *self.environment.notes, *_capped(taken)),
        )

    def finish(self) -> Result | None:
        """What came of the test; None where it neither measured nor had to."""
        if self.result is None and self.declaration.budgets and not self._bench.settings.disabled:
            text = "budgets stand, but the test measured nothing: call trt_runner.measure() in it"
            self.result = Result(self._node_id, (Verdict("error", "run", "", text),))
        return self.result

    def built(self) -> Result:
        """Build the engine, or find it in the cache, and run nothing."""
        engine = self.engine
        how = f"built in {engine.build_s:.1f} s" if engine.built and engine.build_s is not None else "in the cache"
        verdict = Verdict("ok", "run", "", f"engine {how}: {engine.digest[:12]}")
        return Result(self._node_id, (verdict,), built_s=engine.build_s if engine.built else None)

    def close(self) -> None:
        """End the probe that serves inferences, if one is open."""
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _of_plan(engine: Provided) -> dict[str, Estimate]:
    size = sum(part.stat().st_size for part in engine.plan.parent.glob(f"{engine.plan.name}*"))
    found = {"engine_mb": Estimate.exact(size / 1e6)}
    if engine.build_s is not None:
        found["build_s"] = Estimate.exact(engine.build_s)
    return found


def _states(taken: Taken) -> list[Mapping[str, float]]:
    return [block.state for samples in taken.sampling.sides[0] for block in samples.blocks]


def _capped(taken: Taken) -> tuple[str, ...]:
    capped = any("power cap" in reasons_in(state.get("reasons", 0)) for state in _states(taken))
    return ("the GPU was at its power cap: its clock wanders, and figures scatter with it",) if capped else ()


def _unmeasured(name: str, limit: float) -> Verdict:
    text = f"{name} has a budget of {limit:g}, but this backend does not measure it: drop it, or name another device"
    return Verdict("error", "budget", name, text, limit=limit)
