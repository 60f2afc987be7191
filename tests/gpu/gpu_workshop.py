"""Small models, and the engines that are built from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pytest_trt.engine.backends.base import BuildJob, backend
from pytest_trt.spec.engine_spec import EngineSpec

Arrays = Mapping[str, Any]
RANGES = {
    "conv": {"x": ((1, 3, 32, 32), (8, 3, 32, 32), (32, 3, 32, 32))},
    "wide": {"x": ((1, 64, 32, 32), (16, 64, 32, 32), (32, 64, 32, 32))},
    "dense": {"x": ((1, 64), (8, 64), (32, 64))},
}


FAULT = """
from pytest_trt.pipeline.device import DeviceRunner

infer = DeviceRunner.infer

def faulty_infer(self, inputs, allocate_outputs=None):
    if "x" in inputs and (inputs["x"] == 13).all():  # the engine then reads an invalid address
        lane = self._current.lanes[0]
        lane.bind(lane.slots[0])
        lane.context.set_address("x", 4096)
        lane.context.enqueue(lane.compute)
        lane.compute.synchronize()
    return infer(self, inputs, allocate_outputs)

DeviceRunner.infer = faulty_infer
"""
"""Code that makes a probe's device fail permanently at one input."""


def _model(nodes: list[onnx.NodeProto], inputs: list[Any], outputs: list[Any], weights: list[Any]) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _value(name: str, kind: int, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def conv_model() -> onnx.ModelProto:
    """x [N, 3, 32, 32] -> y [N, 8], z [N, 16, 16, 16]: two outputs, batch dynamic."""
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> Any:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        return numpy_helper.from_array((random.standard_normal(shape) * scale).astype(np.float32), name)

    weights = [weight("w0", 16, 3, 3, 3), weight("w1", 32, 16, 3, 3), weight("w2", 8, 32)]
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["c0"], "conv0", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c0"], ["z"], "relu0"),
        helper.make_node("Conv", ["z", "w1"], ["c1"], "conv1", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("GlobalAveragePool", ["r1"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "w2"], ["y"], "gemm", transB=1),
    ]
    outputs = [_value("y", TensorProto.FLOAT, ["N", 8]), _value("z", TensorProto.FLOAT, ["N", 16, 16, 16])]
    return _model(nodes, [_value("x", TensorProto.FLOAT, ["N", 3, 32, 32])], outputs, weights)


def wide_model() -> onnx.ModelProto:
    """x [N, 64, 32, 32] -> y [N, 128, 32, 32]: enough work for half precision to be faster."""
    random = np.random.default_rng(0)
    shapes = {"w0": (128, 64, 3, 3), "w1": (128, 128, 3, 3), "w2": (128, 128, 3, 3)}
    weights = [
        numpy_helper.from_array((random.standard_normal(shape) / 40).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes, last = [], "x"
    for i, name in enumerate(shapes):
        nodes.append(helper.make_node("Conv", [last, name], [f"c{i}"], f"conv{i}", pads=[1, 1, 1, 1]))
        last = "y" if i == len(shapes) - 1 else f"r{i}"
        nodes.append(helper.make_node("Relu", [f"c{i}"], [last], f"relu{i}"))
    outputs = [_value("y", TensorProto.FLOAT, ["N", 128, 32, 32])]
    return _model(nodes, [_value("x", TensorProto.FLOAT, ["N", 64, 32, 32])], outputs, weights)


def chain_model(count: int = 4, channels: int = 8, size: int = 16) -> onnx.ModelProto:
    """x [N, channels, size, size] -> y, the same: convolutions, each with a Tanh."""
    random, nodes, weights, last = np.random.default_rng(0), [], [], "x"
    for i in range(count):
        values = random.standard_normal((channels, channels, 3, 3)) / np.sqrt(9 * channels)
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{i}"))
        nodes.append(helper.make_node("Conv", [last, f"w{i}"], [f"h{i}"], f"conv{i}", pads=[1, 1, 1, 1]))
        last = "y" if i == count - 1 else f"t{i}"
        nodes.append(helper.make_node("Tanh", [f"h{i}"], [last], f"tanh{i}"))
    shape = ["N", channels, size, size]
    return _model(nodes, [_value("x", TensorProto.FLOAT, shape)], [_value("y", TensorProto.FLOAT, shape)], weights)


def dense_model(count: int = 3, width: int = 64) -> onnx.ModelProto:
    """x [N, width] -> y [N, width]: matrix products, each with a Relu."""
    random, nodes, weights, last = np.random.default_rng(0), [], [], "x"
    for i in range(count):
        values = random.standard_normal((width, width)) * np.sqrt(2 / width)
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{i}"))
        nodes.append(helper.make_node("MatMul", [last, f"w{i}"], [f"h{i}"], f"matmul{i}"))
        last = "y" if i == count - 1 else f"r{i}"
        nodes.append(helper.make_node("Relu", [f"h{i}"], [last], f"relu{i}"))
    x, y = (_value(name, TensorProto.FLOAT, ["N", width]) for name in "xy")
    return _model(nodes, [x], [y], weights)


def nonzero_model() -> onnx.ModelProto:
    """x [64] -> indices [1, number of non-zero elements], doubled [64]: a shape that depends on the data."""
    two = numpy_helper.from_array(np.array(2, np.float32), "two")
    nodes = [
        helper.make_node("NonZero", ["x"], ["found"], "nonzero"),
        helper.make_node("Cast", ["found"], ["indices"], "cast", to=TensorProto.INT32),
        helper.make_node("Mul", ["x", "two"], ["doubled"], "double"),
    ]
    outputs = [_value("indices", TensorProto.INT32, [1, "K"]), _value("doubled", TensorProto.FLOAT, [64])]
    return _model(nodes, [_value("x", TensorProto.FLOAT, [64])], outputs, [two])


def expand_model() -> onnx.ModelProto:
    """x [1, 1], shape [2] int32 -> y [shape]: an input that the host reads."""
    one = numpy_helper.from_array(np.array(1, np.float32), "one")
    nodes = [
        helper.make_node("Cast", ["shape"], ["wide"], "cast", to=TensorProto.INT64),
        helper.make_node("Add", ["x", "one"], ["more"], "add"),
        helper.make_node("Expand", ["more", "wide"], ["y"], "expand"),
    ]
    inputs = [_value("x", TensorProto.FLOAT, [1, 1]), _value("shape", TensorProto.INT32, [2])]
    return _model(nodes, inputs, [_value("y", TensorProto.FLOAT, ["a", "b"])], [one])


def gather_model() -> onnx.ModelProto:
    """ids [N, 4] int32 -> y [N, 4, 8]: invalid ids would be illegal addresses."""
    table = numpy_helper.from_array(np.arange(64, dtype=np.float32).reshape(8, 8), "table")
    nodes = [helper.make_node("Gather", ["table", "ids"], ["y"], "gather")]
    inputs = [_value("ids", TensorProto.INT32, ["N", 4])]
    return _model(nodes, inputs, [_value("y", TensorProto.FLOAT, ["N", 4, 8])], [table])


MODELS = {
    "conv": conv_model,
    "wide": wide_model,
    "dense": dense_model,
    "nonzero": nonzero_model,
    "expand": expand_model,
    "gather": gather_model,
}


class Workshop:
    """Builds and loads engines of MODELS with one backend, each only once.

    It builds at the fastest optimization level, unless a test is about the builder's choices.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.backend = backend(name)
        self._built: dict[str, Path] = {}

    def model(self, name: str) -> Path:
        path = self.folder / f"{name}.onnx"
        if not path.exists():
            onnx.save(MODELS[name](), str(path))
        return path

    def build(self, name: str, profiles: tuple[Any, ...] = (), **spec: Any) -> Any:
        """Return the report of the build, and the path of the plan."""
        folder = self.folder / f"build{len(list(self.folder.glob('build*')))}"
        folder.mkdir()
        engine = EngineSpec(**{"optimization_level": 0, **spec})
        job = BuildJob(self.name, "0", engine, str(self.model(name)), str(folder), profiles)
        return self.backend.build(job, lambda text, share: None), folder / "plan"

    def plan(self, name: str, profiles: tuple[Any, ...] = (), **spec: Any) -> Path:
        key = repr((name, profiles, sorted(spec.items())))
        if key not in self._built:
            self._built[key] = self.build(name, profiles, **spec)[1]
        return self._built[key]

    def load(self, plan: Path, **spec: Any) -> Any:
        return self.backend.load(plan, "0", EngineSpec(**spec))


def conv_inputs(batch: int, seed: int) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).standard_normal((batch, 3, 32, 32)).astype(np.float32)}


def assert_close(got: Arrays, want: Arrays, tolerance: float = 5e-3) -> None:
    """Assert that names, shapes, types and values are equal, by default within the tolerance of TF32."""
    assert sorted(got) == sorted(want)
    for name in want:
        assert got[name].shape == want[name].shape
        assert got[name].dtype == want[name].dtype
        np.testing.assert_allclose(got[name], want[name], rtol=tolerance, atol=tolerance)
