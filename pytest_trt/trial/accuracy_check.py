"""Check a test's outputs against `trt_accuracy`, and find the first layer that departs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_trt.core.backends import REFERENCE
from pytest_trt.core.records import Verdict
from pytest_trt.core.stored_output import StoredOutput
from pytest_trt.engine.model import randomness
from pytest_trt.errors import TrtError
from pytest_trt.judge.accuracy import allowed_error, stored_outputs
from pytest_trt.judge.accuracy import verdicts as accuracy
from pytest_trt.judge.accuracy.tokens import judge_tokens
from pytest_trt.judge.baselines.baseline import Baseline
from pytest_trt.measure.run import MeasuredRun
from pytest_trt.report.failure import quote_node_id
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.bisection import bisect, describe
from pytest_trt.trial.case import Case
from pytest_trt.trial.reference_outputs import accuracy_inputs, reference_generation, reference_outputs

if TYPE_CHECKING:
    from pytest_trt.engine.tensors import Arrays
    from pytest_trt.judge.baselines import BaselineFolder


_DECLARE_LIMITS = (
    "if the outputs are good enough for their use, declare the limit that matters there: trt_accuracy(top1=...) for "
    "classes, or trt_accuracy(atol=...) in the unit of the output"
)


@dataclasses.dataclass(frozen=True)
class AccuracyCheck:
    """A frozen record of a case and of what its outputs are compared with. Errors of a reference pass through.

    Attributes:
        case: The case whose outputs are checked.
        bench: The resources of the run.
        node_id: The test.
        folders: Where relative paths are looked for.
        baselines: The stored baselines; None if this run reads none.
    """

    case: Case
    bench: Bench
    node_id: str
    folders: Sequence[Path]
    baselines: BaselineFolder | None

    def requested_inputs(self) -> Arrays | None:
        """Return the inputs of `trt_accuracy`; empty to use those of the measurement; None without the marker."""
        expected = self.case.declaration.accuracy
        if expected is None or self.bench.settings.disabled:
            return None
        return accuracy_inputs(expected.inputs, self.folders) or {}

    def judge(
        self, run: MeasuredRun, baseline: Baseline | None
    ) -> tuple[tuple[Verdict, ...], Mapping[str, StoredOutput]]:
        """Judge the outputs of the engine that was measured.

        Args:
            run: The measurement, with the inputs and outputs of one inference.
            baseline: The test's baseline, if it has one.

        Returns:
            A verdict for each output; and the outputs to store, if they are compared with the baseline's.
        """
        case, expected = self.case, self.case.declaration.accuracy
        if expected is None or run.inputs_and_outputs is None:
            return (), {}
        inputs, outputs = run.inputs_and_outputs
        spec = case.declaration.spec
        limits = allowed_error.limits_for(expected, spec.precision, spec.tf32 and case.environment.kind == "gpu")
        if expected.reference == "baseline":
            return self._against_stored(outputs, limits, baseline), stored_outputs.store(outputs)
        reference = reference_outputs(expected.reference, inputs, case.model, case.shapes, self.folders, self.bench)
        source = expected.reference if isinstance(expected.reference, str) else "the reference function"
        tokens = self._judge_tokens(run, limits) if expected.reference == REFERENCE else ()
        return (*accuracy.judge(outputs, reference, limits, source, expected.unordered), *tokens), {}

    def _judge_tokens(self, run: MeasuredRun, limits: allowed_error.AccuracyLimits) -> tuple[Verdict, ...]:
        """Return the verdict of the generated tokens, if there are any."""
        case, example = self.case, run.generation.example if run.generation is not None else None
        if case.declared_generation is None or example is None or example.logits is None:
            return ()
        spec = case.declaration.spec
        wanted = reference_generation(case.declared_generation, spec, case.model, case.shapes, self.bench)
        assert wanted.logits is not None
        return (judge_tokens(example.tokens, example.logits, wanted.tokens, wanted.logits, limits, REFERENCE),)

    def _against_stored(
        self, outputs: Arrays, limits: allowed_error.AccuracyLimits, baseline: Baseline | None
    ) -> tuple[Verdict, ...]:
        if self.baselines is None:
            text = "the outputs were compared with nothing: this run reads no stored baseline: name another reference"
            return (Verdict("missing", "accuracy", "", text),)
        if baseline is None:
            return ()  # the latency's verdict says that there is no baseline
        data = self.baselines.data(baseline)
        if data is None or not data.outputs:
            text = (
                "the baseline has no outputs (they are stored beside it, in _data): --trt-baseline-force saves it again"
            )
            return (Verdict("missing", "accuracy", "", text),)
        return stored_outputs.judge(outputs, data.outputs, limits, "the baseline")

    def trace(self, verdicts: tuple[Verdict, ...], run: MeasuredRun) -> tuple[Verdict, ...]:
        """Return the verdicts; the first on departing values also says which layer departs first, or how to find it.

        This builds engines, so the device's lock must not be held.
        """
        wrong = next((verdict for verdict in verdicts if verdict.departs), None)
        if wrong is None or run.inputs_and_outputs is None or self.case.model.kind != "onnx":
            return verdicts
        found: tuple[str, ...] = (
            f"find the first layer that departs: pytest --trt-bisect {quote_node_id(self.node_id)}",
            _DECLARE_LIMITS,
        )
        if why := randomness.reason_not_comparable(self.case.model):
            found = (why,)
        elif self.bench.settings.bisect:
            try:
                found = describe(bisect(self.bench, self.case.declaration, self.folders, run.inputs_and_outputs[0]))
            except TrtError as error:  # the verdict is still valid
                found = tuple(f"the first layer that departs cannot be found: {error}".split("\n"))
        traced = dataclasses.replace(wrong, details=(*wrong.details, *found))
        return tuple(traced if verdict is wrong else verdict for verdict in verdicts)
