"""Measure engines on one device while nothing else of this user runs on it: for a test, for `ab`, for the line-up."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from pytest_trt.core.engine_noise import PairedMedians
from pytest_trt.core.records import Environment, Verdict
from pytest_trt.judge.budgets import LimitRule
from pytest_trt.judge.regression.paired import pair_medians
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.judge.repeats import RepeatsRule
from pytest_trt.measure.engine_probe import Subject
from pytest_trt.measure.generation import FIGURES as GENERATED
from pytest_trt.measure.gpu_state import slowdown_reasons
from pytest_trt.measure.probe.factory import ProbeFactory
from pytest_trt.measure.run import MeasuredRun, PassRules, measure_run
from pytest_trt.measure.sampler import Limits
from pytest_trt.measure.stopping import Rule
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.confirm import FAILS, confirm_verdicts
from pytest_trt.trial.energy import choose_energy_pass
from pytest_trt.trial.probe_spread import ProbeSpread, learn, spread_of

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

WARM_UP_S = 3.0
"""The most seconds that a probe may take until its latency is steady."""

HIDDEN_DRIFT = {"gpu": 0.03, "cpu": math.inf}
"""The largest drift that may remain unseen after a warm-up, as a share a second. Eight blocks mostly exclude it on a
GPU whose blocks scatter by 0.05 %. A CPU scatters so much more that it would be warmed up for too long."""

CONFIRMING_TIME = 2
"""How many times as long as the first measurement the one that confirms a failing verdict may last. Two measurements of
the usual time would each have a chance to confirm a wrong verdict."""

Side = tuple[ProbeFactory, Subject]
"""The server that forks a side's probes, and the engine that they open."""


@dataclasses.dataclass(frozen=True)
class ConfirmedRun:
    """A frozen record of a measurement, and of the second one that confirms failing verdicts.

    Attributes:
        run: The first measurement.
        verdicts: Its verdicts; a failing one is kept only if `again` confirms it.
        again: The second measurement, with the layers timed; None if nothing failed.
    """

    run: MeasuredRun
    verdicts: tuple[Verdict, ...]
    again: MeasuredRun | None = None


class MeasuringDevice:
    """The device of `environment`, as engines are measured on it.

    Args:
        bench: The resources of the run: its settings, its lock for the device, its view of the GPU.
        environment: The device.
        engine: The digest of the spec of the engine that is measured; empty for several engines.
    """

    def __init__(self, bench: Bench, environment: Environment, engine: str = "") -> None:
        self._bench, self._environment, self._engine = bench, environment, engine
        self._busy: str | None = None

    @cached_property
    def spread(self) -> ProbeSpread:
        """How far two probes of the engine differ on this card."""
        return spread_of(self._bench.store.folder, self._environment, self._engine)

    @contextlib.contextmanager
    def exclusively(self, *, wait: bool = True) -> Iterator[None]:
        """Hold the device's lock. With `wait`, first wait until no other process uses the GPU, at most --trt-wait."""
        with self._bench.lock(self._environment):
            gpu = self._bench.gpu(self._environment)
            if wait and gpu is not None:
                self._busy = gpu.wait_until_free((), self._bench.settings.wait_s, self._bench.say)
            yield

    def measure(
        self,
        sides: Sequence[Side],
        rule: Rule,
        *,
        batch: int,
        limits: Limits | None = None,
        spread: float | None = None,
        profile_layers: bool = False,
        measure_other_side: bool = False,
        requested_inputs: Arrays | None = None,
        confirming: bool = False,
        budgets: Mapping[str, float] | None = None,
        energy: Rule | None = None,
        phase: str = "measuring",
    ) -> MeasuredRun:
        """Measure the first side, or let both take turns, in fresh probes. The device must be held `exclusively`.

        Args:
            sides: The engine that is judged, and the one that it is compared with, if any.
            rule: Decides when there are enough blocks.
            batch: The number of inferences in a query.
            limits: The least and the most time; those of the settings if None.
            spread: How far two probes differ, as a share; that of the device if None.
            profile_layers: Whether to time the layers of each side.
            measure_other_side: Whether to return the figures of the second side too.
            requested_inputs: See `measure_run`.
            confirming: Whether this is a second measurement: it may last longer, and opens the probes in the opposite
                order, so that it does not repeat an error that the order of opening made in the first.
            budgets: The budgets by figure, which the passes after the samples decide.
            energy: Decides when there are enough windows of energy; None if energy is not requested.
            phase: What the progress shows meanwhile.
        """
        say = self._bench.say
        settings, gpu = self._bench.settings, self._bench.gpu(self._environment)
        if limits is None:
            limits = Limits(
                min_time_s=settings.min_time_s,
                max_time_s=settings.max_time_s * (CONFIRMING_TIME if confirming else 1),
                warm_up_s=WARM_UP_S,
                hidden_drift=HIDDEN_DRIFT[self._environment.kind],
            )
        host = self._bench.host(self._environment)
        meter = host.energy_meter(self._environment.device_uuid)
        read = gpu.read if gpu is not None else host.cpu.read

        def read_state() -> Mapping[str, float]:
            say(phase)
            return read()

        try:
            run = measure_run(
                sides,
                rule,
                limits,
                batch=batch,
                spread=self.spread.share if spread is None else spread,
                profile_layers=profile_layers,
                measure_other_side=measure_other_side,
                requested_inputs=requested_inputs,
                reverse_opening=confirming,
                pass_rules=self._pass_rules(budgets or {}),
                energy_pass=None if energy is None else choose_energy_pass(energy, gpu, read, meter),
                state=read_state,
                process_bytes=gpu.process_bytes if gpu is not None else None,
                say=say,
            )
        finally:
            say("")
        if self._engine and len(sides) > 1:
            self._learn(sides, run)
        return run

    def _learn(self, sides: Sequence[Side], run: MeasuredRun) -> None:
        """Add what the pairs of probes show about the engine's spread to the calibration of this card."""
        medians = pair_medians(RegressionQuestion(), run.sampling.sides)
        opened = [(server, subject.plan, subject.options) for server, subject in sides]
        pairs = PairedMedians(medians, run.reversed_opening, same_plan=opened[0] == opened[1])
        learn(self._bench.store.folder, self._environment, self._engine, pairs)

    def _pass_rules(self, budgets: Mapping[str, float]) -> PassRules:
        throughput = {name: limit for name, limit in budgets.items() if name == "throughput"}
        generated = {name: limit for name, limit in budgets.items() if name in GENERATED}
        once = {name: limit for name, limit in budgets.items() if name in ("load_s", "first_ms")}
        return PassRules(
            throughput=LimitRule(throughput, spread=self.spread.share) if throughput else None,
            generation=LimitRule(generated, spread=self.spread.share) if generated else None,
            openings=RepeatsRule(once) if once else None,
        )

    def invalid_verdicts(self, run: MeasuredRun) -> tuple[Verdict, ...]:
        """Return a verdict for each reason why the figures are unusable: neither a regression nor a pass."""
        reasons = [f"another process kept the GPU busy ({self._busy}): measure when it is free"] if self._busy else []
        states = [*run.states, *(b.state for side in run.sampling.sides[1:] for s in side for b in s.blocks)]
        reasons += [f"the GPU was slowed down ({why}): measure when it is cool" for why in slowdown_reasons(states)]
        return tuple(Verdict("invalid", "run", "", reason) for reason in reasons)


def measure_and_confirm(
    measure: Callable[[Sequence[Verdict]], MeasuredRun], judge: Callable[[MeasuredRun], tuple[Verdict, ...]]
) -> ConfirmedRun:
    """Measure and judge; if a verdict fails, measure and judge again, and keep only what is not refuted.

    Args:
        measure: Takes a measurement in fresh probes. Its argument is the failing verdicts that this one confirms; none
            for the first measurement.
        judge: Returns the verdicts of a measurement.
    """
    run = measure(())
    verdicts = judge(run)
    failing = [verdict for verdict in verdicts if verdict.status in FAILS]
    if not failing:
        return ConfirmedRun(run, verdicts)
    again = measure(failing)
    return ConfirmedRun(run, confirm_verdicts(verdicts, judge(again)), again)
