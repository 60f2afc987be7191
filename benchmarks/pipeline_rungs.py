"""The rungs of pipeline.py: each measures one technique with the plan in a folder, at one batch size."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import crossing
import numpy as np
import python_cost

BATCHES = (128, 1)
SECONDS = 0.6

Row = dict[str, Any]


def build(folder: Path) -> Row:
    """Build the plan of all rungs: FP16, with a profile for batch 1 and one for batch 128."""
    from resnet18 import save

    from pytest_trt.engine.backends.base import BuildJob, backend
    from pytest_trt.spec.engine_spec import EngineSpec

    model = save(folder / "resnet18.onnx")
    shape = (3, 224, 224)
    profiles = tuple({"input": ((b, *shape), (b, *shape), (b, *shape))} for b in BATCHES)
    job = BuildJob("tensorrt", "0", EngineSpec(precision="fp16"), str(model), str(folder), profiles)
    report = backend("tensorrt").build(job, lambda text, share: None)
    return {"build_s": report.seconds, "plan_mb": report.plan_bytes / 1e6, "precisions": dict(report.precisions)}


def open_engine(folder: Path) -> Any:
    """Load the plan."""
    from pytest_trt.engine.backends.base import backend
    from pytest_trt.spec.engine_spec import EngineSpec

    return backend("tensorrt").load(folder / "plan", "0", EngineSpec())


def runner(folder: Path, batch: int, **options: Any) -> Any:
    """Return a runner of the plan that has inputs and has warmed up; `options` are those of the pipeline."""
    from pytest_trt.pipeline.open import open_runner
    from pytest_trt.spec.declaration import PipelineOptions

    engine = open_engine(folder)
    opened = open_runner(engine, {"input": (batch, 3, 224, 224)}, PipelineOptions(**options))
    inputs = {"input": np.random.default_rng(0).standard_normal((batch, 3, 224, 224)).astype(np.float32)}
    opened.infer(inputs)
    opened.set_inputs(inputs)
    opened.block(20)
    return opened


def median_ms(work: Callable[[], None], seconds: float = SECONDS) -> float:
    """Return the median time of a call in ms, by the host's clock."""
    for _ in range(3):
        work()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def simple_loop(folder: Path, batch: int, *, reuse: bool, pinned: bool) -> Row:
    """Measure a simple loop: copy in, compute, copy out, wait.

    Args:
        folder: The folder of the plan.
        batch: The batch size.
        reuse: Whether device memory is allocated once, rather than for each batch.
        pinned: Whether host memory is page-locked.
    """
    from pytest_trt.engine.backends import cuda
    from pytest_trt.pipeline.buffers import PageableBuffer

    engine = open_engine(folder)
    stream = cuda.Stream()
    context = engine.create_context(BATCHES.index(batch), stream)
    context.set_shape("input", (batch, 3, 224, 224))
    sizes = {"input": batch * 3 * 224 * 224 * 4, "logits": batch * 1000 * 4}
    host = {name: (cuda.PinnedBuffer if pinned else PageableBuffer)(size) for name, size in sizes.items()}
    reused = {name: cuda.DeviceBuffer(size) for name, size in sizes.items()} if reuse else {}

    def infer() -> None:
        device = reused or {name: cuda.DeviceBuffer(size) for name, size in sizes.items()}
        for name, buffer in device.items():
            context.set_address(name, buffer.address)
        stream.copy(device["input"].address, host["input"].address, sizes["input"])
        context.enqueue(stream)
        stream.copy(host["logits"].address, device["logits"].address, sizes["logits"])
        stream.synchronize()
        if not reused:
            for buffer in device.values():
                buffer.close()

    return {"ms": median_ms(infer)}


def device_ms(work: Callable[[], None], stream: Any, count: int, repeats: int = 7) -> float:
    """Return the device time of a call in ms: `count` calls are timed together between two events."""
    from pytest_trt.engine.backends import cuda

    start, end = cuda.Event(), cuda.Event()
    times = []
    for _ in range(repeats):
        work()
        start.record(stream)
        for _ in range(count):
            work()
        end.record(stream)
        end.synchronize()
        times.append(end.ms_since(start) / count)
    return statistics.median(times)


def pipelined(folder: Path, batch: int, **options: Any) -> Row:
    """Measure the time per inference at full throughput, and `compute_ms`: computation alone in the same process."""
    opened = runner(folder, batch, **options)
    lane = opened._current.lanes[0]
    rates, compute = [], []
    for _ in range(5):
        rates.append(opened.throughput(SECONDS / 5))
        compute.append(device_ms(lane.slots[0].compute_commands.run, lane.compute, 50, 1))
    ms, compute_ms = 1000 / statistics.median(rates), statistics.median(compute)
    return {
        "ms": ms, "compute_ms": compute_ms, "of_compute": compute_ms / ms, "rates": rates, "proof": dict(opened.proof)
    }  # fmt: skip


def limits(folder: Path, batch: int) -> Row:
    """Measure pinned copies alone and graph replays alone, each timed together between two events."""
    from pytest_trt.engine.backends import cuda

    opened = runner(folder, batch, transfers=False)
    lane = opened._current.lanes[0]
    slot = lane.slots[0]
    pinned, device = cuda.PinnedBuffer(batch * 3 * 224 * 224 * 4), cuda.DeviceBuffer(batch * 3 * 224 * 224 * 4)

    count = 200 if batch > 1 else 500
    h2d = device_ms(lambda: lane.copy_in.copy(device.address, pinned.address, pinned.nbytes), lane.copy_in, count)
    compute = device_ms(slot.compute_commands.run, lane.compute, count)
    block = [statistics.median(opened.block(200 if batch == 1 else 60)["gpu_ms"]) for _ in range(7)]
    return {"h2d_ms": h2d, "compute_ms": compute, "ms": max(h2d, compute), "block_gpu_ms": statistics.median(block)}


def block(folder: Path, batch: int, **options: Any) -> Row:
    """Measure the figures of blocks, alternately with replays of the same graph and with a bare loop of the bindings.

    The replays are timed together on the device, and the bare loop with the host's clock.
    """
    from pytest_trt.engine.backends.cuda.driver import runtime

    opened = runner(folder, batch, **options)
    lane = opened._current.lanes[0]
    graph, bindings = lane.slots[0].graph, runtime()
    launch, synchronize, clock = bindings.cudaGraphLaunch, bindings.cudaStreamSynchronize, time.perf_counter_ns
    executable, stream = graph.executable, lane.compute.native

    def bare_loop_ms() -> float:
        times = []
        for _ in range(200):
            start = clock()
            launch(executable, stream)
            synchronize(stream)
            times.append((clock() - start) / 1e6)
        return statistics.median(times)

    runs: list[Row] = []
    for _ in range(11):
        medians = {name: statistics.median(samples) for name, samples in opened.block(100).items()}
        replays = device_ms(lambda: graph.launch(lane.compute), lane.compute, 100, 1)
        runs.append({**medians, "bare_host_ms": bare_loop_ms(), "whole_gpu_ms": replays})
    row = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    for name in ("h2d_ms", "gpu_ms", "d2h_ms") if "h2d_ms" in row else ("gpu_ms",):
        values = [run[name] for run in runs]
        row[f"{name}_apart"] = max(values) / min(values) - 1
    return {**row, "off": row["gpu_ms"] / row["whole_gpu_ms"] - 1, "events_us": opened.proof.get("events_us")}


def streamed(folder: Path, batch: int, threads: int) -> Row:
    """Measure a user's complete loop: arrays in, arrays out, softmax and top 5 of the result."""
    opened = runner(folder, batch, postprocess_threads=max(threads, 1), spin_wait=True, depth=3)
    inputs = {"input": np.random.default_rng(0).standard_normal((batch, 3, 224, 224)).astype(np.float32)}

    def top5(outputs: dict[str, Any]) -> Any:
        logits = outputs["logits"].astype(np.float64)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        return np.argsort(shares / shares.sum(1, keepdims=True))[:, -5:]

    def run(count: int) -> float:
        batches = (inputs for _ in range(count))
        start = time.perf_counter()
        for _ in opened.stream(batches, top5) if threads else map(top5, opened.stream(batches)):
            pass
        return (time.perf_counter() - start) / count * 1000

    run(10)
    return {"ms": statistics.median(run(40 if batch > 1 else 1000) for _ in range(3))}


def crossing_cost(folder: Path, batch: int) -> Row:
    """Measure the cost of passing arrays to a probe, for single inferences and in a stream."""
    inputs = {"input": np.random.default_rng(0).standard_normal((batch, 3, 224, 224)).astype(np.float32)}
    return crossing.measure("tensorrt", folder / "plan", inputs, SECONDS, spin_wait=True, depth=3)


def in_place(folder: Path, batch: int, **options: Any) -> Row:
    """Measure a stream on arrays that are filled in place, across the boundary of the probe."""
    inputs = {"input": np.random.default_rng(0).standard_normal((batch, 3, 224, 224)).astype(np.float32)}
    return crossing.in_place("tensorrt", folder / "plan", inputs, 2 * SECONDS, **options)


RUNGS: dict[str, Callable[[Path, int], Row]] = {
    "limit": limits,
    "allocate per batch": lambda f, b: simple_loop(f, b, reuse=False, pinned=False),
    "reuse": lambda f, b: simple_loop(f, b, reuse=True, pinned=False),
    "pinned": lambda f, b: simple_loop(f, b, reuse=True, pinned=True),
    "two streams": lambda f, b: pipelined(f, b, cuda_graph=False),
    "CUDA graph": lambda f, b: pipelined(f, b),
    "CUDA graph, depth 3": lambda f, b: pipelined(f, b, depth=3),
    "two contexts": lambda f, b: pipelined(f, b, contexts=2),
    "four contexts": lambda f, b: pipelined(f, b, contexts=4),
    "no transfers": lambda f, b: pipelined(f, b, transfers=False),
    "arrays in and out": lambda f, b: streamed(f, b, 0),
    "arrays, output thread": lambda f, b: streamed(f, b, 1),
    "arrays in place": lambda f, b: in_place(f, b, depth=3, spin_wait=True),
    "arrays in place, sleeping": lambda f, b: in_place(f, b),
    "copies exposed": lambda f, b: pipelined(f, b, expose_dma=True),
    "block": lambda f, b: block(f, b, spin_wait=True),
    "block, no transfers": lambda f, b: block(f, b, spin_wait=True, transfers=False),
    "python": lambda f, b: python_cost.measure(runner(f, b)),
    "crossing": crossing_cost,
}


def software() -> Row:
    """Return the names and versions of the device and the software."""
    from pytest_trt.engine.backends.base import backend

    found = backend("tensorrt").environment("0")
    return {
        "device": found.device, "driver": str(found.driver), "CUDA": str(found.cuda),
        "TensorRT": found.backend_version, "Python": found.python, "host": f"{found.host_cpu}, {found.host_cpus} CPUs",
    }  # fmt: skip


SETUP: dict[str, Callable[[Path, int], Row]] = {"build": lambda f, b: build(f), "software": lambda f, b: software()}
"""The steps that run once, before the rungs. They also run in a process of their own: the process that starts the rungs
must not create a CUDA context."""
