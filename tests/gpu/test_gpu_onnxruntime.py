"""Test ONNX Runtime on a GPU: outputs, figures, proof of placement, memory, layers, and whole runs."""

from __future__ import annotations

import contextlib
import json
import math
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from decoders import decoder
from gpu_workshop import Workshop, assert_close, conv_inputs
from onnx import TensorProto, helper

from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.installed import is_installed
from pytest_trt.engine.backends.onnxruntime_gpu import placement
from pytest_trt.engine.inputs import generate_inputs
from pytest_trt.errors import BackendError, BuildError
from pytest_trt.pipeline.open import open_runner
from pytest_trt.spec.declaration import PipelineOptions

pytestmark = pytest.mark.skipif(not is_installed("onnxruntime_cuda"), reason="needs the package onnxruntime-gpu")


@pytest.fixture(scope="module")
def ort(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("ort"), "onnxruntime_cuda")


@pytest.fixture(scope="module")
def expected(ort: Workshop) -> Callable[[str, Any], Any]:
    """Return a function that runs a model on the CPU, with the same package."""

    def run(name: str, inputs: Any) -> Any:
        session = onnxruntime.InferenceSession(str(ort.model(name)), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(None, dict(inputs)), strict=True))

    return run


@pytest.fixture
def open_model(ort: Workshop) -> Iterator[Callable[..., Any]]:
    opened: list[Any] = []

    def open_one(name: str, shapes: Any, spec: Any = None, **options: Any) -> Any:
        engine = ort.load(ort.plan(name, **(spec or {})), **(spec or {}))
        opened.append(engine)
        opened.append(open_runner(engine, shapes, PipelineOptions(**options)))
        return opened[-1]

    yield open_one
    for part in reversed(opened):
        part.close()


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("contexts", [1, 2])
def test_stream_is_correct_and_in_order(
    open_model: Callable[..., Any], expected: Callable[..., Any], graph: bool, contexts: int
) -> None:
    runner = open_model("conv", {"x": (4, 3, 32, 32)}, cuda_graph=graph, contexts=contexts)
    batches = [conv_inputs(4, seed) for seed in range(60)]
    for got, batch in zip(runner.stream(iter(batches)), batches, strict=True):
        assert_close(got, expected("conv", batch))
    print(dict(runner.proof))
    assert runner.proof["graph"].startswith("captured") == graph
    assert runner.proof["provider"] == "CUDAExecutionProvider"
    assert runner.proof["cpu_nodes"] == "0"


def test_other_shapes_get_sessions_of_their_own(open_model: Callable[..., Any], expected: Callable[..., Any]) -> None:
    runner = open_model("dense", {"x": (2, 64)})
    for batch in (2, 7, 1, 2):
        inputs = {"x": np.random.default_rng(batch).standard_normal((batch, 64)).astype(np.float32)}
        assert_close(runner.infer(inputs), expected("dense", inputs))


def test_integers_are_bound(open_model: Callable[..., Any], expected: Callable[..., Any]) -> None:
    runner = open_model("gather", {"ids": (3, 4)})
    inputs = {"ids": np.arange(12, dtype=np.int32).reshape(3, 4) % 8}
    for _ in range(3):
        assert_close(runner.infer(inputs), expected("gather", inputs))


@pytest.mark.serial
def test_times_are_those_of_the_device(open_model: Callable[..., Any]) -> None:
    """A graph is no slower on the GPU than the calls of ONNX Runtime, and copies are timed apart."""
    medians = {}
    for graph in (True, False):
        runner = open_model("wide", {"x": (32, 64, 32, 32)}, cuda_graph=graph)
        runner.set_inputs({"x": np.ones((32, 64, 32, 32), np.float32)})
        for _ in range(3):
            times = runner.block(50)
        medians[graph] = {name: statistics.median(samples) for name, samples in times.items()}
        assert set(times) == {"enqueue_ms", "gpu_ms", "h2d_ms", "d2h_ms", "ms", "host_ms"}
        parts = sum(medians[graph][name] for name in ("gpu_ms", "h2d_ms", "d2h_ms"))
        assert medians[graph]["ms"] == pytest.approx(parts, rel=0.1)
        rate = runner.throughput(0.2)
        assert 0 < rate < 1000 / medians[graph]["gpu_ms"] * 1.1
    print(medians)
    assert medians[True]["gpu_ms"] < 1.1 * medians[False]["gpu_ms"]
    assert medians[True]["enqueue_ms"] < medians[False]["enqueue_ms"]


def test_memory_has_the_weights_and_what_an_inference_needs(open_model: Callable[..., Any]) -> None:
    runner = open_model("wide", {"x": (8, 64, 32, 32)})
    runner.set_inputs({"x": np.ones((8, 64, 32, 32), np.float32)})
    memory = runner.memory()
    print(dict(memory))
    weights = 4 * (128 * 64 + 2 * 128 * 128) * 9
    activation = 8 * 128 * 32 * 32 * 4
    assert weights <= memory["weights"] < 3 * weights + 2**20
    assert memory["context"] >= activation
    assert memory["peak"] == memory["weights"] + memory["context"] + memory["io"]
    assert memory == runner.memory()


def test_layers_have_the_time_of_their_kernels(open_model: Callable[..., Any]) -> None:
    runner = open_model("wide", {"x": (32, 64, 32, 32)})
    runner.set_inputs({"x": np.ones((32, 64, 32, 32), np.float32)})
    profile = runner.profile(10)
    gpu_ms = statistics.median(runner.block(30)["gpu_ms"])
    print(gpu_ms, profile.layers)
    assert {layer.tactic for layer in profile.layers} == {"CUDAExecutionProvider"}
    assert sum(layer.kind.endswith("Conv") for layer in profile.layers) == 3
    assert 0.5 * gpu_ms < profile.total_ms < 5 * gpu_ms


def test_inputs_and_outputs_in_float16_are_bound(ort: Workshop) -> None:
    model = ort.folder / "half.onnx"
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT16, [2, 8]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Tanh", ["x"], ["y"], "tanh")], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    engine = ort.load(model)
    runner = open_runner(engine, {"x": (2, 8)}, PipelineOptions())
    inputs = {"x": np.linspace(-1, 1, 16, dtype=np.float16).reshape(2, 8)}
    for _ in range(3):
        np.testing.assert_allclose(runner.infer(inputs)["y"], np.tanh(inputs["x"]), atol=2e-3)
    runner.close()


def det_model() -> onnx.ModelProto:
    """x [N, 4, 4] -> y [N]: Det has no kernel on the GPU."""
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("Det", ["r"], ["d"], "det"),
        helper.make_node("Tanh", ["d"], ["y"], "tanh"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])
    graph = helper.make_graph(nodes, "det", [x], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_node_on_the_cpu_fails_the_build_unless_it_is_allowed(ort: Workshop, expected: Callable[..., Any]) -> None:
    onnx.save(det_model(), ort.folder / "det.onnx")
    with pytest.raises(BuildError, match=r"1 of \d nodes would run on the CPU.*: Det det: .*cpu_nodes=\['Det'\]"):
        ort.plan("det")
    engine = ort.load(ort.plan("det", cpu_nodes=("Det",)), cpu_nodes=("Det",))
    runner = open_runner(engine, {"x": (5, 4, 4)}, PipelineOptions())
    for seed in range(3):
        inputs = {"x": np.random.default_rng(seed).standard_normal((5, 4, 4)).astype(np.float32)}
        assert_close(runner.infer(inputs), expected("det", inputs))
    print(dict(runner.proof))
    assert runner.proof["cpu_nodes"] == "1"
    assert runner.proof["cpu_operators"] == "Det"
    assert runner.proof["graph"] == "fell back: 1 nodes run on the CPU (Det det)"
    runner.close()
    with pytest.raises(BackendError, match="cuda_graph=True, but no graph can be captured"):
        open_runner(engine, {"x": (5, 4, 4)}, PipelineOptions(cuda_graph=True)).set_inputs(inputs)


def test_placement_in_a_profile_is_that_of_the_session(ort: Workshop, tmp_path: Path) -> None:
    onnx.save(det_model(), tmp_path / "plan")
    engine = ort.load(tmp_path / "plan", cpu_nodes=("Det",))
    session = engine.open_session({}, profile_prefix=str(tmp_path / "profile"))
    session.run(None, {"x": np.ones((2, 4, 4), np.float32)})
    nodes = placement.profiled_nodes(json.loads(Path(session.end_profiling()).read_text()))
    found = placement.Placement(nodes, placement.shape_nodes(tmp_path / "plan"))
    assert found.proof == {name: text for name, text in engine.proof.items() if name in found.proof}


def test_outputs_whose_shape_depends_on_the_data(open_model: Callable[..., Any], expected: Callable[..., Any]) -> None:
    runner = open_model("nonzero", {"x": (64,)})
    for count in (64, 0, 7):
        inputs = {"x": (np.arange(64) < count).astype(np.float32)}
        got, want = runner.infer(inputs), expected("nonzero", inputs)
        assert got["indices"].shape == (1, count)
        assert_close(got, want)
    runner.set_inputs(inputs)
    times = runner.block(20)
    assert set(times) == {"ms", "host_ms", "gpu_ms"}
    print(dict(runner.proof), runner.memory(), runner.profile(3).layers)
    assert runner.proof["graph"] == "off: the shape of 'indices' depends on the data"
    assert runner.memory()["peak"] >= 64 * 4


def test_input_whose_values_decide_a_shape(open_model: Callable[..., Any], expected: Callable[..., Any]) -> None:
    runner = open_model("expand", {"x": (1, 1), "shape": (2,)}, {"cpu_nodes": ("Cast",)})
    for shape in ((2, 3), (5, 1)):
        inputs = {"x": np.ones((1, 1), np.float32), "shape": np.array(shape, np.int32)}
        assert_close(runner.infer(inputs), expected("expand", inputs))


def test_failed_capture_leaves_a_session_that_works(ort: Workshop, expected: Callable[..., Any]) -> None:
    """A copy to the host cannot be captured. The session then runs without a graph, and its outputs are right."""
    onnx.save(det_model(), ort.folder / "det.onnx")
    engine = ort.load(ort.plan("det", cpu_nodes=("Det",)), cpu_nodes=("Det",))
    inputs = {"x": np.random.default_rng(0).standard_normal((5, 4, 4)).astype(np.float32)}
    with (
        cuda.Stream() as stream,
        contextlib.closing(cuda.DeviceBuffer(320)) as x,
        contextlib.closing(cuda.DeviceBuffer(20)) as y,
    ):
        context = engine.create_context(0, stream)
        context.set_shape("x", (5, 4, 4))
        context.infer_shapes()
        for name, buffer in (("x", x), ("y", y)):
            context.set_address(name, buffer.address)
        stream.copy(x.address, inputs["x"].ctypes.data, 320)
        with pytest.raises(BackendError, match="ONNX Runtime cannot run the model"):
            cuda.Graph(stream, lambda: context.enqueue(stream))
        assert not stream.is_capturing
        for _ in range(2):
            context.enqueue(stream)
        got = np.empty(5, np.float32)
        stream.copy(got.ctypes.data, y.address, 20)
        stream.synchronize()
        context.close()
    assert_close({"y": got}, expected("det", inputs))


@pytest.mark.parametrize("cache", ["growing", "fixed"])
def test_state_stays_on_the_device(ort: Workshop, tmp_path: Path, cache: str) -> None:
    onnx.save(decoder(2, 4, 32, cache=cache, capacity=64), tmp_path / "plan")
    placement.name_all_nodes(tmp_path / "plan")
    engine = ort.load(tmp_path / "plan")
    length = 40 if cache == "growing" else 64
    shapes = {tensor.name: (1, 4, length, 32) for tensor in engine.inputs if tensor.name.startswith("past_")}
    shapes["input_ids"] = (1, 1)
    if cache == "fixed":
        shapes["position"] = (1,)
    runner = open_runner(engine, shapes, PipelineOptions(), state={"present_*": "past_*"})
    inputs = generate_inputs(runner.inputs, 0, {"position": (40, 40)} if cache == "fixed" else {})
    session = onnxruntime.InferenceSession(str(tmp_path / "plan"), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    want = dict(zip(names, session.run(names, inputs), strict=True))
    for _ in range(3):
        got = runner.infer(inputs)
        for name, value in want.items():
            np.testing.assert_allclose(got[name], value, rtol=5e-3, atol=5e-3)
    runner.set_inputs(inputs)
    print(dict(runner.proof), {name: statistics.median(ms) for name, ms in runner.block(20).items()})
    assert runner.proof["state"].endswith("stay on the device")
    assert runner.profile(3).layers
    assert runner.memory()["weights"] > 0
    runner.close()


TESTS = """
import pytest
pytestmark = [
    pytest.mark.trt_engine("m.onnx", precision="PRECISION"),
    pytest.mark.trt_matrix(batch=[8]),
    pytest.mark.trt_accuracy(),
    pytest.mark.trt_regression(paired=True),
]
def test_model(trt_runner):
    trt_runner.measure()
"""


@pytest.mark.serial
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_whole_run_measures_compares_and_proves(project: pytest.Pytester, precision: str) -> None:
    ini = project.path / "tox.ini"
    ini.write_text(ini.read_text().replace("trt_backend = onnxruntime", "trt_backend = onnxruntime_cuda"))
    text = TESTS.replace("PRECISION", precision)
    if precision == "int8":
        text = text.replace('precision="int8"', 'precision="int8", calibration="random"')
    project.makepyfile(test_m=text)
    found = []
    for options in (("--trt-baseline-save",), ()):
        result = project.runpytest_subprocess(*options)
        print(result.stdout.str(), result.stderr.str())
        (one,) = json.loads((project.path / "out.json").read_text())["results"]
        found.append({(v["basis"], v["figure"]): v["status"] for v in one["verdicts"]})
        measured = one["measurement"]
        assert measured["environment"]["backend"] == "onnxruntime_cuda"
        assert measured["environment"]["kind"] == "gpu"
        assert measured["proof"]["provider"] == "CUDAExecutionProvider"
        assert measured["proof"]["cpu_nodes"].isdecimal()
        assert {"ms", "gpu_ms", "p99_ms", "throughput", "memory_mb", "h2d_ms", "d2h_ms"} <= set(measured["figures"])
        assert all(math.isfinite(e["value"]) for e in measured["figures"].values() if e is not None)
    assert found[1]["baseline", "ms"] in ("ok", "inconclusive")  # the same engine; 2 s may not decide 20 us
    assert found[1]["layers", "cpu_nodes"] == "ok"
    assert any(basis == "accuracy" and status == "ok" for (basis, _), status in found[0].items())
