"""ONNX's own cases, one operator each, through the runner and the judge of accuracy, on ONNX Runtime.

What does not agree is run by ONNX Runtime alone as well. Where that refuses the model, or answers the same, the case is
ONNX Runtime's and is reported by name, with its words; all others are ours, and each has to stand in NOT_TAKEN.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from pytest_trt.engine.backends.base import backend
from pytest_trt.errors import TrtError
from pytest_trt.judge.accuracy import allowed_error, verdicts
from pytest_trt.pipeline.open import open_runner
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec

NOT_TAKEN = {
    "string, sequence or optional": r"is of type (seq|optional|map|tensor\(string\))",
    "float8 or 4 bits, which no numpy array has": r"is of type tensor\((float8|float4|u?int4|u?int2)",
    "complex": r"is of type tensor\(complex",
    "bfloat16, of which ONNX Runtime takes no numpy array": r"Numpy_type 256 can't be converted",
}
"""What an input or output of a model may be in ONNX and not here, and how that is said."""


def arrays(values: list[Any]) -> list[Any]:
    return [numpy_helper.to_array(v) if isinstance(v, TensorProto) else v for v in values]


def ours(plan: Path, case: Any, inputs: list[Any]) -> Mapping[str, Any]:
    """One inference as a probe makes it."""
    engine = backend("onnxruntime").load(plan, "0", EngineSpec(threads=1))
    try:
        places = [value.name for value in case.model.graph.input]
        given = {tensor.name: np.asarray(inputs[places.index(tensor.name)]) for tensor in engine.inputs}
        runner = open_runner(engine, {name: array.shape for name, array in given.items()}, PipelineOptions())
        return runner.infer(given)
    finally:
        engine.close()


def plainly(plan: Path, case: Any, inputs: list[Any]) -> Mapping[str, Any]:
    """The same by ONNX Runtime alone."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(str(plan), options, providers=["CPUExecutionProvider"])
    places = [value.name for value in case.model.graph.input]
    outputs = session.run(None, {i.name: inputs[places.index(i.name)] for i in session.get_inputs()})
    return {node.name: value for node, value in zip(session.get_outputs(), outputs, strict=True)}


def fault(plan: Path, case: Any) -> str:
    """Why a case does not agree; empty where it does. `ONNX Runtime: ` stands before what is its own."""
    plan.write_bytes(case.model.SerializeToString())
    inputs, expected = map(arrays, case.data_sets[0])
    names = [value.name for value in case.model.graph.output]
    limits = allowed_error.AccuracyLimits(case.rtol, case.atol, None, atol_scaled=False)
    outputs: Mapping[str, Any] = {}
    try:
        outputs = ours(plan, case, inputs)
        wanted = {name: np.asarray(value) for name, value in zip(names, expected, strict=True)}
        one = {"": np.ones(1)}  # beside which an output without elements may agree
        wrong = [
            v.text for v in verdicts.judge({**outputs, **one}, {**wanted, **one}, limits, "ONNX") if v.status != "ok"
        ]
        said = "; ".join(wrong)
    except TrtError as error:
        said = str(error)
    if not said:
        return ""
    try:
        alone = plainly(plan, case, inputs)
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's exceptions share no base but Exception
        return f"ONNX Runtime: {str(error).splitlines()[0]}"
    same = outputs.keys() == alone.keys() and all(
        np.array_equal(value, alone[name], equal_nan=np.asarray(value).dtype.kind in "fc")
        for name, value in outputs.items()
    )
    return f"ONNX Runtime answers the same: {said}" if same else said


def test_onnx_own_cases_agree_or_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime", minversion="1.24", reason="the older ones lack too many of ONNX's operators")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases are computed by numpy when they are loaded: overflows are meant
        from onnx.backend.test.loader import load_model_tests

        cases = load_model_tests(kind="node")
    faults = {case.name: fault(tmp_path / "plan", case) for case in cases}
    kinds: Counter[str] = Counter()
    strange = {}
    for name, said in sorted(faults.items()):
        known = [kind for kind, pattern in NOT_TAKEN.items() if re.search(pattern, said)]
        kind = "agrees" if not said else "ONNX Runtime's" if said.startswith("ONNX Runtime") and not known else "ours"
        kind = known[0] if known else kind
        kinds[kind] += 1
        if kind == "ours":
            strange[name] = said
        if said:
            print(f"{name}: {said[:300]}")
    print(dict(kinds))
    assert strange == {}
    assert kinds["agrees"] > 0.75 * len(cases) > 500
    with capsys.disabled():
        print(f"\n{kinds['agrees']} of {len(cases)} cases of ONNX agree; the others, by name, with -rP")
