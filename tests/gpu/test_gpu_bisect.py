"""Test the bisection of engines that TensorRT builds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from gpu_workshop import chain_model

from pytest_trt.spec.declaration import Declaration, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.bisection import BisectionResult, bisect, describe

SHAPE = (8, 8, 16, 16)
QUIET = 0.05


@pytest.fixture
def bench(workshop: object, tmp_path: Path) -> Iterator[Bench]:
    with Bench(Settings(backend="tensorrt", cache_dir=str(tmp_path / "cache"))) as bench:
        yield bench


def first_to_depart(bench: Bench, folder: Path, **spec: Any) -> BisectionResult:
    onnx.save(chain_model(), str(folder / "m.onnx"))
    engine = EngineSpec(path="m.onnx", dims={"N": (8, 8, 8)}, optimization_level=0, **spec)
    inputs = {"x": np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)}
    found = bisect(bench, Declaration(spec=engine, run=RunShape(batch=8)), [folder], inputs)
    print(*describe(found), sep="\n")
    return found


def test_layer_calibrated_on_other_inputs_is_found(bench: Bench, tmp_path: Path) -> None:
    """Q/DQ clips the inputs of the first layer to a 20th of their size, whatever computes the layer."""

    def quiet() -> Iterator[dict[str, Any]]:
        yield {"x": np.full(SHAPE, QUIET, np.float32)}

    found = first_to_depart(bench, tmp_path, precision="int8", calibration=quiet)
    assert found.first is not None, describe(found)
    assert (found.first.node, found.confirmed) == ("conv0", True), describe(found)


def test_accurate_model_departs_nowhere(bench: Bench, tmp_path: Path) -> None:
    assert first_to_depart(bench, tmp_path, precision="fp32").first is None
