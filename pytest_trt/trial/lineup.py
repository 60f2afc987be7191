"""Measure one model on several backends and precisions, and compare every row's outputs with one reference.

    lineup = Lineup(declaration, bench, folders)
    rows = [lineup.row("TensorRT fp16", spec) for spec in ...]

The reference is ONNX Runtime on the CPU: it runs the model unchanged, in fp32. Every row runs on the same inputs,
which are generated from the seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core.backends import REFERENCE
from pytest_trt.core.records import Environment
from pytest_trt.core.scratch import ScratchFolder
from pytest_trt.engine.model import randomness
from pytest_trt.engine.provide import ProvidedEngine
from pytest_trt.errors import TrtError
from pytest_trt.judge.accuracy import allowed_error
from pytest_trt.judge.accuracy import verdicts as accuracy
from pytest_trt.measure.engine_probe import EngineProbe, Subject
from pytest_trt.measure.figures import split_supported
from pytest_trt.measure.stopping import Resolution
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec, Precision
from pytest_trt.spec.expectations import Accuracy
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case
from pytest_trt.trial.measuring import MeasuringDevice
from pytest_trt.trial.pool import BOUND_DEVICE
from pytest_trt.trial.probe_spread import spread_of
from pytest_trt.trial.trial import Trial

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

LINEUP_FIGURES = ("ms", "gpu_ms", "p99_ms", "throughput", "memory_mb", "host_mb", "engine_mb", "build_s")
"""The figures that a row shows."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A frozen record of one backend at one precision.

    Attributes:
        name: The row's name.
        precision: The requested precision.
        environment: The device and the software; None if they do not work.
        built: Whether the engine was built, or found in the cache.
        ran: Whether it was measured.
        why: Why it was not built or not run, in the words of the error; empty if it ran.
        figures: Values by their names in `core.figures.FIGURES`.
        precisions: The share of layers that run in each precision.
        max_abs: The largest error of the output that is furthest from the reference; None if nothing was compared.
        cosine: The cosine similarity of that output; None if nothing was compared.
        agrees: Whether every output lies within the limits of its precision; None if nothing was compared.
        departs: The outputs that do not, and by how much.
        notes: Further facts that a reader should know.
    """

    name: str
    precision: Precision
    environment: Environment | None = None
    built: bool = False
    ran: bool = False
    why: str = ""
    figures: Mapping[str, float] = dataclasses.field(default_factory=dict)
    precisions: Mapping[str, float] = dataclasses.field(default_factory=dict)
    max_abs: float | None = None
    cosine: float | None = None
    agrees: bool | None = None
    departs: str = ""
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """`ok`, `inaccurate`, `unchecked` (compared with nothing), `built` (but not run) or `failed`."""
        if not self.ran:
            return "built" if self.built else "failed"
        return {True: "ok", False: "inaccurate", None: "unchecked"}[self.agrees]

    def faster_than(self, other: Row | None) -> float | None:
        """Return the other row's latency as a multiple of this one's; None if either was not measured."""
        if other is None or "ms" not in self.figures or "ms" not in other.figures:
            return None
        return other.figures["ms"] / self.figures["ms"]


class Lineup:
    """The rows of one model.

    No error of a row is raised: the row records what its backend cannot do.

    Args:
        declaration: The model, its shapes and its pipeline; backend and precision are each row's own.
        bench: The resources of the run.
        folders: Where relative paths are looked for.
        accuracy: What outputs must be, in place of the limits of each precision.
    """

    def __init__(
        self, declaration: Declaration, bench: Bench, folders: Sequence[Path], accuracy: Accuracy | None = None
    ) -> None:
        self._declaration, self._bench, self._folders = declaration, bench, folders
        self._accuracy = accuracy or Accuracy()

    def _declared(self, spec: EngineSpec) -> Declaration:
        return dataclasses.replace(self._declaration, spec=spec)

    @cached_property
    def _reference(self) -> tuple[Arrays | None, Arrays, str]:
        """The inputs, the reference's outputs, and why there are none.

        There are none if ONNX Runtime cannot run the model, or if no two runs of it agree.
        """
        spec = dataclasses.replace(self._declaration.spec, backend=REFERENCE, precision="fp32")
        try:
            with Case(self._bench, "reference", self._declared(spec), self._folders) as case:
                if why := randomness.reason_not_comparable(case.model):
                    return None, {}, f"compared with nothing: {why}"
                inputs = case.generated_inputs()
                return inputs, case(inputs), ""
        except TrtError as error:
            return None, {}, f"compared with nothing: {error}"

    def row(self, name: str, spec: EngineSpec, *, run: bool = True, bench: Bench | None = None) -> Row:
        """Build, measure and compare one row.

        Args:
            name: The row's name.
            spec: The engine.
            run: Whether to run the engine; otherwise it is only built.
            bench: The resources with the interpreter that has the backend, if it is another one.
        """
        row, case = Row(name, spec.precision), None
        try:
            case = Trial(bench or self._bench, name, self._declared(spec), self._folders)
            row = dataclasses.replace(row, environment=case.environment)
            row = _with_engine(row, case.engine)
            if case.declaration.spec.compute_capabilities:
                return dataclasses.replace(row, why=f"built ahead of time for {case.environment.device}, but not run")
            if not run:
                return row
            inputs, expected, why_unchecked = self._reference
            inputs = _convert_integers(inputs, case) if inputs is not None else None
            measurement = case.measure(inputs)
            faults = tuple(v.text for v in case.result.verdicts if v.status == "invalid") if case.result else ()
            row = dataclasses.replace(
                row,
                ran=True,
                figures={name: e.value for name, e in measurement.figures.items() if name in LINEUP_FIGURES},
                notes=(*measurement.notes, *faults, *filter(None, [why_unchecked])),
            )
            return row if inputs is None else self._with_errors(row, case(inputs), expected, spec.tf32)
        except TrtError as error:
            return dataclasses.replace(row, why=str(error))
        finally:
            if case is not None:
                case.close()

    def torch_row(
        self,
        function: str,
        folder: Path,
        bench: Bench | None = None,
        precision: Precision = "fp32",
        *,
        compiled: bool = False,
    ) -> Row:
        """Measure PyTorch.

        Args:
            function: `MODULE:FUNCTION`, which returns the torch.nn.Module.
            folder: Where the module is looked for.
            bench: The resources with the interpreter that has torch, if it is another one.
            precision: The precision of the row.
            compiled: Whether `torch.compile` compiles the module, instead of eager mode.
        """
        from pytest_trt.engine.backends.pytorch import write_plan

        name = f"PyTorch {'compiled ' if compiled else ''}{precision}"
        bench, row = bench or self._bench, Row(name, precision)
        try:
            spec = dataclasses.replace(self._declaration.spec, precision=precision, backend=REFERENCE)
            case = Case(self._bench, row.name, self._declared(spec), self._folders)
            inputs, expected, why_unchecked = self._reference
            environment = bench.environment("pytorch")
            server = bench.server("pytorch", environment)
            row = dataclasses.replace(row, environment=environment)
            device = MeasuringDevice(bench, environment)
            with ScratchFolder("pytorch") as scratch, device.exclusively(wait=False):
                plan = scratch / "plan"
                write_plan(plan, function, folder, case.model.inputs, case.model.outputs, compiled=compiled)
                subject = Subject(
                    plan, BOUND_DEVICE, case.declaration.spec, case.shapes, self._declaration.pipeline, inputs
                )
                spread = spread_of(self._bench.store.folder, environment).share
                rule = Resolution("ms", max(bench.settings.resolution, spread / 4))
                run = device.measure([(server, subject)], rule, batch=case.batch, spread=spread)
                with EngineProbe(server, subject) as probe:
                    outputs = probe.infer(inputs if inputs is not None else probe.current_inputs())
            figures = {name: e.value for name, e in split_supported(run.figures)[0].items() if name in LINEUP_FIGURES}
            row = dataclasses.replace(row, ran=True, figures=figures, notes=tuple(filter(None, [why_unchecked])))
            return row if inputs is None else self._with_errors(row, outputs, expected, tf32=True)
        except TrtError as error:
            return dataclasses.replace(row, why=str(error))

    def _with_errors(self, row: Row, outputs: Arrays, expected: Arrays, tf32: bool) -> Row:
        """Return the row with the errors of its outputs against the reference."""
        on_gpu = row.environment is not None and row.environment.kind == "gpu"
        limits = allowed_error.limits_for(self._accuracy, row.precision, tf32 and on_gpu)
        found = accuracy.compare_outputs(outputs, expected, limits, "ONNX Runtime", self._accuracy.unordered)
        apart = [each.difference for each in found if each.difference is not None]
        return dataclasses.replace(
            row,
            max_abs=max((difference.max_abs for difference in apart), default=None),
            cosine=min((difference.cosine for difference in apart), default=None),
            agrees=all(each.verdict.status == "ok" for each in found),
            departs="; ".join(each.verdict.text for each in found if each.verdict.status != "ok"),
        )


def _with_engine(row: Row, engine: ProvidedEngine) -> Row:
    """Return the row with the figures of its engine."""
    figures = {"engine_mb": engine.size_mb, **({"build_s": engine.build_s} if engine.build_s is not None else {})}
    return dataclasses.replace(row, built=True, figures=figures, precisions=engine.precisions, notes=engine.notes)


def _convert_integers(inputs: Arrays, case: Case) -> Arrays:
    """Return the inputs in the engine's own integer types: TensorRT before 10 has 32-bit integers only."""
    if all(array.dtype.kind != "i" for array in inputs.values()):
        return inputs
    kinds = {tensor.name: tensor.dtype for tensor in case.input_tensors}
    return {name: array.astype(kinds[name]) if array.dtype.kind == "i" else array for name, array in inputs.items()}
