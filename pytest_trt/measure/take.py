"""One taking: fresh probes, sampled until every question is answered, and the passes of their own after that."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

from pytest_trt.measure import figures
from pytest_trt.measure.probe_source import ProbeSource, Subject
from pytest_trt.measure.sampler import Limits, Sampling, sample
from pytest_trt.measure.stopping import Rule
from pytest_trt.probe.client import ProbeServer
from pytest_trt.records import Estimate, LayerProfile

PROFILE_S = 1.0
MOST_PROFILED = 50
"""Layers are timed over about a second of inferences, and no more than so many."""


@dataclasses.dataclass(frozen=True)
class Taken:
    """What one taking gave. Figures, proof and memory are side 0's, `others` the figures of side 1 where there is one;
    `profiles` has one for each side, where asked."""

    sampling: Sampling
    figures: Mapping[str, Estimate]
    proof: Mapping[str, str]
    profiles: tuple[LayerProfile, ...] = ()
    others: Mapping[str, Estimate] = dataclasses.field(default_factory=dict)
    parts_s: Mapping[str, float] = dataclasses.field(default_factory=dict)


def take(
    sides: Sequence[tuple[ProbeServer, Subject]],
    rule: Rule,
    limits: Limits,
    *,
    batch: int,
    spread: float,
    profiled: bool = False,
    state: Callable[[], Mapping[str, float]] | None = None,
) -> Taken:
    """Sample and measure. `batch` is how many inferences a query makes; `spread` how far two probes differ, as a share;
    `profiled` is whether the layers are timed too; `state` reads the GPU's state after each block. Errors of the probes
    pass through.
    """
    parts = Parts()
    with ProbeSource(sides, state) as source:
        parts.ended("start")
        sampling = sample(source, rule, limits)
        parts.ended("sample")
        probe = source.probes[0]
        found = figures.from_blocks(sampling.sides[0], spread)
        found["load_s"], found["first_ms"] = Estimate.exact(probe.load_s), Estimate.exact(probe.first_ms)
        found["throughput"] = figures.throughput(probe, found["ms"], batch, overlapped="gpu_ms" in found)
        found.update(figures.from_memory(probe.memory()))
        others = {
            name: estimate
            for side, probe_there in zip(sampling.sides[1:], source.probes[1:], strict=True)
            for part in (figures.from_blocks(side, spread), figures.from_memory(probe_there.memory()))
            for name, estimate in part.items()
        }
        parts.ended("passes")
        runs = max(3, min(MOST_PROFILED, round(PROFILE_S * 1000 / found["ms"].value)))
        profiles = tuple(probe.profile(runs) for probe in source.probes) if profiled else ()
        parts.ended("layers")
    parts.ended("end")
    return Taken(sampling, found, probe.proof, profiles, others, parts.seconds)


class Parts:
    """How long each part took, in seconds: the time since the part before it ended."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def ended(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._since
        self._since = now
