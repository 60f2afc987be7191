"""One taking: fresh probes, sampled until every question is answered, and the passes of their own after that."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_trt.core.records import Estimate, LayerProfile
from pytest_trt.measure import figures
from pytest_trt.measure.engine_probe import Clock, Subject
from pytest_trt.measure.probe.server import ProbeServer
from pytest_trt.measure.probe_source import ProbeSource
from pytest_trt.measure.sampler import Limits, Sampling, sample
from pytest_trt.measure.stopping import Rule

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

PROFILE_S = 1.0
MOST_PROFILED = 50
"""Layers are timed over about a second of inferences, and no more than so many."""


@dataclasses.dataclass(frozen=True)
class MeasuredRun:
    """What one taking gave. Figures, proof and memory are side 0's, `others` the figures of side 1, where asked, as are
    `profiles`, one for each side. `answer` is what side 0 was given and what it gave, where its outputs were asked for.
    `around` is the state of the GPU (or host) before the probes were there and after they were gone. `parts_s` says
    where the time went."""

    sampling: Sampling
    figures: Mapping[str, Estimate]
    proof: Mapping[str, str]
    profiles: tuple[LayerProfile, ...] = ()
    other_figures: Mapping[str, Estimate] = dataclasses.field(default_factory=dict)
    inputs_and_outputs: tuple[Arrays, Arrays] | None = None
    idle_states: tuple[Mapping[str, float], Mapping[str, float]] = ({}, {})
    parts_s: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def states(self) -> list[Mapping[str, float]]:
        """The state before, after each block of side 0, and after."""
        before, after = self.idle_states
        return [before, *(block.state for samples in self.sampling.sides[0] for block in samples.blocks), after]


def measure_run(
    sides: Sequence[tuple[ProbeServer, Subject]],
    rule: Rule,
    limits: Limits,
    *,
    batch: int,
    spread: float,
    profile_layers: bool = False,
    measure_other_side: bool = False,
    requested_inputs: Arrays | None = None,
    state: Callable[[], Mapping[str, float]] | None = None,
) -> MeasuredRun:
    """Sample and measure. `batch` is how many inferences a query makes; `spread` how far two probes differ, as a share;
    `profiled` is whether the layers are timed too, `compared` whether the figures of side 1 are wanted; `asked` are
    inputs to infer on at the end, none of them: those that were measured on. `state` reads the state of the GPU, or of
    the host, before, after each block, and afterwards. Errors of the probes pass through.
    """
    before = state() if state is not None else {}
    clock = Clock()
    with ProbeSource(sides, state, clock) as source:
        sampling = sample(source, rule, limits)
        clock.ended("sampling")
        probe = source.probes[0]
        found = figures.from_blocks(sampling.sides[0], spread)
        found["load_s"], found["first_ms"] = Estimate.exact(probe.load_s), Estimate.exact(probe.first_ms)
        found["throughput"] = figures.throughput(probe, found["ms"], batch, overlapped="gpu_ms" in found)
        clock.ended("throughput")
        if not (measure_other_side or profile_layers):
            source.release_all_but(0)  # they end while the passes of this one run
        found.update(figures.from_memory(probe.memory()))
        other_figures: dict[str, Estimate] = {}
        if measure_other_side and len(sides) > 1:
            other_figures.update(figures.from_blocks(sampling.sides[1], spread))
            other_figures.update(figures.from_memory(source.probes[1].memory()))
        clock.ended("memory")
        runs = max(3, min(MOST_PROFILED, round(PROFILE_S * 1000 / found["ms"].value)))
        profiles = tuple(probe.profile(runs) for probe in source.probes) if profile_layers else ()
        clock.ended("layers")
        inputs_and_outputs = None
        if requested_inputs is not None:
            inputs = requested_inputs or probe.current_inputs()
            inputs_and_outputs = inputs, probe.infer(inputs)
            clock.ended("outputs")
    clock.ended("end")
    idle_states = before, state() if state is not None else {}
    return MeasuredRun(
        sampling,
        found,
        probe.proof,
        profiles,
        other_figures,
        inputs_and_outputs,
        idle_states,
        _split(clock.seconds, sampling),
    )


def _split(seconds: Mapping[str, float], sampling: Sampling) -> dict[str, float]:
    """The parts, with what sampling was: warm-up, blocks, and asking for them and judging in between."""
    parts: dict[str, float] = {}
    for name, part in seconds.items():
        if name == "sampling":
            between = max(part - sampling.warm_up_s - sampling.seconds, 0.0)
            parts.update({"warm-up": sampling.warm_up_s, "blocks": sampling.seconds, "between blocks": between})
        else:
            parts[name] = part
    return parts
