"""Run one conversion, in whichever process calls it."""

from __future__ import annotations

from pathlib import Path

from pytest_trt.engine.convert import calibration_data, half, int8, qdq
from pytest_trt.engine.convert.conversion import Conversion, ConversionJob
from pytest_trt.engine.model.model import describe_model


def run_conversion(job: ConversionJob) -> Conversion:
    """Convert a model as the job says, and write the result to `job.output`.

    Raises:
        BuildError: The conversion failed, as for `half.convert` and `int8.quantise`.
        ModelError: The model cannot be read.
    """
    model, output = Path(job.model), Path(job.output)
    if job.recipe == "int8":
        batches = Path(job.batches)
        return int8.quantise(describe_model(model), lambda: calibration_data.read_batches(batches), output)
    if job.recipe == "int32 biases folded":
        qdq.write_without_int32_biases(describe_model(model), output)
        return Conversion({}, "")
    return half.convert(model, job.recipe, output)
