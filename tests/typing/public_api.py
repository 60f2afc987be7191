"""A typed use of every public name. mypy checks this file; nothing runs it.

A change that makes mypy fail here also breaks the type checks of users: it needs an entry in the changelog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from typing_extensions import assert_type

from pytest_trt import (
    EngineSpec,
    Environment,
    Estimate,
    Generated,
    LayerProfile,
    Measurement,
    PipelineOptions,
    Result,
    RunShape,
    Trial,
    TrtError,
    Verdict,
    __version__,
)


@pytest.mark.trt_engine("models/resnet18.onnx", dims={"N": (1, 8, 32)})
@pytest.mark.trt_matrix(precision=["fp32", "fp16"], batch=[1, 8])
@pytest.mark.trt_budget("H200", ms=0.31, where={"precision": "fp16", "batch": 1})
@pytest.mark.trt_accuracy(rtol=1e-2, atol=1e-2)
def measure_and_read_figures(trt_runner: Trial, trt_case: dict[str, Any]) -> None:
    measurement = trt_runner.measure()
    assert_type(measurement, Measurement)
    assert_type(measurement.ms, float)
    assert_type(measurement["p99_ms"], float)
    assert_type(measurement.figures, Mapping[str, Estimate])
    estimate = measurement.figures["ms"]
    assert_type((estimate.low, estimate.value, estimate.high), tuple[float, float, float])
    assert_type(Estimate.exact(1.0), Estimate)
    assert_type(measurement.environment, Environment)
    assert_type(measurement.environment.compute_capability, str | None)
    if measurement.profile is not None:
        assert_type(measurement.profile, LayerProfile)


def generate_tokens(trt_runner: Trial) -> None:
    generated = trt_runner.generate([3, 5, 7], steps=8, prefill="models/prefill.onnx")
    assert_type(generated, Generated)
    assert_type((generated.ttft_ms, generated.step_ms), tuple[float, tuple[float, ...]])
    assert generated.tokens.shape == (1, 8)


def measure_own_inputs(trt_runner: Trial) -> None:
    assert_type(trt_runner.measure({"x": np.ones((1, 3), np.float32)}), Measurement)


def infer_and_stream(trt_runner: Trial) -> None:
    image = np.zeros((1, 3, 224, 224), np.float32)
    outputs = trt_runner({"image": image})
    assert_type(outputs["logits"].argmax(), np.intp)
    for batch in trt_runner.stream({"image": image} for _ in range(10)):
        assert batch["logits"].shape == (1, 1000)

    def filled() -> Iterator[Mapping[str, Any]]:
        for arrays in trt_runner.inputs(2):
            arrays["image"] = image
            arrays["image"][0] += 1
            yield arrays

    class Tensor:  # of another library
        def __dlpack__(self) -> Any: ...

    assert_type(trt_runner.stream(filled()), Iterator[Any])
    trt_runner({"image": Tensor()})

    def top1(outputs: Mapping[str, Any]) -> int:
        return int(outputs["logits"].argmax())

    assert_type(trt_runner.stream([{"image": image}], postprocess=top1), Iterator[Any])
    profile = trt_runner.profile(runs=20)
    assert_type(profile.total_ms, float)
    assert_type([(layer.name, layer.ms) for layer in profile.layers], list[tuple[str, float | None]])


@pytest.fixture
def trt_spec(trt_case: dict[str, Any]) -> EngineSpec:
    """Override the spec of the markers, as the documentation of the fixture shows."""
    return EngineSpec(
        path="models/resnet18.onnx",
        dims={"N": ((1, 8, 32),)},  # one range per optimisation profile: the form that the record keeps
        precision=trt_case.get("precision", "fp16"),
        layer_precisions={"*.softmax": "fp32"},
        timing_cache="resnet18.timing",
    )


def build_further_engines(trt_build: Callable[..., Any], trt_device: Environment) -> None:
    engine = trt_build(EngineSpec(path="models/encoder.onnx", precision="fp16"), batch=8)
    assert engine.plan.exists()
    assert_type(trt_device.kind == "gpu", bool)


def read_results(results: list[Result]) -> list[Verdict]:
    assert_type([result.measurement for result in results], list[Measurement | None])
    return [verdict for result in results for verdict in result.verdicts if verdict.status == "regressed"]


def declare_a_run() -> tuple[RunShape, PipelineOptions]:
    return RunShape(batch=8, dims={"S": 128}), PipelineOptions(cuda_graph=True, contexts=2)


def report_an_error(trt_runner: Trial) -> str:
    try:
        trt_runner.measure()
    except TrtError as error:
        return f"pytest-trt {__version__}: {error}"
    return ""
