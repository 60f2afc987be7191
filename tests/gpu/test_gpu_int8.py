"""int8 as TensorRT itself calibrates it, and with Q/DQ: built, run, and right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_workshop import RANGES, Workshop, conv_inputs

from pytest_trt.backends import tensorrt_versions as versions
from pytest_trt.backends.base import CALIBRATION_CACHE, BuildJob
from pytest_trt.engine import calibrate, quantise
from pytest_trt.engine.model import read
from pytest_trt.errors import BuildError
from pytest_trt.judge.accuracy import judge
from pytest_trt.judge.tolerance import DEFAULTS
from pytest_trt.pipeline.runner import open_runner
from pytest_trt.spec import EngineSpec, PipelineOptions

Reference = Callable[[str, Any], Any]


def batches(name: str, count: int = 4) -> Callable[[], Iterator[dict[str, Any]]]:
    channels = RANGES[name]["x"][0][1]
    return lambda: (
        {"x": np.random.default_rng(seed).standard_normal((8, channels, 32, 32)).astype(np.float32)}
        for seed in range(count)
    )


@pytest.fixture
def calibrators(workshop: Workshop) -> None:
    if versions.strongly_typed("tensorrt", workshop.backend.version()):
        pytest.skip("needs a TensorRT with calibrators: 8.6 to 10")


class Calibrated:
    """Builds of a model with TensorRT's own calibration, in folders of their own."""

    def __init__(self, workshop: Workshop, folder: Path) -> None:
        self._workshop, self._folder = workshop, folder

    def build(self, name: str, calibrator: str, cache: bytes | None = None, given: Any = None) -> tuple[Any, Path]:
        output = self._folder / f"build{len(list(self._folder.iterdir()))}"
        output.mkdir()
        data = output / "calibration"
        if cache is None:
            calibrate.write(read(self._workshop.model(name)), given or batches(name), data)
        else:
            (output / CALIBRATION_CACHE).write_bytes(cache)
        spec = EngineSpec(precision="int8", calibrator=calibrator, optimization_level=1)  # type: ignore[arg-type]
        model = str(self._workshop.model(name))
        job = BuildJob("tensorrt", "0", spec, model, str(output), (RANGES[name],), calibration=str(data))
        return self._workshop.backend.build(job, lambda text, share: None), output

    def error(self, name: str, output: Path, reference: Reference) -> list[str]:
        engine = self._workshop.load(output / "plan")
        shape = (4, *RANGES[name]["x"][0][1:])
        runner = open_runner(engine, {"x": shape}, PipelineOptions())
        inputs = {"x": np.random.default_rng(99).standard_normal(shape).astype(np.float32)}
        found = judge(runner.infer(inputs), reference(name, inputs), DEFAULTS["int8"], "onnxruntime")
        runner.close()
        engine.close()
        return [verdict.text for verdict in found if verdict.status != "ok"]


@pytest.fixture
def calibrated(workshop: Workshop, tmp_path: Path, calibrators: None) -> Calibrated:
    folder = tmp_path / "builds"
    folder.mkdir()
    return Calibrated(workshop, folder)


@pytest.mark.parametrize("calibrator", ["entropy", "minmax"])
def test_tensorrt_calibrates_on_the_batches_and_is_right(
    calibrator: str, calibrated: Calibrated, reference: Reference
) -> None:
    report, output = calibrated.build("wide", calibrator)
    assert report.precisions["int8"] > 0
    cache = (output / CALIBRATION_CACHE).read_bytes()
    assert calibrate.read_cache(output / CALIBRATION_CACHE, calibrator) == cache
    assert b"x:" in cache
    assert calibrated.error("wide", output, reference) == []


def test_the_cache_serves_the_next_build_without_batches(calibrated: Calibrated, reference: Reference) -> None:
    _, first = calibrated.build("wide", "entropy")
    cache = (first / CALIBRATION_CACHE).read_bytes()
    report, second = calibrated.build("wide", "entropy", cache)
    assert report.precisions["int8"] > 0
    assert calibrated.error("wide", second, reference) == []


def test_the_scales_follow_what_is_calibrated_on(calibrated: Calibrated) -> None:
    def loud() -> Iterator[dict[str, Any]]:
        return ({"x": 100 * batch["x"]} for batch in batches("wide")())

    _, quiet = calibrated.build("wide", "minmax")
    _, other = calibrated.build("wide", "minmax", given=loud)
    assert (quiet / CALIBRATION_CACHE).read_bytes() != (other / CALIBRATION_CACHE).read_bytes()


def test_a_calibration_cache_of_another_model_is_refused(calibrated: Calibrated) -> None:
    _, output = calibrated.build("conv", "entropy")
    with pytest.raises(BuildError, match="the calibration cache is of another model"):
        calibrated.build("wide", "entropy", (output / CALIBRATION_CACHE).read_bytes())


@pytest.mark.usefixtures("calibrators")
def test_a_batch_that_is_lost_on_the_way_ends_the_build(workshop: Workshop, tmp_path: Path) -> None:
    data = tmp_path / "calibration"
    calibrate.write(read(workshop.model("wide")), batches("wide"), data)
    (data / "00002.npz").write_bytes(b"no longer arrays")
    spec = EngineSpec(precision="int8", calibrator="entropy", optimization_level=1)
    job = BuildJob(
        "tensorrt", "0", spec, str(workshop.model("wide")), str(tmp_path), (RANGES["wide"],), calibration=str(data)
    )
    with pytest.raises(BuildError, match=r"int8 calibration of wide\.onnx broke off"):
        workshop.backend.build(job, lambda text, share: None)


def test_a_quantised_model_is_built_in_int8_and_is_right(
    workshop: Workshop, reference: Reference, tmp_path: Path
) -> None:
    quantised = tmp_path / "int8.onnx"
    quantise.quantise(read(workshop.model("conv")), batches("conv"), quantised)
    spec = EngineSpec(precision="int8", optimization_level=1)
    job = BuildJob("tensorrt", "0", spec, str(quantised), str(tmp_path), (RANGES["conv"],))
    report = workshop.backend.build(job, lambda text, share: None)
    assert report.precisions["int8"] > 0
    engine = workshop.load(tmp_path / "plan")
    runner = open_runner(engine, {"x": (4, 3, 32, 32)}, PipelineOptions())
    inputs = conv_inputs(4, seed=3)
    found = judge(runner.infer(inputs), reference("conv", inputs), DEFAULTS["int8"], "onnxruntime")
    runner.close()
    engine.close()
    assert [verdict.text for verdict in found if verdict.status != "ok"] == []
