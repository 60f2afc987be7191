"""Test the overlapped pipeline against ONNX Runtime: no race, no lost batch, no thread left."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import python_cost
from gpu_workshop import RANGES, Workshop, assert_close, conv_inputs

import pytest_trt
from pytest_trt.engine.backends import cuda
from pytest_trt.errors import BackendError, InputError
from pytest_trt.pipeline.lane import Slot
from pytest_trt.pipeline.open import open_runner
from pytest_trt.report.trtexec_json import export_layer_info
from pytest_trt.spec.declaration import PipelineOptions

BATCHES = 500


@pytest.fixture(scope="module")
def batches() -> list[dict[str, Any]]:
    return [conv_inputs(4, seed) for seed in range(BATCHES)]


@pytest.fixture(scope="module")
def expected(batches: list[dict[str, Any]], reference: Callable[..., Any]) -> list[Any]:
    return [reference("conv", batch) for batch in batches]


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("contexts", [1, 2, 4])
@pytest.mark.parametrize("graph", [True, False])
def test_stream_of_500_batches_is_correct_and_in_order(
    open_conv: Callable[..., Any], batches: Any, expected: Any, depth: int, contexts: int, graph: bool
) -> None:
    runner = open_conv(depth=depth, contexts=contexts, cuda_graph=graph)
    count = 0
    for got, want in zip(runner.stream(iter(batches)), expected, strict=True):
        assert_close(got, want)
        count += 1
    assert count == BATCHES
    assert runner.proof["graph"].startswith("captured") == graph


@pytest.mark.parametrize(
    "options", [{"pinned": False}, {"transfers": False}, {"spin_wait": True}, {"cold_l2": True}, {"expose_dma": True}]
)
def test_pipeline_options_do_not_change_outputs(
    open_conv: Callable[..., Any], batches: Any, expected: Any, options: dict[str, Any]
) -> None:
    runner = open_conv(**options)
    for batch, want in zip(batches[:5], expected, strict=False):
        assert_close(runner.infer(batch), want)
    for got, want in zip(runner.stream(batches[:20]), expected, strict=False):
        assert_close(got, want)
    runner.set_inputs(batches[0])
    figures = runner.block(8)
    assert all(len(samples) == 8 and min(samples) > 0 for samples in figures.values())
    assert ("h2d_ms" in figures) == options.get("transfers", True)
    parts = [figures[name] for name in ("h2d_ms", "gpu_ms", "d2h_ms") if name in figures]
    assert figures["ms"] == pytest.approx([sum(sample) for sample in zip(*parts, strict=True)])
    assert runner.throughput(0.01) > 0


@pytest.mark.serial
def test_exposed_copies_overlap_nothing(open_conv: Callable[..., Any]) -> None:
    """A query in flight alone, or one after another, is no faster than its three parts."""
    rates, parts_ms = {}, {}
    for exposed in (False, True):
        runner = open_conv(batch=32, expose_dma=exposed, depth=3)
        runner.set_inputs(conv_inputs(32, 0))
        block = runner.block(50)
        parts_ms[exposed] = sum(statistics.median(block[name]) for name in ("h2d_ms", "gpu_ms", "d2h_ms"))
        rates[exposed] = statistics.median(runner.throughput(0.1) for _ in range(5))
    print(rates, parts_ms)
    assert rates[True] * parts_ms[True] / 1000 < 1.05
    assert rates[False] > 1.1 * rates[True]


def test_postprocess_keeps_order_and_raises_at_the_failing_item(
    open_conv: Callable[..., Any], batches: Any, expected: Any
) -> None:
    runner = open_conv(postprocess_threads=4)

    def work(outputs: Any) -> Any:
        time.sleep(0.001 * (int(abs(outputs["y"][0, 0]) * 1e6) % 3))
        if np.allclose(outputs["y"], expected[7]["y"], atol=5e-3):
            raise ValueError("the seventh")
        return outputs["y"]

    results = runner.stream(batches[:20], work)
    for index in range(7):
        np.testing.assert_allclose(next(results), expected[index]["y"], rtol=5e-3, atol=5e-3)
    with pytest.raises(ValueError, match="the seventh"):
        next(results)


def test_no_thread_survives_a_break(open_conv: Callable[..., Any], batches: Any, expected: Any) -> None:
    runner = open_conv(depth=3)
    before = threading.active_count()
    for index, _ in enumerate(runner.stream(iter(batches), lambda outputs: outputs["y"])):
        if index == 5:
            break
    time.sleep(0.05)
    assert threading.active_count() == before
    assert_close(runner.infer(batches[3]), expected[3])


def test_error_of_a_generator_is_raised_after_earlier_results(open_conv: Callable[..., Any], batches: Any) -> None:
    runner = open_conv(depth=3)

    def failing() -> Iterator[Any]:
        yield from batches[:5]
        raise OSError("the disk is gone")

    results: list[Any] = []
    with pytest.raises(OSError, match="the disk is gone"):
        results.extend(runner.stream(failing()))
    assert len(results) == 5


@pytest.mark.serial
@pytest.mark.parametrize("options", [{}, {"cuda_graph": False}, {"transfers": False}])
def test_a_delay_is_in_the_time_of_the_computation(
    workshop: Workshop, conv_plan: Path, batches: Any, options: dict[str, Any]
) -> None:
    """The delay is large against the 2 us of one fill, and against the scatter of a shared GPU."""
    medians = {}
    for delay_ms in (0.0, 0.5, 5.0):
        engine = workshop.load(conv_plan)
        runner = open_runner(engine, {"x": (4, 3, 32, 32)}, PipelineOptions(**options), delay_ms)
        runner.set_inputs(batches[0])
        runner.block(30)
        medians[delay_ms] = statistics.median(runner.block(60)["ms"])
        runner.close()
        engine.close()
    assert medians[0.5] - medians[0.0] == pytest.approx(0.5, rel=0.2)
    assert medians[5.0] - medians[0.0] == pytest.approx(5.0, rel=0.2)


@pytest.mark.serial
def test_1000_inferences_allocate_nothing(open_conv: Callable[..., Any], batches: Any) -> None:
    runner = open_conv(contexts=2)
    runner.infer(batches[0])
    for _ in runner.stream(batches[:50]):
        pass
    runner.set_inputs(batches[0])
    runner.block(100)

    def resident() -> int:
        return int(Path(f"/proc/{os.getpid()}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    free, host = cuda.memory_info()[0], resident()
    for _ in runner.stream(batches[i % BATCHES] for i in range(1000)):
        pass
    runner.block(100)
    assert cuda.memory_info()[0] == free
    assert resident() - host < 2**20


def test_shapes_may_alternate(open_conv: Callable[..., Any], reference: Callable[..., Any]) -> None:
    runner = open_conv(batch=4)
    mixed = [conv_inputs(batch, seed) for seed, batch in enumerate((4, 4, 1, 32, 4, 1, 1, 8, 2, 3, 4, 4))]
    for got, batch in zip(runner.stream(mixed), mixed, strict=True):
        assert_close(got, reference("conv", batch))
    with pytest.raises(InputError, match=r"no profile .* covers 'x' \(33, 3, 32, 32\): it has profile 0: 'x' \(1, 3"):
        runner.infer(conv_inputs(33, 0))


def test_narrowest_profile_is_chosen(workshop: Workshop, reference: Callable[..., Any]) -> None:
    sizes = (32, 8, 1)
    profiles = tuple({"x": ((1, 3, 32, 32), (n, 3, 32, 32), (n, 3, 32, 32))} for n in sizes)
    engine = workshop.load(workshop.plan("conv", profiles))
    assert [engine.select_profile({"x": (n, 3, 32, 32)}) for n in (1, 2, 8, 9, 32)] == [2, 1, 1, 0, 0]
    runner = open_runner(engine, {"x": (8, 3, 32, 32)}, PipelineOptions(contexts=2))
    for batch in (8, 1, 32, 8):
        inputs = conv_inputs(batch, batch)
        for _ in range(3):
            assert_close(runner.infer(inputs), reference("conv", inputs))
    runner.close()
    engine.close()


def test_output_with_a_data_dependent_shape(workshop: Workshop, reference: Callable[..., Any]) -> None:
    engine = workshop.load(workshop.plan("nonzero"))
    runner = open_runner(engine, {"x": (64,)}, PipelineOptions(depth=2))
    random = np.random.default_rng(0)
    inputs = [{"x": (random.random(64) < share).astype(np.float32)} for share in (0.1, 0.9, 0.0, 1.0, 0.5) * 4]
    for got, batch in zip(runner.stream(inputs), inputs, strict=True):
        assert_close(got, reference("nonzero", batch))
    runner.set_inputs(inputs[0])
    assert "depends on the data" in runner.proof["graph"]
    assert len(runner.block(5)["d2h_ms"]) == 5
    assert_close(runner.infer(inputs[1]), reference("nonzero", inputs[1]))
    with pytest.raises(
        BackendError, match=r"cuda_graph=True, but no graph can be captured: the shape of 'indices' depends"
    ):
        open_runner(engine, {"x": (64,)}, PipelineOptions(cuda_graph=True)).set_inputs(inputs[0])
    runner.close()
    engine.close()


def test_no_buffer_set_has_a_graph_if_one_cannot_be_captured(
    open_conv: Callable[..., Any], batches: Any, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture, captured = Slot.capture, []

    def capture_every_second(slot: Slot) -> None:
        captured.append(slot)
        if len(captured) % 2 == 0:
            raise BackendError("the second cannot")
        capture(slot)

    monkeypatch.setattr(Slot, "capture", capture_every_second)
    runner = open_conv(depth=2)
    for got, want in zip(runner.stream(batches[:20]), expected, strict=False):
        assert_close(got, want)
    assert runner.proof["graph"] == "fell back: the second cannot"
    assert [slot.graph for slot in runner._current.slots] == [None, None]
    strict = open_conv(depth=2, cuda_graph=True)
    for _ in range(2):
        with pytest.raises(BackendError, match="cuda_graph=True, but no graph can be captured: the second cannot"):
            strict.set_inputs(batches[0])


def test_input_that_the_host_reads(workshop: Workshop, reference: Callable[..., Any]) -> None:
    engine = workshop.load(workshop.plan("expand", input_ranges={"shape": (1, 24)}))
    assert [t.name for t in engine.inputs if t.on_host] == ["shape"]
    runner = open_runner(engine, {"x": (1, 1), "shape": (2,)}, PipelineOptions())
    x = np.full((1, 1), 3, np.float32)
    for sides in ((4, 6), (2, 12), (4, 6), (24, 1), (4, 6)):
        inputs = {"x": x, "shape": np.array(sides, np.int32)}
        assert_close(runner.infer(inputs), reference("expand", inputs))
    runner.close()
    engine.close()


def test_indices_are_always_valid(workshop: Workshop, reference: Callable[..., Any]) -> None:
    profile = {"ids": ((1, 4), (2, 4), (4, 4))}
    engine = workshop.load(workshop.plan("gather", (profile,)))
    runner = open_runner(engine, {"ids": (2, 4)}, PipelineOptions(depth=3, contexts=2))
    inputs = [{"ids": np.random.default_rng(i).integers(0, 8, (2, 4)).astype(np.int32)} for i in range(20)]
    for got, batch in zip(runner.stream(inputs), inputs, strict=True):
        assert_close(got, reference("gather", batch))
    runner.close()
    engine.close()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"y": np.zeros((4, 3, 32, 32), np.float32)}, "no input 'y'"),
        ({}, "'x' is missing"),
        ({"x": np.zeros((4, 3, 32, 32))}, "is float64"),
        ({"x": np.zeros((4, 3, 32), np.float32)}, "has the shape"),
    ],
)
def test_invalid_inputs_are_errors(open_conv: Callable[..., Any], inputs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_conv().infer(inputs)


def test_inputs_need_not_be_contiguous(open_conv: Callable[..., Any], reference: Callable[..., Any]) -> None:
    flipped = {"x": conv_inputs(4, 0)["x"][::-1, :, :, ::-1]}
    plain = {"x": np.ascontiguousarray(flipped["x"])}
    assert_close(open_conv().infer(flipped), reference("conv", plain))


@pytest.mark.serial
def test_runner_works_after_a_failed_allocation(open_conv: Callable[..., Any], batches: Any) -> None:
    cuda.device("0").activate()
    hog = cuda.DeviceBuffer(cuda.memory_info()[0] - 40 * 2**20)
    try:
        with pytest.raises(BackendError, match=r"MB.*free: "):
            open_conv(batch=32, contexts=64, depth=64)
    finally:
        hog.close()
    open_conv().infer(batches[0])


@pytest.mark.serial
def test_context_can_be_created_after_a_failure(workshop: Workshop) -> None:
    engine = workshop.load(workshop.plan("wide", (RANGES["wide"],)))
    hog = cuda.DeviceBuffer(cuda.memory_info()[0] - 8 * 2**20)
    try:
        with pytest.raises(BackendError, match=r"no execution context can be created \(it needs .* MB; free: "):
            open_runner(engine, {"x": (32, 64, 32, 32)}, PipelineOptions())
    finally:
        hog.close()
    runner = open_runner(engine, {"x": (32, 64, 32, 32)}, PipelineOptions())
    assert runner.infer({"x": np.zeros((32, 64, 32, 32), np.float32)})["y"].shape == (32, 128, 32, 32)
    runner.close()
    engine.close()


STICKY = """
import sys
from pathlib import Path
import numpy as np
from pytest_trt.engine.backends import cuda
from pytest_trt.engine.backends.base import backend
from pytest_trt.errors import BackendError
from pytest_trt.pipeline.open import open_runner
from pytest_trt.spec.declaration import PipelineOptions
from pytest_trt.spec.engine_spec import EngineSpec
engine = backend("tensorrt").load(Path(sys.argv[1]), "0", EngineSpec())
runner = open_runner(engine, {"x": (4, 3, 32, 32)}, PipelineOptions(cuda_graph=False))
inputs = {"x": np.zeros((4, 3, 32, 32), np.float32)}
runner.infer(inputs)
lane = runner._current.lanes[0]
lane.bind(lane.slots[0])
lane.context.set_address("x", 4096)
try:
    lane.context.enqueue(lane.compute)
    lane.compute.synchronize()
except BackendError as error:
    print(error, flush=True)
try:
    cuda.DeviceBuffer(16)
except BackendError as error:
    print("then:", error, flush=True)
"""


def test_sticky_error_ends_only_its_process(conv_plan: Path, open_conv: Callable[..., Any], batches: Any) -> None:
    runner = open_conv()
    before = runner.infer(batches[0])
    root = str(Path(pytest_trt.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", STICKY, str(conv_plan)], capture_output=True, text=True, check=False,
                          env=environment)  # fmt: skip
    assert "cudaErrorIllegalAddress" in done.stdout
    assert "the CUDA context of this process is lost" in done.stdout
    assert "then: " in done.stdout
    np.testing.assert_array_equal(runner.infer(batches[0])["y"], before["y"])


def test_python_cost_separates_the_drivers_work_from_ours(open_conv: Callable[..., Any], batches: Any) -> None:
    runner = open_conv(depth=2)
    before = runner.infer(batches[0])
    runner.set_inputs(batches[0])
    row = python_cost.measure(runner)
    print(python_cost.line(row), row)
    assert 0 < row["driver_us"] < row["issue_us"]
    assert row["bindings_us"] > row["driver_us"]
    assert row["count"] == len(row["calls"]) == 10
    assert [name for name, _ in row["calls"]].count("cudaGraphLaunch") == 1
    np.testing.assert_array_equal(runner.infer(batches[0])["y"], before["y"])


def test_layers_have_times_tactics_and_nodes(open_conv: Callable[..., Any], batches: Any) -> None:
    runner = open_conv()
    runner.set_inputs(batches[0])
    profile = runner.profile(5)
    assert profile.total_ms > 0
    assert all(layer.ms is not None for layer in profile.layers)
    assert {"conv0", "conv1", "gemm"} <= {node for layer in profile.layers for node in layer.nodes}
    assert any(layer.tactic for layer in profile.layers)
    assert any(layer.precision for layer in profile.layers)
    assert sorted(profile.bindings) == ["x", "y", "z"]  # in TensorRT's order, which is its own
    print(profile)


def test_layer_information_is_exported_as_the_inspector_reports_it(open_conv: Callable[..., Any], batches: Any) -> None:
    """Every tensor that a layer reads is an input or the output of a layer, so that tools can draw the engine."""
    runner = open_conv(batch=4)
    runner.set_inputs(batches[0])
    profile = runner.profile(3)
    exported = json.loads(export_layer_info(profile))
    print(json.dumps(exported)[:3000])
    named = exported["Bindings"] if "Bindings" in exported else [t["Name"] for t in exported["I/O Tensors"]]
    assert {"x", "y", "z"} <= set(named)
    layers = exported["Layers"]
    assert {"Name", "LayerType", "Inputs", "Outputs", "TacticName"} <= set.union(*(set(layer) for layer in layers))
    made = {"x"} | {tensor["Name"] for layer in layers for tensor in layer["Outputs"]}
    assert {tensor["Name"] for layer in layers for tensor in layer["Inputs"]} <= made
    assert {"y", "z"} <= made
    assert {4} == {tensor["Dimensions"][0] for layer in layers for tensor in layer["Inputs"] if tensor["Name"] == "x"}
    assert {layer.name for layer in profile.layers} <= {layer["Name"] for layer in layers}


@pytest.mark.parametrize(
    ("options", "series"),
    [
        ({}, {"ms", "gpu_ms", "h2d_ms", "d2h_ms", "enqueue_ms", "host_ms"}),
        ({"cuda_graph": False}, {"ms", "gpu_ms", "h2d_ms", "d2h_ms", "enqueue_ms", "host_ms"}),
        ({"cold_l2": True, "depth": 3}, {"ms", "gpu_ms", "h2d_ms", "d2h_ms", "enqueue_ms", "host_ms"}),
        ({"transfers": False}, {"ms", "gpu_ms", "enqueue_ms", "host_ms"}),
    ],
)
def test_block_times_every_stage_of_every_sample(
    open_conv: Callable[..., Any], batches: Any, options: dict[str, Any], series: set[str]
) -> None:
    runner = open_conv(**options)
    runner.set_inputs(batches[0])
    for count in (1, 7, 300):
        times = runner.block(count)
        assert {name: len(samples) for name, samples in times.items()} == dict.fromkeys(series, count)
        assert all(min(samples) > 0 for samples in times.values())
    parts = [times[name] for name in ("h2d_ms", "gpu_ms", "d2h_ms") if name in times]
    assert list(times["ms"]) == [sum(sample) for sample in zip(*parts, strict=True)]


def test_memory_count_ignores_other_allocations(open_conv: Callable[..., Any], batches: Any) -> None:
    runner = open_conv(depth=2)
    runner.set_inputs(batches[0])
    alone = dict(runner.memory())
    other = cuda.DeviceBuffer(2**28)
    assert runner.memory() == alone
    other.close()
    sizes = 4 * 3 * 32 * 32 * 4 + 4 * 16 * 16 * 16 * 4 + 4 * 8 * 4
    assert alone["io"] == pytest.approx(2 * sizes, abs=4096)
    assert alone["weights"] > 0
    assert alone["peak"] >= alone["weights"] + alone["context"] + alone["io"]
    print(alone, runner._engine.context_bytes)
