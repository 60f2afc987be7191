"""From outputs that depart from their reference to the first layer that does.

The model is built again with tensors between its inputs and outputs marked as outputs, many at once, and run on both
sides: as the case declares it, and in fp32 by ONNX Runtime. Each round halves the span many times over; the last one
marks nothing but the layer that was found and what it reads, since marked tensors keep layers from being fused.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core.backends import REFERENCE
from pytest_trt.core.records import Verdict
from pytest_trt.engine.model import randomness
from pytest_trt.engine.model.intermediate import IntermediateTensor, TensorGraph
from pytest_trt.errors import DeclarationError, ModelError
from pytest_trt.judge.accuracy import allowed_error, verdicts
from pytest_trt.judge.accuracy.difference import compare
from pytest_trt.judge.accuracy.unordered import restore_order
from pytest_trt.measure.engine_probe import EngineProbe
from pytest_trt.report.numbers import format_count
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.expectations import Accuracy
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case
from pytest_trt.trial.reference_outputs import reference_outputs

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays
    from pytest_trt.judge.accuracy.norms import Array

AT_ONCE = 32
"""Tensors that are marked in one build."""

MOST_BUILDS = 8

GRADUAL = 0.5
"""From this share of what is allowed on, the error in what a layer reads is no smaller than what the layer adds."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """A tensor against its reference. `used` is the worst element's error as a share of what is allowed; `infinite`
    is whether there is a NaN or an infinity that the reference has not, or the other way round."""

    verdict: Verdict
    used: float
    infinite: bool = False


Compare = Callable[[Sequence[str]], Mapping[str, Reading]]
"""Builds with these tensors marked, and reads each of them and each of the model's outputs."""


@dataclasses.dataclass(frozen=True)
class Found:
    """Where outputs depart. `first` is the first point that does, None where nothing departs; `sources` are the
    readings of what it is computed from. `confirmed`: it departs, and they agree, with nothing else marked. Otherwise
    `why` says what is not known. `builds` counts those of marked models."""

    first: IntermediateTensor | None
    reading: Reading | None = None
    sources: Mapping[str, Reading] = dataclasses.field(default_factory=dict)
    confirmed: bool = False
    why: str = ""
    builds: int = 0
    marked: int = 0

    @property
    def gradual(self) -> bool:
        """Whether what it reads is nearly as wrong, so that no single layer is at fault."""
        return any(reading.used >= GRADUAL for reading in self.sources.values())


class Bisection:
    """The search, which knows names and readings alone. `compare` builds `most_builds` times at most, with `at_once`
    tensors marked. Once a NaN or an infinity was seen, the first of those is looked for: what is merely inexact before
    it does not explain it."""

    def __init__(self, graph: TensorGraph, compare: Compare, at_once: int, most_builds: int) -> None:
        self._graph, self._compare, self._at_once, self._most_builds = graph, compare, at_once, most_builds
        self._order = {name: place for place, name in enumerate(graph.tensors)}
        self._known: dict[str, Reading] = {}
        self._builds = self._marked = 0
        self._infinite = False

    def run(self) -> Found:
        """Narrow the span above the first output that departs until one layer is left, then look at that alone."""
        outputs = self._compare(())
        self._learn(outputs)
        departing = [name for name, reading in outputs.items() if self._departs(reading)]
        if not departing:
            return Found(None, why="every output agrees with ONNX Runtime's in fp32, element by element")
        bad = min(departing, key=lambda name: self._order.get(name, len(self._order)))
        while self._builds < self._most_builds:
            span = self._span(bad)
            if not span:
                return self._confirmed(bad)
            before = self._known[bad]
            looked = (*_spread(span, self._at_once), bad)
            seen = self._look(looked)
            first = next((name for name in looked if self._departs(seen[name])), None)
            if first is not None:
                bad = first
                continue
            self._known = {**outputs, bad: before}
            if self._at_once == 1 or len(looked) == 2:
                return self._ended(bad, "it agrees as soon as a tensor before it is marked: a fusion is at fault")
            self._at_once = max(1, min(self._at_once, len(span)) // 8)
        return self._ended(bad, f"{len(self._span(bad))} layers before it were not looked at: allow more builds")

    def _span(self, bad: str) -> list[str]:
        """What may be the first to depart, beside `bad`: the points above it that are above nothing that agrees."""
        agreeing = [name for name, reading in self._known.items() if not self._departs(reading)]
        above = self._graph.upstream(bad) - {bad}
        cleared = frozenset().union(*(self._graph.upstream(name) for name in agreeing if name in above))
        return sorted(above - cleared, key=self._order.__getitem__)

    def _look(self, names: Sequence[str]) -> Mapping[str, Reading]:
        self._builds += 1
        self._marked += len(names)
        seen = self._compare(names)
        self._learn(seen)
        return seen

    def _learn(self, seen: Mapping[str, Reading]) -> None:
        self._known.update(seen)
        self._infinite |= any(reading.infinite for reading in seen.values())

    def _departs(self, reading: Reading) -> bool:
        return reading.infinite if self._infinite else reading.verdict.status != "ok"

    def _confirmed(self, bad: str) -> Found:
        """`bad` with nothing but what it is computed from marked. Where a source departs then, though it was taken to
        agree, the search goes on above it."""
        point = self._graph.tensors.get(bad)
        if point is None:
            return self._ended(bad, "no input goes into it, or it is no float; all it is computed from agrees")
        while True:
            seen = self._look((*point.sources, bad))
            source = next((name for name in point.sources if self._departs(seen[name])), None)
            if source is None:
                break
            point, bad = self._graph.tensors[source], source
            if self._builds >= self._most_builds:
                return self._ended(bad, "what it is computed from was not looked at: allow more builds")
        sources = {name: seen[name] for name in point.sources}
        if not self._departs(seen[bad]):
            return self._ended(bad, "with nothing else marked it agrees: what departs is fused with others there")
        return self._ended(bad, "", sources, seen[bad])

    def _ended(
        self, bad: str, why: str, sources: Mapping[str, Reading] | None = None, reading: Reading | None = None
    ) -> Found:
        return Found(
            first=self._graph.tensors.get(bad) or IntermediateTensor(bad, bad, "", ()),
            reading=reading or self._known[bad],
            sources=sources or {},
            confirmed=not why,
            why=why,
            builds=self._builds,
            marked=self._marked,
        )


class _Sides:
    """A model's tensors as the case computes them, against ONNX Runtime's."""

    def __init__(self, bench: Bench, case: Case, folders: Sequence[Path], inputs: Arrays | None, scratch: Path) -> None:
        self._bench, self._case, self._folders, self._scratch = bench, case, folders, scratch
        self._inputs = inputs
        self.graph = TensorGraph(case.model)
        spec, environment = case.declaration.spec, case.environment
        wanted = case.declaration.accuracy or Accuracy()
        limits = allowed_error.limits_for(wanted, spec.precision, spec.tf32 and environment.kind == "gpu")
        self._limits, self._unordered = allowed_error.elementwise(limits), wanted.unordered

    def compare(self, names: Sequence[str]) -> Mapping[str, Reading]:
        """See Compare. From the second time on, what is allowed goes with each tensor's own size."""
        if not names:
            outputs, reference = self._run(self._case)
            found = self._read(outputs, reference)
            departing = next((name for name, reading in found.items() if reading.verdict.status != "ok"), None)
            if departing is not None:
                self._limits = allowed_error.relative_to_rms(self._limits, reference[departing])
            return found
        path = self._scratch / f"{self._case.model.path.stem}.onnx"
        self.graph.write_marked(names, path)
        spec = dataclasses.replace(self._case.declaration.spec, path=str(path), onnx=None)
        declaration = dataclasses.replace(self._case.declaration, spec=spec)
        with Case(self._bench, "bisection", declaration, self._folders) as marked:
            return self._read(*self._run(marked))

    def _run(self, case: Case) -> tuple[Arrays, Arrays]:
        engine = case.engine
        with self._bench.lock(case.environment):
            with EngineProbe(self._bench.server(case.backend), case.subject(engine, self._inputs)) as probe:
                self._inputs = self._inputs or probe.current_inputs()
                outputs = probe.infer(self._inputs)
            reference = reference_outputs(REFERENCE, self._inputs, case.model, case.shapes, (), self._bench)
        return restore_order(outputs, reference, self._unordered), reference

    def _read(self, outputs: Arrays, reference: Arrays) -> Mapping[str, Reading]:
        return {name: self._reading(name, outputs, wanted) for name, wanted in reference.items()}

    def _reading(self, name: str, outputs: Arrays, wanted: Array) -> Reading:
        source = REFERENCE
        if (fault := verdicts.shape_mismatch(name, outputs, wanted.shape, source)) is not None:
            return Reading(fault, math.inf)
        limits = self._limits.for_kind(wanted.dtype.kind)
        found = compare(outputs[name], wanted, limits)
        return Reading(
            verdicts.judge_difference(name, found, limits, source), found.worst_ratio, math.isinf(found.max_abs)
        )


def bisect(
    bench: Bench,
    declaration: Declaration,
    folders: Sequence[Path],
    inputs: Arrays | None = None,
    *,
    at_once: int = AT_ONCE,
    most_builds: int = MOST_BUILDS,
) -> Found:
    """The first layer whose output departs from what ONNX Runtime computes in fp32, by what the declaration's
    `accuracy` allows (an absolute tolerance goes with each tensor's root mean square), on `inputs`, else on those that
    are drawn from the seed.

    Raises DeclarationError for a plan, whose model is not known, and ModelError for a model that draws random numbers;
    every TrtError of building and running passes through.
    """
    if declaration.spec.is_prebuilt:
        raise DeclarationError(f"{declaration.spec.path} is a plan, which has no tensors to mark: name its model")
    with Case(bench, "bisection", declaration, folders) as case, tempfile.TemporaryDirectory() as scratch:
        if why := randomness.reason_not_comparable(case.model):
            raise ModelError(why)
        sides = _Sides(bench, case, folders, inputs, Path(scratch))
        return Bisection(sides.graph, sides.compare, at_once, most_builds).run()


def lines(found: Found) -> tuple[str, ...]:
    """What was found, for a person."""
    if found.first is None or found.reading is None:
        return (found.why,)
    kind = f" ({found.first.op})" if found.first.op else ""
    verdict = found.reading.verdict
    said = [f"first to depart: {found.first.node}{kind}: {verdict.text}", *(f"  {line}" for line in verdict.details)]
    for name, reading in found.sources.items():
        worst = f", its worst element at {reading.used:.0%} of what is allowed" if reading.used else ", exactly"
        said.append(f"  it reads {name!r}, which agrees{worst}")
    if not found.sources and found.confirmed:
        said.append("  it reads nothing but the model's inputs")
    if found.gradual:
        said.append("  the error grew over the layers before it: no single one is at fault")
    how = "seen again with nothing else marked" if found.confirmed else f"not certain: {found.why}"
    return (*said, f"  {how} ({format_count(found.builds, 'build')}, {format_count(found.marked, 'tensor')} marked)")


def _spread(names: Sequence[str], count: int) -> list[str]:
    """`count` of the names at most, evenly spread."""
    if len(names) <= count:
        return list(names)
    return [names[(place + 1) * len(names) // (count + 1)] for place in range(count)]
