"""Whether what a test's engine gave is right, and where it went wrong first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core.records import StoredOutput, Verdict
from pytest_trt.engine.model import randomness
from pytest_trt.errors import TrtError
from pytest_trt.judge.accuracy import allowed_error, stored_outputs
from pytest_trt.judge.accuracy import verdicts as accuracy
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.measure.run import MeasuredRun
from pytest_trt.report.failure import quote_node_id
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.bisection import bisect, lines
from pytest_trt.trial.case import Case
from pytest_trt.trial.reference_outputs import given_inputs, reference_outputs

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays
    from pytest_trt.judge.baselines import BaselineFolder


@dataclasses.dataclass(frozen=True)
class AccuracyCheck:
    """What `trt_accuracy` asks of a case, which a test of that node id measures. Errors of a reference pass through."""

    case: Case
    bench: Bench
    node_id: str
    folders: Sequence[Path]
    baselines: BaselineFolder | None

    def requested_inputs(self) -> Arrays | None:
        """The inputs that `trt_accuracy` names, none of them for those that are measured on; None without it."""
        wanted = self.case.declaration.accuracy
        if wanted is None or self.bench.settings.disabled:
            return None
        return given_inputs(wanted.inputs, self.folders) or {}

    def judge(
        self, run: MeasuredRun, baseline: Baseline | None
    ) -> tuple[tuple[Verdict, ...], Mapping[str, StoredOutput]]:
        """The outputs of the very engine that was measured against what `trt_accuracy` names; and what a baseline is to
        keep of them, where that is what they are held against."""
        case, wanted = self.case, self.case.declaration.accuracy
        if wanted is None or run.inputs_and_outputs is None:
            return (), {}
        inputs, outputs = run.inputs_and_outputs
        spec = case.declaration.spec
        limits = allowed_error.limits_for(wanted, spec.precision, spec.tf32 and case.environment.kind == "gpu")
        if wanted.reference == "baseline":
            return self._against_stored(outputs, limits, baseline), stored_outputs.store(outputs)
        reference = reference_outputs(wanted.reference, inputs, case.model, case.shapes, self.folders, self.bench)
        source = wanted.reference if isinstance(wanted.reference, str) else "the reference function"
        return accuracy.judge(outputs, reference, limits, source, wanted.unordered), {}

    def _against_stored(
        self, outputs: Arrays, limits: allowed_error.AccuracyLimits, baseline: Baseline | None
    ) -> tuple[Verdict, ...]:
        if self.baselines is None:
            text = "the outputs are held against nothing, as this run reads no stored baseline: name another reference"
            return (Verdict("missing", "accuracy", "", text),)
        if baseline is None:
            return ()  # that there is none is said already
        data = self.baselines.data(baseline)
        if data is None or not data.outputs:
            text = "the baseline keeps no outputs (they lie beside it, under _data): --trt-baseline-force saves it anew"
            return (Verdict("missing", "accuracy", "", text),)
        return stored_outputs.judge(outputs, data.outputs, limits, "the baseline")

    def trace(self, verdicts: tuple[Verdict, ...], run: MeasuredRun) -> tuple[Verdict, ...]:
        """The verdicts, the first on values that depart with the layer that does so first, with how to find it, or with
        why there is none. Builds, so not under the device's lock."""
        wrong = next((verdict for verdict in verdicts if verdict.departs), None)
        if wrong is None or run.inputs_and_outputs is None or self.case.model.kind != "onnx":
            return verdicts
        told: tuple[str, ...] = (
            f"find the first layer that departs: pytest --trt-bisect {quote_node_id(self.node_id)}",
        )
        if why := randomness.reason_not_comparable(self.case.model):
            told = (why,)
        elif self.bench.settings.bisect:
            try:
                told = lines(bisect(self.bench, self.case.declaration, self.folders, run.inputs_and_outputs[0]))
            except TrtError as error:  # what was judged stands all the same
                told = (f"the first layer that departs cannot be found: {error}",)
        traced = dataclasses.replace(wrong, details=(*wrong.details, *told))
        return tuple(traced if verdict is wrong else verdict for verdict in verdicts)
