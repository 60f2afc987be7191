"""What tests share: small real models, and pytester runs with an engine cache of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest_plugins = ["pytester"]


def layers_model(layers: int = 2, width: int = 32, batch: object = "N", seed: int = 0) -> onnx.ModelProto:
    """`layers` of MatMul and Relu: x [N, width] -> y [N, width]."""
    random = np.random.default_rng(seed)
    nodes, weights, last = [], [], "x"
    for i in range(layers):
        values = (random.standard_normal((width, width)) / np.sqrt(width)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{i}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{i}"], [f"h{i}"], name=f"MatMul_{i}"))
        last = "y" if i == layers - 1 else f"r{i}"
        nodes.append(helper.make_node("Relu", [f"h{i}"], [last], name=f"Relu_{i}"))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, width])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, width])]
    graph = helper.make_graph(nodes, "layers", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def save_model(tmp_path: Path) -> Callable[..., Path]:
    """Saves a `layers_model` and gives its path."""

    def save(name: str = "m.onnx", folder: Path = tmp_path, **arguments: object) -> Path:
        path = folder / name
        onnx.save(layers_model(**arguments), str(path))  # type: ignore[arg-type]
        return path

    return save


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One engine cache for all pytester runs of this process."""
    return tmp_path_factory.mktemp("engines") / "cache"


@pytest.fixture
def project(pytester: pytest.Pytester, save_model: Callable[..., Path], engine_cache: Path) -> pytest.Pytester:
    """A folder with m.onnx (x [N, 32] -> y) and an ini file that keeps measuring short."""
    save_model(folder=pytester.path)
    pytester.makeini(
        f"""
        [pytest]
        addopts = --strict-markers -p no:cacheprovider
        trt_cache_dir = {engine_cache}
        trt_backend = onnxruntime
        trt_min_time = 0
        trt_max_time = 2
        trt_resolution = 20%
        """
    )
    return pytester
