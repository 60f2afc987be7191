"""The first layer that departs, of an engine that TensorRT builds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from sample_models import clipped_model

from pytest_trt.bench import Bench
from pytest_trt.bisection import bisect
from pytest_trt.spec import Declaration, EngineSpec, RunShape, Settings

WIDTH = 64


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench(Settings(backend="tensorrt", cache_dir=str(tmp_path / "cache"))) as bench:
        yield bench


def declared(**spec: Any) -> Declaration:
    made = EngineSpec(**{"path": "m.onnx", "dims": {"N": (8, 8, 8)}, "optimization_level": 1, **spec})
    return Declaration(spec=made, run=RunShape(batch=8))


def test_a_layer_that_was_not_calibrated_for_what_it_gets_is_found(bench: Bench, tmp_path: Path) -> None:
    onnx.save(clipped_model(6, at=99, width=WIDTH), str(tmp_path / "m.onnx"))

    def quiet() -> Iterator[dict[str, Any]]:
        yield {"x": np.full((8, WIDTH), 1e-3, np.float32)}

    inputs = {"x": np.random.default_rng(1).standard_normal((8, WIDTH)).astype(np.float32)}
    found = bisect(bench, declared(precision="int8", calibration=quiet), [tmp_path], inputs)
    assert found.first is not None, found
    assert (found.first.node, found.confirmed) == ("matmul0", True), found


def test_what_is_right_departs_nowhere(bench: Bench, tmp_path: Path) -> None:
    onnx.save(clipped_model(6, at=99, width=WIDTH), str(tmp_path / "m.onnx"))
    assert bisect(bench, declared(precision="fp32"), [tmp_path]).first is None
