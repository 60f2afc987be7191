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
class Taken:
    """What one taking gave. Figures, proof and memory are side 0's, `others` the figures of side 1, where asked, as are
    `profiles`, one for each side. `answer` is what side 0 was given and what it gave, where its outputs were asked for.
    `around` is the state of the GPU (or host) before the probes were there and after they were gone. `parts_s` says
    where the time went."""

    sampling: Sampling
    figures: Mapping[str, Estimate]
    proof: Mapping[str, str]
    profiles: tuple[LayerProfile, ...] = ()
    others: Mapping[str, Estimate] = dataclasses.field(default_factory=dict)
    answer: tuple[Arrays, Arrays] | None = None
    around: tuple[Mapping[str, float], Mapping[str, float]] = ({}, {})
    parts_s: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def states(self) -> list[Mapping[str, float]]:
        """The state before, after each block of side 0, and after."""
        before, after = self.around
        return [before, *(block.state for samples in self.sampling.sides[0] for block in samples.blocks), after]


def take(
    sides: Sequence[tuple[ProbeServer, Subject]],
    rule: Rule,
    limits: Limits,
    *,
    batch: int,
    spread: float,
    profiled: bool = False,
    compared: bool = False,
    asked: Arrays | None = None,
    state: Callable[[], Mapping[str, float]] | None = None,
) -> Taken:
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
        if not (compared or profiled):
            source.release_all_but(0)  # they end while the passes of this one run
        found.update(figures.from_memory(probe.memory()))
        others: dict[str, Estimate] = {}
        if compared and len(sides) > 1:
            others.update(figures.from_blocks(sampling.sides[1], spread))
            others.update(figures.from_memory(source.probes[1].memory()))
        clock.ended("memory")
        runs = max(3, min(MOST_PROFILED, round(PROFILE_S * 1000 / found["ms"].value)))
        profiles = tuple(probe.profile(runs) for probe in source.probes) if profiled else ()
        clock.ended("layers")
        answer = None
        if asked is not None:
            inputs = asked or probe.drawn()
            answer = inputs, probe.infer(inputs)
            clock.ended("outputs")
    clock.ended("end")
    around = before, state() if state is not None else {}
    return Taken(sampling, found, probe.proof, profiles, others, answer, around, _split(clock.seconds, sampling))


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
