"""Run one measurement: start fresh probes, sample until the rule stops, then run the extra passes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_trt.core.records import Block, Estimate, LayerProfile, Samples
from pytest_trt.measure import figures
from pytest_trt.measure.energy import EnergyPass, EnergyRun
from pytest_trt.measure.engine_probe import EngineProbe, Subject
from pytest_trt.measure.generation import GenerationRun, measure_generation
from pytest_trt.measure.probe.factory import ProbeFactory
from pytest_trt.measure.probe_source import ProbeSource
from pytest_trt.measure.sampler import Limits, Sampling, sample
from pytest_trt.measure.stopping import Rule
from pytest_trt.measure.stopwatch import Stopwatch

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

PROFILE_S = 1.0
"""How long the inferences that time the layers last, in seconds, within the bounds below."""

MIN_PROFILED = 3
"""The least inferences that time the layers."""

MAX_PROFILED = 50
"""The most inferences that time the layers."""


@dataclasses.dataclass(frozen=True)
class PassRules:
    """The rules of the passes after the samples: a figure with a budget is measured until the budget is decided.

    Attributes:
        throughput: Decides when there are enough windows of throughput; None if it is not judged.
        openings: Decides when enough fresh probes have opened the engine; None if one is enough.
        generation: Decides when there are enough generations; None if they are not judged.
    """

    throughput: Rule | None = None
    generation: Rule | None = None
    openings: Rule | None = None


@dataclasses.dataclass(frozen=True)
class MeasuredRun:
    """The result of one measurement.

    Attributes:
        sampling: The blocks of both sides.
        figures: The figures of side 0.
        proof: What really ran on side 0, as text by name (`Runner.proof`).
        profiles: The layer times of each side; empty unless requested.
        other_figures: The throughput of side 1; all its figures if requested.
        inputs_and_outputs: The inputs and outputs of one inference on side 0; None unless requested.
        idle_states: The state of the GPU or host before the probes started, and after they ended.
        energy: The windows of energy of both sides; None unless requested.
        generation: What side 0 generated; None if it generates nothing.
        windows: The windows of throughput of side 0; empty if its queries do not overlap.
        parts_s: How long each part of the measurement took, in seconds.
        reversed_opening: Whether the probes of every turn were opened in the opposite order.
    """

    sampling: Sampling
    figures: Mapping[str, Estimate]
    proof: Mapping[str, str]
    profiles: tuple[LayerProfile, ...] = ()
    other_figures: Mapping[str, Estimate] = dataclasses.field(default_factory=dict)
    inputs_and_outputs: tuple[Arrays, Arrays] | None = None
    idle_states: tuple[Mapping[str, float], Mapping[str, float]] = ({}, {})
    energy: EnergyRun | None = None
    generation: GenerationRun | None = None
    windows: tuple[Samples, ...] = ()
    parts_s: Mapping[str, float] = dataclasses.field(default_factory=dict)
    reversed_opening: bool = False

    @property
    def samples(self) -> tuple[Samples, ...]:
        """All samples of side 0: the blocks, the windows of throughput and the generations."""
        generations = self.generation.samples if self.generation is not None else ()
        return (*self.sampling.sides[0], *self.windows, *generations)

    @property
    def states(self) -> list[Mapping[str, float]]:
        """The states before the probes started, after each block of side 0, and after the probes ended."""
        before, after = self.idle_states
        return [before, *(block.state for samples in self.sampling.sides[0] for block in samples.blocks), after]


def measure_run(
    sides: Sequence[tuple[ProbeFactory, Subject]],
    rule: Rule,
    limits: Limits,
    *,
    batch: int,
    spread: float,
    profile_layers: bool = False,
    measure_other_side: bool = False,
    requested_inputs: Arrays | None = None,
    reverse_opening: bool = False,
    pass_rules: PassRules = PassRules(),
    energy_pass: EnergyPass | None = None,
    state: Callable[[], Mapping[str, float]] | None = None,
    process_bytes: Callable[[int], int | None] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> MeasuredRun:
    """Run one measurement. Errors of the probes pass through.

    Args:
        sides: For each side, the server that forks its probes, and what they open. Side 0 is the side that is judged.
        rule: Decides when there are enough blocks.
        limits: The least and the most time, and the most probes.
        batch: The number of inferences in a query.
        spread: How far two probes of one plan may differ, as a share.
        profile_layers: Whether to time the layers of each side.
        measure_other_side: Whether to return the figures of side 1.
        requested_inputs: Inputs for one inference at the end, whose outputs are returned; an empty mapping for the
            inputs that the blocks run on, None for no such inference.
        reverse_opening: Whether to open the probes of every turn in the opposite order.
        pass_rules: Decide how long the passes after the samples last.
        energy_pass: Measures the energy of each side, in turn; None if it is not requested.
        state: Reads the state of the GPU or host: before the probes start, after each block, after the probes end.
        process_bytes: Returns the device memory of a process by its id; None if it is not known.
        say: Shows which pass runs.
    """
    before = state() if state is not None else {}
    stopwatch = Stopwatch()
    with ProbeSource(sides, state, stopwatch, reverse_opening=reverse_opening) as source:
        sampling = sample(source, rule, limits)
        stopwatch.lap("sampling")
        probe, others = source.probes[0], source.probes[1:]
        measure_throughput = functools.partial(
            figures.throughput, batch=batch, spread=spread, max_time_s=limits.max_time_s, state=state
        )
        found = _side_figures(probe, sampling.sides[0], spread, process_bytes)
        found["throughput"], windows = measure_throughput(probe, found, rule=pass_rules.throughput)
        other_figures: dict[str, Estimate] = {}
        for other in others:
            other_found = _side_figures(other, sampling.sides[1], spread, process_bytes)
            other_figures["throughput"], _ = measure_throughput(other, other_found)
            if measure_other_side:
                other_figures.update({**other_found, **figures.from_openings([_opening(other)])})
        stopwatch.lap("throughput")
        energy = None
        if energy_pass is not None:
            say("measuring energy")
            energy = energy_pass.measure(source.probes, batch=batch)
            found.update(energy.figures(0))
            other_figures.update(energy.figures(1))
            stopwatch.lap("energy")
        generation = None
        if (requested_tokens := sides[0][1].generation) is not None:
            say("generating")
            generation = measure_generation(
                probe,
                requested_tokens,
                spread=spread,
                rule=pass_rules.generation,
                max_time_s=limits.max_time_s,
                keep_example=requested_inputs is not None,
            )
            found.update(generation.figures)
            stopwatch.lap("generation")
        if not (measure_other_side or profile_layers):
            source.release_all_but(0)  # the others exit while the passes of this one run
        found.update(figures.from_memory(probe.memory()))
        if measure_other_side and others:
            other_figures.update(figures.from_memory(others[0].memory()))
        stopwatch.lap("memory")
        if profile_layers:
            say("timing the layers")
        runs = max(MIN_PROFILED, min(MAX_PROFILED, round(PROFILE_S * 1000 / found["ms"].value)))
        profiles = tuple(probe.profile(runs) for probe in source.probes) if profile_layers else ()
        stopwatch.lap("layers")
        inputs_and_outputs = None
        if requested_inputs is not None:
            inputs = requested_inputs or probe.current_inputs()
            inputs_and_outputs = inputs, probe.infer(inputs)
            stopwatch.lap("outputs")
    stopwatch.lap("end")
    openings = [_opening(probe)]
    if (rule_of_openings := pass_rules.openings) is not None:
        rule_of_openings.add(0, 0, openings[0])
        while not rule_of_openings.finished():
            say("loading again")
            with EngineProbe(*sides[0]) as fresh:
                openings.append(_opening(fresh))
            rule_of_openings.add(0, len(openings) - 1, openings[-1])
        stopwatch.lap("openings")
    found.update(figures.from_openings(openings))
    return MeasuredRun(
        sampling,
        found,
        {
            **probe.proof,
            **(energy.proof if energy is not None else {}),
            **({"step by tokens": generation.growth} if generation is not None and generation.growth else {}),
        },
        profiles,
        other_figures,
        inputs_and_outputs,
        idle_states=(before, state() if state is not None else {}),
        energy=energy,
        generation=generation,
        windows=windows,
        parts_s=_split_sampling(stopwatch.seconds, sampling),
        reversed_opening=reverse_opening,
    )


def _side_figures(
    probe: EngineProbe,
    samples: Sequence[Samples],
    spread: float,
    process_bytes: Callable[[int], int | None] | None,
) -> dict[str, Estimate]:
    """Return the figures of the blocks of one side, and the memory of its process."""
    found = figures.from_blocks(samples, spread)
    if process_bytes is not None and (size := process_bytes(probe.pid)) is not None:
        found["process_mb"] = Estimate.exact(size / 1e6)
    return found


def _opening(probe: EngineProbe) -> Block:
    """Return how long a probe took to load its engine and to run it once."""
    return Block({"load_s": (probe.load_s,), "first_ms": (probe.first_ms,)}, probe.load_s + probe.first_ms / 1000)


def _split_sampling(seconds: Mapping[str, float], sampling: Sampling) -> dict[str, float]:
    """Return the parts with `sampling` split into warm-up, blocks, and the time between blocks."""
    parts: dict[str, float] = {}
    for name, part in seconds.items():
        if name == "sampling":
            between = max(part - sampling.warm_up_s - sampling.seconds, 0.0)
            parts.update({"warm-up": sampling.warm_up_s, "blocks": sampling.seconds, "between blocks": between})
        else:
            parts[name] = part
    return parts
