"""Find the first layer whose output departs from the reference.

The model is built again with many of its inner tensors marked as outputs, and run on both sides: as the case declares
it, and in fp32 by ONNX Runtime. Each round narrows the span of layers many times over. The last round marks only the
layer that was found and its inputs, since marked tensors keep layers from being fused.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core.backends import REFERENCE
from pytest_trt.core.records import Verdict
from pytest_trt.core.scratch import ScratchFolder
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
"""How many tensors are marked in one build."""

MAX_BUILDS = 8
"""How many marked models are built at most."""

GRADUAL = 0.5
"""From this share of the limit on, the error of a layer's inputs is as large as what the layer itself adds."""


@dataclasses.dataclass(frozen=True)
class Reading:
    """A frozen record of one tensor compared with its reference.

    Attributes:
        verdict: The verdict on the tensor.
        limit_share: The error of the worst element as a share of what is allowed there.
        infinite: Whether it has a NaN or an infinity where the reference has none, or the other way round.
    """

    verdict: Verdict
    limit_share: float
    infinite: bool = False


Compare = Callable[[Sequence[str]], Mapping[str, Reading]]
"""Builds the model with these tensors marked, and compares each of them and each output with the reference."""


@dataclasses.dataclass(frozen=True)
class BisectionResult:
    """A frozen record of where outputs depart.

    Attributes:
        first: The first tensor that departs; None if none does.
        reading: Its comparison with the reference.
        sources: The comparisons of the tensors that it is computed from.
        confirmed: Whether it departs, and its sources agree, with nothing else marked.
        why: What is not certain; empty if confirmed.
        builds: How many marked models were built.
        marked: How many tensors were marked in them.
    """

    first: IntermediateTensor | None
    reading: Reading | None = None
    sources: Mapping[str, Reading] = dataclasses.field(default_factory=dict)
    confirmed: bool = False
    why: str = ""
    builds: int = 0
    marked: int = 0

    @property
    def is_gradual(self) -> bool:
        """Whether its inputs are nearly as wrong, so that no single layer is at fault."""
        return any(reading.limit_share >= GRADUAL for reading in self.sources.values())


class Bisection:
    """The search. It knows only names and readings.

    Once it has seen a NaN or an infinity, it searches for the first tensor that has one: an inexact tensor before that
    does not explain it.

    Args:
        graph: The tensors of the model, and what each is computed from.
        compare: Compares marked tensors with the reference.
        at_once: How many tensors are marked in one build.
        max_builds: How many marked models are built at most.
    """

    def __init__(self, graph: TensorGraph, compare: Compare, at_once: int, max_builds: int) -> None:
        self._graph, self._compare, self._at_once, self._max_builds = graph, compare, at_once, max_builds
        self._order = {name: index for index, name in enumerate(graph.tensors)}
        self._known: dict[str, Reading] = {}
        self._builds = self._marked = 0
        self._infinite = False

    def run(self) -> BisectionResult:
        """Narrow the span above the first departing output down to one layer, then compare that layer alone."""
        outputs = self._compare(())
        self._add_readings(outputs)
        departing = [name for name, reading in outputs.items() if self._departs(reading)]
        if not departing:
            return BisectionResult(None, why="every output agrees with ONNX Runtime's in fp32, element by element")
        bad = min(departing, key=lambda name: self._order.get(name, len(self._order)))
        while self._builds < self._max_builds:
            span = self._span(bad)
            if not span:
                return self._confirm(bad)
            before = self._known[bad]
            marked = (*_spread(span, self._at_once), bad)
            seen = self._compare_marked(marked)
            first = next((name for name in marked if self._departs(seen[name])), None)
            if first is not None:
                bad = first
                continue
            self._known = {**outputs, bad: before}
            if self._at_once == 1 or len(marked) == 2:
                return self._result(bad, "it agrees as soon as a tensor before it is marked: a fusion is at fault")
            self._at_once = max(1, min(self._at_once, len(span)) // 8)
        return self._result(bad, f"{len(self._span(bad))} layers before it were not compared: allow more builds")

    def _span(self, bad: str) -> list[str]:
        """Return the tensors above `bad` that may depart: those that no agreeing tensor depends on."""
        agreeing = [name for name, reading in self._known.items() if not self._departs(reading)]
        above = self._graph.upstream(bad) - {bad}
        cleared = frozenset().union(*(self._graph.upstream(name) for name in agreeing if name in above))
        return sorted(above - cleared, key=self._order.__getitem__)

    def _compare_marked(self, names: Sequence[str]) -> Mapping[str, Reading]:
        self._builds += 1
        self._marked += len(names)
        seen = self._compare(names)
        self._add_readings(seen)
        return seen

    def _add_readings(self, seen: Mapping[str, Reading]) -> None:
        self._known.update(seen)
        self._infinite |= any(reading.infinite for reading in seen.values())

    def _departs(self, reading: Reading) -> bool:
        return reading.infinite if self._infinite else reading.verdict.status != "ok"

    def _confirm(self, bad: str) -> BisectionResult:
        """Compare `bad` with only its sources marked.

        If a source then departs, although it was assumed to agree, the search continues above that source.
        """
        point = self._graph.tensors.get(bad)
        if point is None:
            return self._result(bad, "it depends on no input, or is not a float; all its inputs agree")
        while True:
            seen = self._compare_marked((*point.sources, bad))
            source = next((name for name in point.sources if self._departs(seen[name])), None)
            if source is None:
                break
            point, bad = self._graph.tensors[source], source
            if self._builds >= self._max_builds:
                return self._result(bad, "its inputs were not compared: allow more builds")
        sources = {name: seen[name] for name in point.sources}
        if not self._departs(seen[bad]):
            return self._result(bad, "it agrees if nothing else is marked: the fault is in a fusion with other layers")
        return self._result(bad, "", sources, seen[bad])

    def _result(
        self, bad: str, why: str, sources: Mapping[str, Reading] | None = None, reading: Reading | None = None
    ) -> BisectionResult:
        return BisectionResult(
            first=self._graph.tensors.get(bad) or IntermediateTensor(bad, bad, "", ()),
            reading=reading or self._known[bad],
            sources=sources or {},
            confirmed=not why,
            why=why,
            builds=self._builds,
            marked=self._marked,
        )


class _Sides:
    """A model's tensors as the case computes them, and as ONNX Runtime does."""

    def __init__(self, bench: Bench, case: Case, folders: Sequence[Path], inputs: Arrays | None, scratch: Path) -> None:
        self._bench, self._case, self._folders, self._scratch = bench, case, folders, scratch
        self._inputs = inputs
        self.graph = TensorGraph(case.model)
        spec, environment = case.declaration.spec, case.environment
        accuracy = case.declaration.accuracy or Accuracy()
        limits = allowed_error.limits_for(accuracy, spec.precision, spec.tf32 and environment.kind == "gpu")
        self._limits, self._unordered = allowed_error.elementwise(limits), accuracy.unordered

    def compare(self, names: Sequence[str]) -> Mapping[str, Reading]:
        """Compare tensors (see `Compare`). From the second call on, limits are relative to each tensor's own size."""
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
            with EngineProbe(
                self._bench.server(case.backend, case.environment), case.subject(engine, self._inputs)
            ) as probe:
                self._inputs = self._inputs or probe.current_inputs()
                outputs = probe.infer(self._inputs)
            reference = reference_outputs(REFERENCE, self._inputs, case.model, case.shapes, (), self._bench)
        return restore_order(outputs, reference, self._unordered), reference

    def _read(self, outputs: Arrays, reference: Arrays) -> Mapping[str, Reading]:
        return {name: self._reading(name, outputs, expected) for name, expected in reference.items()}

    def _reading(self, name: str, outputs: Arrays, expected: Array) -> Reading:
        source = REFERENCE
        if (fault := verdicts.shape_mismatch(name, outputs, expected.shape, source)) is not None:
            return Reading(fault, math.inf)
        limits = self._limits.for_kind(expected.dtype.kind)
        found = compare(outputs[name], expected, limits)
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
    max_builds: int = MAX_BUILDS,
) -> BisectionResult:
    """Find the first layer whose output departs from what ONNX Runtime computes in fp32.

    Args:
        bench: The resources of the run.
        declaration: The model, and in `accuracy` what is allowed. An absolute tolerance is scaled to each tensor's root
            mean square.
        folders: Where relative paths are looked for.
        inputs: Arrays by input name; None to generate them from the seed.
        at_once: How many tensors are marked in one build.
        max_builds: How many marked models are built at most.

    Raises:
        DeclarationError: The model is a plan, which has no tensors to mark.
        ModelError: The model draws random numbers, so that it cannot be compared.
    """
    if declaration.spec.is_prebuilt:
        raise DeclarationError(f"{declaration.spec.path} is a plan, which has no tensors to mark: name its model")
    with Case(bench, "bisection", declaration, folders) as case, ScratchFolder("bisection") as scratch:
        if why := randomness.reason_not_comparable(case.model):
            raise ModelError(why)
        sides = _Sides(bench, case, folders, inputs, scratch)
        return Bisection(sides.graph, sides.compare, at_once, max_builds).run()


def describe(found: BisectionResult) -> tuple[str, ...]:
    """Return the result as lines for a person."""
    if found.first is None or found.reading is None:
        return (found.why,)
    kind = f" ({found.first.op})" if found.first.op else ""
    verdict = found.reading.verdict
    lines = [f"first to depart: {found.first.node}{kind}: {verdict.text}", *(f"  {line}" for line in verdict.details)]
    for name, reading in found.sources.items():
        worst = f", its worst element at {reading.limit_share:.0%} of the limit" if reading.limit_share else ", exactly"
        lines.append(f"  it reads {name!r}, which agrees{worst}")
    if not found.sources and found.confirmed:
        lines.append("  it reads nothing but the model's inputs")
    if found.is_gradual:
        lines.append("  the error grew over the layers before it: no single one is at fault")
    how = "seen again with nothing else marked" if found.confirmed else f"not certain: {found.why}"
    return (*lines, f"  {how} ({format_count(found.builds, 'build')}, {format_count(found.marked, 'tensor')} marked)")


def _spread(names: Sequence[str], count: int) -> list[str]:
    """Return at most `count` of the names, evenly spread."""
    if len(names) <= count:
        return list(names)
    return [names[(index + 1) * len(names) // (count + 1)] for index in range(count)]
