"""Let two engines of one model take turns, each run by its own interpreter: two TensorRT versions, for example.

    with AbSide("A", Bench(settings, say, python_a), declaration, folders) as a, AbSide("B", ...) as b:
        outcome = AbComparison(a, b, plan_from=None).run()

A is the old engine. B is the new one, which is judged.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from pytest_trt.core.records import Estimate, Measurement, Status, Verdict, worst
from pytest_trt.engine.provide import ProvidedEngine
from pytest_trt.errors import DeclarationError, TrtError
from pytest_trt.judge.baselines.baseline import baseline_of
from pytest_trt.judge.regression import paired
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.measure.engine_probe import Subject
from pytest_trt.measure.figures import split_supported
from pytest_trt.measure.run import MeasuredRun
from pytest_trt.measure.stopping import AllOf
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.description import description_digest
from pytest_trt.spec.gates import OWN_SETTINGS, Gate, choose_gates
from pytest_trt.trial import gated_figures
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case
from pytest_trt.trial.energy import energy_rule, needs_energy, with_energy_verdicts
from pytest_trt.trial.explain import EngineCosts, explain_slowdown
from pytest_trt.trial.measuring import MeasuringDevice, measure_and_confirm
from pytest_trt.trial.probe_spread import ProbeSpread, spread_of


@dataclasses.dataclass(frozen=True)
class AbEngine:
    """A frozen record of one side's engine: the plan, the plan as a probe opens it, and what is run as text."""

    engine: ProvidedEngine
    subject: Subject
    description: Mapping[str, str]


class AbSide:
    """One interpreter, and the model as its backend builds and runs it. Use it as a context manager, or close it.

    Its errors name the side and the interpreter. Closing the side closes its bench.

    Args:
        name: `A` or `B`.
        bench: The resources, with the side's interpreter.
        declaration: The model, its shapes and its pipeline.
        folders: Where relative paths are looked for.
    """

    def __init__(self, name: str, bench: Bench, declaration: Declaration, folders: Sequence[Path]) -> None:
        self.name, self.bench, self._declaration, self._folders = name, bench, declaration, folders

    @contextlib.contextmanager
    def _naming_errors(self) -> Iterator[None]:
        try:
            yield
        except TrtError as error:
            raise type(error).from_text(f"{self.name} ({self.interpreter}): {error}") from error

    @property
    def interpreter(self) -> str:
        """The interpreter for people: its path, and the hosts elsewhere that start it."""
        hosts = ", ".join(host.name for host in self.bench.settings.hosts)
        python = self.bench.python or ("" if hosts else sys.executable)
        return " on ".join(filter(None, (python, hosts)))

    def choose_backend(self, *, builds: bool) -> None:
        """Choose the backend; a side that builds nothing may have a runtime that only runs plans."""
        spec = self._declaration.spec if builds else dataclasses.replace(self._declaration.spec, path="model.plan")
        with self._naming_errors():
            self.backend = self.bench.backend_name(spec)
            self.runtime = (self.backend, self.bench.server(self.backend).version)
            self.environment = self.bench.environment(self.backend)

    def provide(self, *, version_compatible: bool) -> AbEngine:
        """Build the engine, or find it in the cache; `version_compatible` if another version runs it too."""
        spec = self._declaration.spec
        if version_compatible:
            spec = dataclasses.replace(spec, version_compatible=True)
        declaration = dataclasses.replace(self._declaration, spec=spec)
        with self._naming_errors(), Case(self.bench, self.name, declaration, self._folders) as case:
            return AbEngine(case.engine, case.subject(case.engine), case.description)

    @property
    def is_prebuilt(self) -> bool:
        """Whether the model is a plan."""
        return self._declaration.spec.is_prebuilt

    @property
    def batch(self) -> int:
        """The number of inferences in a query."""
        return self._declaration.run.batch or 1

    def close(self) -> None:
        """End every process of this side."""
        self.bench.close()

    def __enter__(self) -> AbSide:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


@dataclasses.dataclass(frozen=True)
class AbOutcome:
    """A frozen record of both sides' figures, without their samples, and of the verdicts on the new side."""

    old: Measurement
    new: Measurement
    verdicts: tuple[Verdict, ...]

    @property
    def status(self) -> Status:
        """The worst of the verdicts' statuses."""
        return worst(tuple(verdict.status for verdict in self.verdicts))


class AbComparison:
    """The comparison of two sides. Every TrtError of its parts passes through.

    Args:
        old: The side that is compared with.
        new: The side that is judged.
        plan_from: The side whose plan both run; None if each side builds its own.
    """

    def __init__(self, old: AbSide, new: AbSide, plan_from: Literal["a", "b"] | None) -> None:
        self._old, self._new = old, new
        if any(host.is_lease for side in (old, new) for host in side.bench.settings.hosts):
            raise DeclarationError(
                "both sides run on one card, and each link to Ray leads to a card of its own: name the host, such as "
                "--host=ssh://gpu01"
            )
        if old.is_prebuilt or new.is_prebuilt:
            plan_from = plan_from or "a"
        self._builder = {"a": old, "b": new}[plan_from] if plan_from else None
        for side in (old, new):
            side.choose_backend(builds=self._builder in (None, side))
        self._device = MeasuringDevice(new.bench, new.environment)

    def run(self) -> AbOutcome:
        """Measure both engines in turns, confirm a slowdown in fresh probes, and explain it.

        Raises:
            DeclarationError: The sides run on two devices.
        """
        self._check_device()
        old, new = self._engines()

        settings = self._new.bench.settings

        def measure(failing: Sequence[Verdict]) -> MeasuredRun:
            pair = ((self._new, new.subject), (self._old, old.subject))
            requested = gated_figures.rules_in_turn(self._gates.values(), self._question)
            run = self._device.measure(
                [(side.bench.server(side.backend, side.environment), subject) for side, subject in pair],
                AllOf((paired.PairedRule(self._question("ms")), *requested)),
                batch=self._new.batch,
                spread=self._spread.share,
                profile_layers=bool(failing),
                measure_other_side=True,
                confirming=bool(failing),
                energy=energy_rule({}, self._gates.values(), self._question, always=settings.energy)
                if needs_energy(failing)
                else None,
            )
            return dataclasses.replace(
                run,
                figures={**run.figures, **new.engine.figures},
                other_figures={**run.other_figures, **old.engine.figures},
            )

        def judge(run: MeasuredRun) -> tuple[Verdict, ...]:
            return self._judge(run, self._measurement(self._old, old, run.other_figures, {}))

        with self._device.exclusively():
            found = measure_and_confirm(measure, judge)
        verdicts = found.verdicts if found.again is None else _explain(found.verdicts, found.again)
        return AbOutcome(
            old=self._measurement(self._old, old, found.run.other_figures, {}),
            new=self._measurement(self._new, new, found.run.figures, found.run.proof),
            verdicts=(*verdicts, *self._device.invalid_verdicts(found.run)),
        )

    def _check_device(self) -> None:
        seen = [(side.environment.device_uuid, side.environment.device) for side in (self._old, self._new)]
        if seen[0] != seen[1]:
            raise DeclarationError(
                f"A runs on {seen[0][1]} ({self._old.backend}) and B on {seen[1][1]} ({self._new.backend}): versions "
                "can be compared on one device only: name backends of one kind, or the device"
            )

    def _engines(self) -> tuple[AbEngine, AbEngine]:
        if self._builder is not None:
            same = self._builder.provide(version_compatible=self._old.runtime != self._new.runtime)
            return same, same
        return self._old.provide(version_compatible=False), self._new.provide(version_compatible=False)

    @cached_property
    def _gates(self) -> Mapping[str, Gate]:
        settings = self._new.bench.settings
        own = {figure: getattr(settings, name) for figure, name in OWN_SETTINGS.items()}
        return choose_gates(dict(settings.gates), own)

    @cached_property
    def _spread(self) -> ProbeSpread:
        return self._device.spread.widest(spread_of(self._old.bench.store.folder, self._old.environment))

    def _question(self, figure: str) -> RegressionQuestion:
        gate = self._gates.get(figure)
        return RegressionQuestion(
            figure=figure,
            tolerance=gate.tolerance if gate is not None else self._new.bench.settings.max_slowdown,
            spread=self._spread.share,
            open_order_effect=self._spread.open_order_effect,
        )

    def _judge(self, run: MeasuredRun, old: Measurement) -> tuple[Verdict, ...]:
        """Return the verdict of every figure that is compared.

        Args:
            run: The measurement of both sides, with the figures of the new side.
            old: The old side.
        """
        baseline = baseline_of(old)
        judged = [
            gated_figures.judge_gate(gate, self._question(gate.figure), baseline, run, "paired")
            for gate in self._gates.values()
        ]
        return with_energy_verdicts([verdict for verdict in judged if verdict is not None], run.energy)

    @staticmethod
    def _measurement(
        side: AbSide, engine: AbEngine, figures: Mapping[str, Estimate], proof: Mapping[str, str]
    ) -> Measurement:
        supported, unsupported = split_supported(figures)
        return Measurement(
            node_id=side.name,
            environment=side.environment,
            figures=supported,
            unsupported=unsupported,
            spec=engine.description,
            spec_digest=description_digest(engine.description),
            engine_digest=engine.engine.digest,
            plan_sha256=engine.engine.plan_sha256,
            proof=proof,
            built=engine.engine.built,
            time=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            notes=engine.engine.notes,
        )


def _explain(verdicts: Sequence[Verdict], again: MeasuredRun) -> tuple[Verdict, ...]:
    """Return the verdicts; a slower latency also says which layers explain it."""
    figures = (again.figures, again.other_figures)
    new, old = map(EngineCosts, figures, again.profiles, again.sampling.sides)
    found = [(verdict, explain_slowdown(verdict, new, old)) for verdict in verdicts]
    return tuple(
        verdict
        if causes is None
        else dataclasses.replace(verdict, details=(*verdict.details, *causes.lines()), causes=causes.all_causes())
        for verdict, causes in found
    )
