"""One model on several backends and precisions, each row measured and held against one reference.

    lineup = Lineup(declaration, bench, folders)
    rows = [lineup.row("TensorRT fp16", spec) for spec in ...]

The reference is ONNX Runtime on the CPU, which runs the model as it is given, in fp32, on inputs from the seed; every
row is run on the same inputs.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core.backends import REFERENCE
from pytest_trt.core.records import Environment
from pytest_trt.engine.model import randomness
from pytest_trt.engine.provide import ProvidedEngine
from pytest_trt.errors import TrtError
from pytest_trt.judge.accuracy import allowed_error
from pytest_trt.judge.accuracy import verdicts as accuracy
from pytest_trt.measure.engine_probe import EngineProbe, Subject
from pytest_trt.measure.stopping import Resolution
from pytest_trt.spec.declaration import Declaration
from pytest_trt.spec.engine_spec import EngineSpec, Precision
from pytest_trt.spec.expectations import Accuracy
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case
from pytest_trt.trial.measuring import MeasuringDevice
from pytest_trt.trial.probe_spread import spread_of
from pytest_trt.trial.trial import Trial

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays

LINEUP_FIGURES = ("ms", "p99_ms", "throughput", "memory_mb", "host_mb", "engine_mb", "build_s")


@dataclasses.dataclass(frozen=True)
class Row:
    """One backend at one precision. `why` says what kept it from being built or run, in the words of whoever refused,
    and is empty where nothing did. `figures` are values by their names in records.FIGURES. `max_abs` and `cosine` are
    of the output that is furthest from the reference, None where nothing was compared; `agrees` is whether every output
    lies within what its precision is allowed, and `departs` says what does not. `precisions` maps a precision to the
    share of layers in it."""

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
        """`ok`, `inaccurate`, `unchecked` (compared with nothing), `built` (and not run) or `failed`."""
        if not self.ran:
            return "built" if self.built else "failed"
        return {True: "ok", False: "inaccurate", None: "unchecked"}[self.agrees]

    def faster_than(self, other: Row | None) -> float | None:
        """How many times the other's latency is this one's; None where either was not measured."""
        if other is None or "ms" not in self.figures or "ms" not in other.figures:
            return None
        return other.figures["ms"] / self.figures["ms"]


class Lineup:
    """`declaration` says everything but backend and precision. What a row's backend cannot do is said in the row.
    `accuracy` says what outputs must be where the usual of each precision is not meant."""

    def __init__(
        self, declaration: Declaration, bench: Bench, folders: Sequence[Path], accuracy: Accuracy | None = None
    ) -> None:
        self._declaration, self._bench, self._folders = declaration, bench, folders
        self._accuracy = accuracy or Accuracy()

    def _declared(self, spec: EngineSpec) -> Declaration:
        return dataclasses.replace(self._declaration, spec=spec)

    @cached_property
    def _reference(self) -> tuple[Arrays | None, Arrays, str]:
        """The inputs and the reference's outputs, and why there are none: ONNX Runtime cannot run the model, or no two
        runs of it agree."""
        spec = dataclasses.replace(self._declaration.spec, backend=REFERENCE, precision="fp32")
        try:
            with Case(self._bench, "reference", self._declared(spec), self._folders) as case:
                if why := randomness.reason_not_comparable(case.model):
                    return None, {}, f"compared with nothing: {why}"
                inputs = case.drawn()
                return inputs, case(inputs), ""
        except TrtError as error:
            return None, {}, f"compared with nothing: {error}"

    def row(self, name: str, spec: EngineSpec, *, run: bool = True) -> Row:
        """Build, measure and compare; without `run`, build only, as for an engine that is for another device."""
        row, case = Row(name, spec.precision), None
        try:
            case = Trial(self._bench, name, self._declared(spec), self._folders)
            row = dataclasses.replace(row, environment=case.environment)
            row = _built(row, case.engine)
            if case.declaration.spec.compute_capabilities:
                return dataclasses.replace(row, why=f"built ahead of time for {case.environment.device}, and not run")
            if not run:
                return row
            inputs, expected, nothing = self._reference
            inputs = _as_taken(inputs, case) if inputs is not None else None
            measurement = case.measure(inputs)
            faults = tuple(v.text for v in case.result.verdicts if v.status == "invalid") if case.result else ()
            row = dataclasses.replace(
                row,
                ran=True,
                figures={name: e.value for name, e in measurement.figures.items() if name in LINEUP_FIGURES},
                notes=(*measurement.notes, *faults, *filter(None, [nothing])),
            )
            return row if inputs is None else self._compared(row, case(inputs), expected, spec.tf32)
        except TrtError as error:
            return dataclasses.replace(row, why=str(error))
        finally:
            if case is not None:
                case.close()

    def torch_row(self, function: str, folder: Path, bench: Bench | None = None, precision: Precision = "fp32") -> Row:
        """PyTorch's eager mode on the module that `MODULE:FUNCTION`, looked for in `folder`, returns; under `bench`'s
        interpreter, if it is another."""
        from pytest_trt.engine.backends.pytorch import write_plan

        bench, row = bench or self._bench, Row(f"PyTorch {precision}", precision)
        try:
            spec = dataclasses.replace(self._declaration.spec, precision=precision, backend=REFERENCE)
            case = Case(self._bench, row.name, self._declared(spec), self._folders)
            inputs, expected, nothing = self._reference
            server, environment = bench.server("pytorch"), bench.environment("pytorch")
            row = dataclasses.replace(row, environment=environment)
            device = MeasuringDevice(bench, environment)
            with tempfile.TemporaryDirectory() as scratch, device.exclusively(wait=False):
                plan = Path(scratch) / "plan"
                write_plan(plan, function, folder, case.model.inputs, case.model.outputs)
                subject = Subject(
                    plan, bench.settings.device, case.declaration.spec, case.shapes, self._declaration.pipeline, inputs
                )
                spread = spread_of(self._bench.store.folder, environment).share
                rule = Resolution("ms", max(bench.settings.resolution, spread / 4))
                run = device.measure([(server, subject)], rule, batch=case.batch, spread=spread)
                with EngineProbe(server, subject) as probe:
                    outputs = probe.infer(inputs if inputs is not None else probe.current_inputs())
            figures = {name: e.value for name, e in run.figures.items() if name in LINEUP_FIGURES}
            row = dataclasses.replace(row, ran=True, figures=figures, notes=tuple(filter(None, [nothing])))
            return row if inputs is None else self._compared(row, outputs, expected, tf32=True)
        except TrtError as error:
            return dataclasses.replace(row, why=str(error))

    def _compared(self, row: Row, outputs: Arrays, expected: Arrays, tf32: bool) -> Row:
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


def _built(row: Row, engine: ProvidedEngine) -> Row:
    figures = {"engine_mb": engine.size_mb, **({"build_s": engine.build_s} if engine.build_s is not None else {})}
    return dataclasses.replace(row, built=True, figures=figures, precisions=engine.precisions, notes=engine.notes)


def _as_taken(inputs: Arrays, case: Case) -> Arrays:
    """Inputs in the engine's own types: TensorRT before 10 takes integers of 32 bits where the model has 64."""
    if all(array.dtype.kind != "i" for array in inputs.values()):
        return inputs
    kinds = {tensor.name: tensor.dtype for tensor in case.inputs}
    return {name: array.astype(kinds[name]) if array.dtype.kind == "i" else array for name, array in inputs.items()}
