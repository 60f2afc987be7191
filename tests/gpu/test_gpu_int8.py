"""Test int8 by TensorRT's own calibration and by Q/DQ: builds, runs and accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gpu_workshop import RANGES, Workshop

from pytest_trt.core.precision import UNREPORTED
from pytest_trt.engine.backends.base import CALIBRATION_CACHE, BuildJob
from pytest_trt.engine.backends.tensorrt import versions
from pytest_trt.engine.convert import calibration_data, int8
from pytest_trt.engine.model.model import read_model
from pytest_trt.errors import BuildError
from pytest_trt.judge.accuracy.allowed_error import DEFAULTS
from pytest_trt.judge.accuracy.verdicts import judge
from pytest_trt.pipeline.open import open_runner
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec

Reference = Callable[[str, Any], Any]


def batches(name: str, count: int = 4) -> Callable[[], Iterator[dict[str, Any]]]:
    shape = (8, *RANGES[name]["x"][0][1:])
    return lambda: ({"x": np.random.default_rng(i).standard_normal(shape).astype(np.float32)} for i in range(count))


@pytest.fixture(scope="module")
def calibrators(workshop: Workshop) -> None:
    if versions.strongly_typed("tensorrt", workshop.backend.version()):
        pytest.skip("needs a TensorRT with calibrators: 8.6 to 10")


class Calibrated:
    """Builds of a model with TensorRT's own calibration, in folders of their own."""

    def __init__(self, workshop: Workshop, folder: Path) -> None:
        self._workshop, self._folder = workshop, folder
        self._built: dict[str, tuple[Any, Path]] = {}

    def once(self, calibrator: str) -> tuple[Any, Path]:
        """Return the wide model, whose convolutions are faster in int8. It is built at the first call."""
        if calibrator not in self._built:
            self._built[calibrator] = self.build("wide", calibrator, level=1)
        return self._built[calibrator]

    def build(
        self, name: str, calibrator: str, cache: bytes | None = None, calibration: Any = None, level: int = 0
    ) -> tuple[Any, Path]:
        output = self._folder / f"build{len(list(self._folder.iterdir()))}"
        output.mkdir()
        data = output / "calibration"
        if cache is None:
            calibration_data.write_batches(
                read_model(self._workshop.model(name)), calibration or batches(name), data, one_shape=True
            )
        else:
            (output / CALIBRATION_CACHE).write_bytes(cache)
        spec = EngineSpec(precision="int8", calibrator=calibrator, optimization_level=level)  # type: ignore[arg-type]
        model = str(self._workshop.model(name))
        job = BuildJob("tensorrt", "0", spec, model, str(output), (RANGES[name],), calibration=str(data))
        return self._workshop.backend.build(job, lambda text, share: None), output


def departures(workshop: Workshop, name: str, plan: Path, reference: Reference) -> list[str]:
    """Return why outputs depart from ONNX Runtime's in fp32 by more than int8 allows, on calibration inputs."""
    engine = workshop.load(plan)
    inputs = {"x": next(batches(name)())["x"][:4]}
    runner = open_runner(engine, {"x": inputs["x"].shape}, PipelineOptions())
    found = judge(runner.infer(inputs), reference(name, inputs), DEFAULTS["int8"], "onnxruntime")
    runner.close()
    engine.close()
    return [verdict.text for verdict in found if verdict.status != "ok"]


@pytest.fixture(scope="module")
def calibrated(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory, calibrators: None) -> Calibrated:
    return Calibrated(workshop, tmp_path_factory.mktemp("calibrated"))


@pytest.mark.parametrize("calibrator", ["entropy", "minmax"])
def test_tensorrt_calibrates_on_batches_and_is_accurate(
    calibrator: str, calibrated: Calibrated, workshop: Workshop, reference: Reference
) -> None:
    report, output = calibrated.once(calibrator)
    assert report.precisions["int8"] > 0
    cache = (output / CALIBRATION_CACHE).read_bytes()
    assert calibration_data.read_cache(output / CALIBRATION_CACHE, calibrator) == cache
    assert b"x:" in cache
    assert departures(workshop, "wide", output / "plan", reference) == []


def test_calibration_cache_replaces_batches(calibrated: Calibrated, workshop: Workshop, reference: Reference) -> None:
    cache = (calibrated.once("entropy")[1] / CALIBRATION_CACHE).read_bytes()
    report, output = calibrated.build("wide", "entropy", cache)
    assert report.precisions["int8"] > 0
    assert departures(workshop, "wide", output / "plan", reference) == []


def test_scales_depend_on_the_calibration_inputs(calibrated: Calibrated) -> None:
    def loud() -> Iterator[dict[str, Any]]:
        return ({"x": 100 * batch["x"]} for batch in batches("wide")())

    _, quiet = calibrated.once("minmax")
    _, other = calibrated.build("wide", "minmax", calibration=loud)
    assert (quiet / CALIBRATION_CACHE).read_bytes() != (other / CALIBRATION_CACHE).read_bytes()


def test_small_network_has_int8(calibrated: Calibrated, workshop: Workshop, reference: Reference) -> None:
    report, output = calibrated.build("conv", "minmax")
    print(report.precisions, report.notes)
    assert report.precisions["int8"] > 0
    assert departures(workshop, "conv", output / "plan", reference) == []


def test_calibration_cache_of_another_model_is_an_error(calibrated: Calibrated) -> None:
    head, *scales = (calibrated.once("entropy")[1] / CALIBRATION_CACHE).read_bytes().splitlines(keepends=True)
    other = b"".join([head, *(b"other_" + line for line in scales)])
    with pytest.raises(BuildError, match="the calibration cache belongs to another model"):
        calibrated.build("wide", "entropy", other)


@pytest.mark.usefixtures("calibrators")
def test_unreadable_batch_ends_the_build(workshop: Workshop, tmp_path: Path) -> None:
    data = tmp_path / "calibration"
    calibration_data.write_batches(read_model(workshop.model("conv")), batches("conv"), data, one_shape=True)
    (data / "00002.npz").write_bytes(b"no longer arrays")
    spec = EngineSpec(precision="int8", calibrator="entropy", optimization_level=0)
    job = BuildJob(
        "tensorrt", "0", spec, str(workshop.model("conv")), str(tmp_path), (RANGES["conv"],), calibration=str(data)
    )
    with pytest.raises(BuildError, match=r"int8 calibration of conv\.onnx failed"):
        workshop.backend.build(job, lambda text, share: None)


@pytest.mark.parametrize("name", ["conv", "dense"])
def test_quantised_model_is_built_in_int8_and_is_accurate(
    name: str, workshop: Workshop, reference: Reference, tmp_path: Path
) -> None:
    quantised = tmp_path / "int8.onnx"
    int8.quantise(read_model(workshop.model(name)), batches(name), quantised)
    spec = EngineSpec(precision="int8", optimization_level=0)
    job = BuildJob("tensorrt", "0", spec, str(quantised), str(tmp_path), (RANGES[name],))
    report = workshop.backend.build(job, lambda text, share: None)
    print(report.precisions, [layer.name for layer in report.layers])
    assert report.precisions.get("int8", 0) > 0 or UNREPORTED in report.precisions
    assert departures(workshop, name, tmp_path / "plan", reference) == []
