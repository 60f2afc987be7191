"""One test's whole course: its engine, probes, sampling, confirmation, verdicts. Free of pytest.

    with Trial(bench, node_id, declaration, folders, baselines) as trial:
        outputs = trial(inputs)
        measurement = trial.measure()
        result = trial.finish()
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_trt import codec
from pytest_trt.backends.base import BuildJob, BuildReport
from pytest_trt.bench import Bench
from pytest_trt.comparison import Comparison, choose, confirmed
from pytest_trt.engine.model import Model, resolve
from pytest_trt.engine.provider import Provided, provide
from pytest_trt.engine.shapes import run_shapes
from pytest_trt.errors import DeclarationError
from pytest_trt.judge import budgets
from pytest_trt.measure import figures
from pytest_trt.measure.probe_source import EngineProbe, ProbeSource, Subject
from pytest_trt.measure.sampler import Limits, Sampling, sample
from pytest_trt.measure.stopping import FixedTime
from pytest_trt.records import Environment, Estimate, LayerProfile, Measurement, Result, Verdict
from pytest_trt.spec import Declaration, EngineSpec, PipelineOptions, RunShape

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
        return resolve(self.declaration.spec, self._folders, self._bench.store)

    @cached_property
    def engine(self) -> Provided:
        """The engine, built or from the cache."""
        return self._provide(fresh=False)

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
        return self._opened().infer(inputs)

    def stream(self, batches: Iterable[Arrays], postprocess: Callable[[Arrays], Any] | None = None) -> Iterator[Any]:
        """Outputs in order, or what `postprocess` makes of them."""
        probe = self._opened()
        for batch in batches:
            outputs = probe.infer(batch)
            yield outputs if postprocess is None else postprocess(outputs)

    def profile(self, runs: int = PROFILE_RUNS) -> LayerProfile:
        """Per-layer times, in ms, medians over `runs` inferences."""
        return self._opened().profile(runs)

    def _opened(self) -> EngineProbe:
        if self._probe is None:
            self._probe = EngineProbe(self._bench.server(self.backend), self._subject(self.engine))
        return self._probe

    def measure(self, inputs: Arrays | None = None) -> Measurement:
        """Measure the engine alone in a fresh probe, and judge it. Without `inputs` they are drawn from the spec's seed.

        The verdict fails the test after its body. Raises DeclarationError when called a second time.
        """
        if self.result is not None:
            raise DeclarationError("measure() was called twice in one test: a test has one measurement; parametrise it")
        started = time.perf_counter()
        engine = self.engine
        self.close()
        with self._bench.lock(self.environment):
            new = self._subject(engine, inputs)
            comparison = self._comparison(engine, new)
            taken = self._take(engine, new, comparison)
            verdicts = self._verdicts(taken, comparison)
            if any(verdict.status in ("over_budget", "regressed") for verdict in verdicts):
                verdicts = confirmed(verdicts, self._verdicts(self._take(engine, new, comparison), comparison))
        if engine.built and any(verdict.status == "regressed" for verdict in verdicts):
            another = self._provide(fresh=True)  # may wait for another build: not under the device's lock
            with self._bench.lock(self.environment):
                again = self._verdicts(self._take(another, self._subject(another, inputs), comparison), comparison)
            verdicts = confirmed(verdicts, again, rebuilt=True)
        measurement = self._measurement(engine, taken)
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

    def _comparison(self, engine: Provided, new: Subject) -> Comparison:
        """How this engine is compared with its baseline."""
        said = described(self.declaration)
        return choose(
            self._baselines,
            self._node_id,
            new,
            engine,
            self.environment,
            said,
            digest_of(said),
            self.declaration.tolerance,
            self._bench.settings,
            self._bench.store,
        )

    def _take(self, engine: Provided, new: Subject, comparison: Comparison) -> Taken:
        """Open fresh probes, sample until every question is answered, then the passes of their own."""
        settings, server = self._bench.settings, self._bench.server(self.backend)
        limits = Limits(min_time_s=settings.min_time_s, max_time_s=settings.max_time_s, warm_up_s=WARM_UP_S)
        rule = comparison.rule(self._limits, settings.resolution)
        if settings.disabled:
            limits, rule = Limits(min_time_s=0.0, max_time_s=0.0), FixedTime(0.0)
        subjects = [new] if comparison.other is None else [new, comparison.other]
        with ProbeSource([(server, subject) for subject in subjects]) as source:
            sampling = sample(source, rule, limits)
            probe = source.probes[0]
            found = figures.from_blocks(sampling.sides[0], comparison.spread)
            found["load_s"], found["first_ms"] = Estimate.exact(probe.load_s), Estimate.exact(probe.first_ms)
            found["throughput"] = figures.throughput(
                probe, found["ms"], self.declaration.run.batch or 1, overlapped="gpu_ms" in found
            )
            found.update(figures.from_memory(probe.memory()))
            found.update(_of_plan(engine))
            profile = probe.profile(PROFILE_RUNS) if self._bench.settings.baseline_save else None
            return Taken(sampling, found, probe.proof, profile)

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
            verdicts.append(
                Verdict("unenforced", "budget", "", f"no budget is for {self.environment.device}: they name {devices}")
            )
        return (*verdicts, *comparison.verdicts(taken.sampling.sides, taken.figures))

    def _measurement(self, engine: Provided, taken: Taken) -> Measurement:
        spec = described(self.declaration)
        return Measurement(
            node_id=self._node_id,
            environment=self.environment,
            figures=taken.figures,
            spec=spec,
            spec_digest=digest_of(spec),
            engine_digest=engine.digest,
            plan_sha256=engine.plan_sha256,
            proof={**taken.proof, **{f"{k} layers": f"{v:.0%}" for k, v in engine.precisions.items()}},
            built=engine.built,
            warm_up_s=taken.sampling.warm_up_s,
            measured_s=taken.sampling.seconds,
            time=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            samples=taken.sampling.sides[0],
            profile=taken.profile,
            notes=(*engine.notes, *self.environment.notes),
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


@dataclasses.dataclass(frozen=True)
class Taken:
    """What one set of probes gave."""

    sampling: Sampling
    figures: dict[str, Estimate]
    proof: Mapping[str, str]
    profile: LayerProfile | None


def described(declaration: Declaration) -> dict[str, str]:
    """What is built and run, as text by name: whatever differs from the default, and the model's name."""
    spec, plain = declaration.spec, EngineSpec()
    source = spec.onnx or spec.build
    model = spec.path or str(getattr(source, "__qualname__", source))
    said = {"model": Path(model).name, "precision": spec.precision}
    for record, default in ((spec, plain), (declaration.run, RunShape()), (declaration.pipeline, PipelineOptions())):
        for name in codec.hints(record):
            value = getattr(record, name)
            if name not in ("path", "onnx", "build", "backend") and value != getattr(default, name):
                said[name] = json.dumps(codec.encode(value), sort_keys=True)
    return said


def digest_of(said: Mapping[str, str]) -> str:
    """The SHA-256 of a description."""
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _of_plan(engine: Provided) -> dict[str, Estimate]:
    size = sum(part.stat().st_size for part in engine.plan.parent.glob(f"{engine.plan.name}*"))
    found = {"engine_mb": Estimate.exact(size / 1e6)}
    if engine.build_s is not None:
        found["build_s"] = Estimate.exact(engine.build_s)
    return found


def _unmeasured(name: str, limit: float) -> Verdict:
    text = f"{name} has a budget of {limit:g}, but this backend does not measure it: drop it, or name another device"
    return Verdict("error", "budget", name, text, limit=limit)
