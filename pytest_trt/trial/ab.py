"""Two benches, such as two interpreters with two TensorRTs, let engines of one model take turns.

    with Side("A", Bench(settings, say, python_a), declaration, folders) as a, Side("B", ...) as b:
        outcome = Duel(a, b, plan_from=None).fought()

A is the old one, B the new one that is judged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from pytest_trt.core.records import Estimate, Measurement, Status, Verdict, worst
from pytest_trt.engine.provide import ProvidedEngine
from pytest_trt.errors import DeclarationError, TrtError
from pytest_trt.judge.regression import paired
from pytest_trt.judge.regression.blame import blame
from pytest_trt.measure.engine_probe import Subject
from pytest_trt.measure.gpu_state import slowdown_reasons
from pytest_trt.measure.run import MeasuredRun, measure_run
from pytest_trt.measure.sampler import Limits
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.description import description_digest
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case
from pytest_trt.trial.comparison import clocks, confirmed, scaled
from pytest_trt.trial.probe_spread import spread_of
from pytest_trt.trial.trial import WARM_UP_S


@dataclasses.dataclass(frozen=True)
class Contender:
    """An engine, how it is run, and both as text."""

    engine: ProvidedEngine
    subject: Subject
    said: Mapping[str, str]


class Side:
    """One bench, and the model as it builds and runs it. Its errors name it. Close it; the bench is closed with it."""

    def __init__(self, name: str, bench: Bench, declaration: Declaration, folders: Sequence[Path]) -> None:
        self.name, self.bench, self._declaration, self._folders = name, bench, declaration, folders

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except TrtError as error:
            raise type(error)(f"{self.name} ({self.bench.python}): {error}") from error

    def choose_backend(self, *, builds: bool) -> None:
        """Settle what runs here; where nothing is built, a runtime that runs plans alone will do."""
        spec = self._declaration.spec if builds else dataclasses.replace(self._declaration.spec, path="model.plan")
        with self._named():
            self.backend = self.bench.backend_name(spec)
            self.runtime = (self.backend, self.bench.server(self.backend).version)
            self.environment = self.bench.environment(self.backend)

    def contender(self, *, portable: bool) -> Contender:
        """The engine, built or from the cache; `portable` where another version is to run it too."""
        spec = self._declaration.spec
        if portable:
            spec = dataclasses.replace(spec, version_compatible=True)
        declaration = dataclasses.replace(self._declaration, spec=spec)
        with self._named(), Case(self.bench, self.name, declaration, self._folders) as case:
            return Contender(case.engine, case.subject(case.engine), case.said)

    @property
    def is_prebuilt(self) -> bool:
        return self._declaration.spec.is_prebuilt

    @property
    def batch(self) -> int:
        return self._declaration.run.batch or 1

    def close(self) -> None:
        self.bench.close()

    def __enter__(self) -> Side:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Both sides' figures, without their samples, and what was judged of the new one."""

    old: Measurement
    new: Measurement
    verdicts: tuple[Verdict, ...]

    @property
    def status(self) -> Status:
        return worst(tuple(verdict.status for verdict in self.verdicts))


class Duel:
    """`plan_from` names the side whose plan both run; None has each build its own. Every TrtError passes through."""

    def __init__(self, old: Side, new: Side, plan_from: Literal["a", "b"] | None) -> None:
        self._old, self._new = old, new
        if old.is_prebuilt or new.is_prebuilt:
            plan_from = plan_from or "a"
        self._builder = {"a": old, "b": new}[plan_from] if plan_from else None
        for side in (old, new):
            side.choose_backend(builds=self._builder in (None, side))

    def fought(self) -> Outcome:
        """Measure, ask again where B is slower, and say why. Raises DeclarationError for sides on two devices."""
        self._check_device()
        old, new = self._contenders()
        with self._new.bench.lock(self._new.environment):
            gpu = self._new.bench.gpu(self._new.environment)
            settings = self._new.bench.settings
            busy = gpu.wait_until_free((), settings.wait_s, self._new.bench.say) if gpu is not None else None
            taken = self._take(new.subject, old.subject)
            verdicts = self._judged(taken)
            if any(verdict.status == "regressed" for verdict in verdicts):
                again = self._take(new.subject, old.subject, profiled=True)
                verdicts = tuple(self._explained(v, again) for v in confirmed(verdicts, self._judged(again)))
        return Outcome(
            old=self._measurement(self._old, old, taken.other_figures, {}),
            new=self._measurement(self._new, new, taken.figures, taken.proof),
            verdicts=(*verdicts, *_invalid(busy, taken)),
        )

    def _check_device(self) -> None:
        seen = [(side.environment.device_uuid, side.environment.device) for side in (self._old, self._new)]
        if seen[0] != seen[1]:
            raise DeclarationError(
                f"A runs on {seen[0][1]} ({self._old.backend}) and B on {seen[1][1]} ({self._new.backend}): only one "
                "device tells versions apart: name backends of one kind, or the device"
            )

    def _contenders(self) -> tuple[Contender, Contender]:
        portable = self._old.runtime != self._new.runtime
        if self._builder is not None:
            same = self._builder.contender(portable=portable)
            return same, same
        return self._old.contender(portable=False), self._new.contender(portable=False)

    @cached_property
    def _question(self) -> paired.RegressionQuestion:
        sides = (self._old, self._new)
        known = [spread_of(side.bench.store.folder, side.environment) for side in sides]
        spread, open_order_effect = map(max, zip(*known, strict=True))
        return paired.RegressionQuestion(
            tolerance=self._new.bench.settings.max_slowdown, spread=spread, open_order_effect=open_order_effect
        )

    def _take(self, new: Subject, old: Subject, *, profiled: bool = False) -> MeasuredRun:
        settings, gpu = self._new.bench.settings, self._new.bench.gpu(self._new.environment)
        pair = ((self._new, new), (self._old, old))
        return measure_run(
            [(side.bench.server(side.backend), subject) for side, subject in pair],
            paired.PairedRule(self._question),
            Limits(min_time_s=settings.min_time_s, max_time_s=settings.max_time_s, warm_up_s=WARM_UP_S),
            batch=self._new.batch,
            spread=self._question.spread,
            profile_layers=profiled,
            measure_other_side=True,
            state=gpu.read if gpu is not None else None,
        )

    def _judged(self, taken: MeasuredRun) -> tuple[Verdict, ...]:
        found = [paired.judge_paired(self._question, *taken.sampling.sides)]
        if "memory_mb" in taken.figures and "memory_mb" in taken.other_figures:
            memory = [figures["memory_mb"].value for figures in (taken.figures, taken.other_figures)]
            growth = self._new.bench.settings.max_memory_growth
            found.append(paired.judge_exact("memory_mb", memory[0], memory[1], growth))
        return tuple(found)

    @staticmethod
    def _explained(verdict: Verdict, again: MeasuredRun) -> Verdict:
        if verdict.status != "regressed" or verdict.figure != "ms" or verdict.ratio is None:
            return verdict
        now, then = again.figures["ms"].value, again.figures["ms"].value / verdict.ratio.value
        new, old = again.profiles
        names = ("h2d_ms", "d2h_ms", "enqueue_ms")
        others = {n: (again.other_figures[n].value, again.figures[n].value) for n in names if n in again.other_figures}
        others.update(clocks(again.sampling.sides[1], again.sampling.sides[0]))
        found = blame(scaled(old, then), scaled(new, now), now - then, others)
        return dataclasses.replace(verdict, details=(*verdict.details, *found.lines()), causes=found.all_causes())

    @staticmethod
    def _measurement(
        side: Side, contender: Contender, figures: Mapping[str, Estimate], proof: Mapping[str, str]
    ) -> Measurement:
        engine = contender.engine
        return Measurement(
            node_id=side.name,
            environment=side.environment,
            figures=figures,
            spec=contender.said,
            spec_digest=description_digest(contender.said),
            engine_digest=engine.digest,
            plan_sha256=engine.plan_sha256,
            proof=proof,
            built=engine.built,
            time=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            notes=engine.notes,
        )


def _invalid(busy: str | None, taken: MeasuredRun) -> tuple[Verdict, ...]:
    states = [block.state for side in taken.sampling.sides for samples in side for block in samples.blocks]
    faults = [f"another process kept the GPU busy ({busy}): measure when it is free"] if busy else []
    faults += [f"the GPU was slowed down ({why}): measure when it is cool" for why in slowdown_reasons(states)]
    return tuple(Verdict("invalid", "run", "", fault) for fault in faults)
