"""How close the pipeline comes to what the hardware can do, rung by rung: ResNet-18 FP16 at batch 128 and batch 1.

    python benchmarks/pipeline.py FOLDER [--torch-python PYTHON] [--plan FOLDER]

Needs a GPU, TensorRT with its builder, and cuda-python. Every rung runs in a fresh process with the engine alone. The
limit is the larger of pinned host-to-device copies alone and computation alone, read in the same run. PyTorch's rungs
run under the interpreter that has torch and torchvision: this one, or else `python3`, unless one is named. Writes
FOLDER/DATE-pipeline.json, .md, and a chart a batch; some three minutes on an H200, half a minute of it the build.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

import crossing
import ladder
import python_cost

BATCHES = (128, 1)
SECONDS = 0.6
CHILD_TIMEOUT_S = 180.0

Row = dict[str, Any]


def build(folder: Path) -> Row:
    """One plan for all rungs: FP16, batch 1 to 128 in two profiles."""
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
    from pytest_trt.engine.backends.base import backend
    from pytest_trt.spec.engine_spec import EngineSpec

    return backend("tensorrt").load(folder / "plan", "0", EngineSpec())


def runner(folder: Path, batch: int, **options: Any) -> Any:
    from pytest_trt.pipeline.open import open_runner
    from pytest_trt.spec.declaration import PipelineOptions

    engine = open_engine(folder)
    made = open_runner(engine, {"input": (batch, 3, 224, 224)}, PipelineOptions(**options))
    inputs = {"input": np.random.default_rng(0).standard_normal((batch, 3, 224, 224)).astype(np.float32)}
    made.infer(inputs)
    made.set_inputs(inputs)
    made.block(20)
    return made


def timed(work: Callable[[], None], seconds: float = SECONDS) -> float:
    """Median ms of a call, by the host's clock."""
    for _ in range(3):
        work()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def plain(folder: Path, batch: int, *, reuse: bool, pinned: bool) -> Row:
    """The loop of a first attempt: copy in, compute, copy out, wait; device memory allocated anew, or not."""
    from pytest_trt.engine.backends import cuda
    from pytest_trt.pipeline.buffers import PageableBuffer

    engine = open_engine(folder)
    stream = cuda.Stream()
    context = engine.create_context(BATCHES.index(batch), stream)
    context.set_shape("input", (batch, 3, 224, 224))
    sizes = {"input": batch * 3 * 224 * 224 * 4, "logits": batch * 1000 * 4}
    host = {name: (cuda.PinnedBuffer if pinned else PageableBuffer)(size) for name, size in sizes.items()}
    kept = {name: cuda.DeviceBuffer(size) for name, size in sizes.items()} if reuse else {}

    def infer() -> None:
        device = kept or {name: cuda.DeviceBuffer(size) for name, size in sizes.items()}
        for name, buffer in device.items():
            context.set_address(name, buffer.address)
        stream.copy(device["input"].address, host["input"].address, sizes["input"])
        context.enqueue(stream)
        stream.copy(host["logits"].address, device["logits"].address, sizes["logits"])
        stream.synchronize()
        if not kept:
            for buffer in device.values():
                buffer.close()

    return {"ms": timed(infer)}


def whole(work: Callable[[], None], stream: Any, count: int, times: int = 7) -> float:
    """ms of a call's work on the device: `count` of them timed as a whole between two events."""
    from pytest_trt.engine.backends import cuda

    began, ended = cuda.Event(), cuda.Event()
    found = []
    for _ in range(times):
        work()
        began.record(stream)
        for _ in range(count):
            work()
        ended.record(stream)
        ended.synchronize()
        found.append(ended.ms_since(began) / count)
    return statistics.median(found)


def pipelined(folder: Path, batch: int, **options: Any) -> Row:
    """ms an inference at full throughput; `compute_ms`, computation alone in this very process, stands beside it."""
    made = runner(folder, batch, **options)
    lane = made._current.lanes[0]
    rates, compute = [], []
    for _ in range(5):
        rates.append(made.throughput(SECONDS / 5))
        compute.append(whole(lane.slots[0].compute_commands.run, lane.compute, 50, 1))
    found = {"ms": 1000 / statistics.median(rates), "compute_ms": statistics.median(compute)}
    return {**found, "of_compute": found["compute_ms"] / found["ms"], "rates": rates, "proof": dict(made.proof)}


def limits(folder: Path, batch: int) -> Row:
    """Pinned copies alone, and graph replays alone, each as a whole between two events."""
    from pytest_trt.engine.backends import cuda

    made = runner(folder, batch, transfers=False)
    lane = made._current.lanes[0]
    slot = lane.slots[0]
    pinned, device = cuda.PinnedBuffer(batch * 3 * 224 * 224 * 4), cuda.DeviceBuffer(batch * 3 * 224 * 224 * 4)

    count = 200 if batch > 1 else 500
    h2d = whole(lambda: lane.copy_in.copy(device.address, pinned.address, pinned.nbytes), lane.copy_in, count)
    compute = whole(slot.compute_commands.run, lane.compute, count)
    block = [statistics.median(made.block(200 if batch == 1 else 60)["gpu_ms"]) for _ in range(7)]
    return {"h2d_ms": h2d, "compute_ms": compute, "ms": max(h2d, compute), "block_gpu_ms": statistics.median(block)}


def block(folder: Path, batch: int, **options: Any) -> Row:
    """Medians of a block's figures, and in turn with them: the very same graph's replays timed as a whole, and a bare
    loop of the bindings by the host's clock."""
    from pytest_trt.engine.backends.cuda.driver import runtime

    made = runner(folder, batch, **options)
    lane = made._current.lanes[0]
    graph, bindings = lane.slots[0].graph, runtime()
    launch, synchronize, clock = bindings.cudaGraphLaunch, bindings.cudaStreamSynchronize, time.perf_counter_ns
    executable, stream = graph.executable, lane.compute.native

    def bare() -> float:
        times = []
        for _ in range(200):
            start = clock()
            launch(executable, stream)
            synchronize(stream)
            times.append((clock() - start) / 1e6)
        return statistics.median(times)

    runs: list[Row] = []
    for _ in range(11):
        medians = {name: statistics.median(samples) for name, samples in made.block(100).items()}
        replays = whole(lambda: graph.launch(lane.compute), lane.compute, 100, 1)
        runs.append({**medians, "bare_host_ms": bare(), "whole_gpu_ms": replays})
    found = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    for name in ("h2d_ms", "gpu_ms", "d2h_ms") if "h2d_ms" in found else ("gpu_ms",):
        taken = [run[name] for run in runs]
        found[f"{name}_apart"] = max(taken) / min(taken) - 1
    return {**found, "off": found["gpu_ms"] / found["whole_gpu_ms"] - 1, "events_us": made.proof.get("events_us")}


def streamed(folder: Path, batch: int, threads: int) -> Row:
    """The whole way for a user: arrays in, arrays out, with softmax and top 5 on the result."""
    made = runner(folder, batch, postprocess_threads=max(threads, 1), spin_wait=True, depth=3)
    inputs = {"input": np.random.default_rng(0).standard_normal((batch, 3, 224, 224)).astype(np.float32)}

    def top5(outputs: dict[str, Any]) -> Any:
        logits = outputs["logits"].astype(np.float64)
        shares = np.exp(logits - logits.max(1, keepdims=True))
        return np.argsort(shares / shares.sum(1, keepdims=True))[:, -5:]

    def run(count: int) -> float:
        batches = (inputs for _ in range(count))
        start = time.perf_counter()
        for _ in made.stream(batches, top5) if threads else map(top5, made.stream(batches)):
            pass
        return (time.perf_counter() - start) / count * 1000

    run(10)
    return {"ms": statistics.median(run(40 if batch > 1 else 1000) for _ in range(3))}


def crossed(folder: Path, batch: int) -> Row:
    """What arrays pay for crossing into a probe, one inference at a time and in a stream."""
    inputs = {"input": np.random.default_rng(0).standard_normal((batch, 3, 224, 224)).astype(np.float32)}
    return crossing.measured("tensorrt", folder / "plan", inputs, SECONDS, spin_wait=True, depth=3)


TORCH = """
import json, sys, time, torch, torchvision
batch, half = int(sys.argv[1]), sys.argv[2] == "fp16"
model = torchvision.models.resnet18().eval().cuda()
kind = torch.float16 if half else torch.float32
model = model.to(kind)
host = torch.randn(batch, 3, 224, 224, dtype=kind).pin_memory()
times = []
with torch.inference_mode():
    end = time.perf_counter() + 2
    while time.perf_counter() < end:
        start = time.perf_counter()
        model(host.cuda(non_blocking=True)).cpu()
        times.append(time.perf_counter() - start)
times = sorted(times[len(times) // 3:])
print(json.dumps({"ms": times[len(times) // 2] * 1000, "torch": torch.__version__}))
"""

RUNGS: dict[str, Callable[[Path, int], Row]] = {
    "limit": limits,
    "allocate per batch": lambda f, b: plain(f, b, reuse=False, pinned=False),
    "reuse": lambda f, b: plain(f, b, reuse=True, pinned=False),
    "pinned": lambda f, b: plain(f, b, reuse=True, pinned=True),
    "two streams": lambda f, b: pipelined(f, b, cuda_graph=False),
    "CUDA graph": lambda f, b: pipelined(f, b),
    "CUDA graph, depth 3": lambda f, b: pipelined(f, b, depth=3),
    "two contexts": lambda f, b: pipelined(f, b, contexts=2),
    "four contexts": lambda f, b: pipelined(f, b, contexts=4),
    "no transfers": lambda f, b: pipelined(f, b, transfers=False),
    "arrays in and out": lambda f, b: streamed(f, b, 0),
    "arrays, output thread": lambda f, b: streamed(f, b, 1),
    "block": lambda f, b: block(f, b, spin_wait=True),
    "block, no transfers": lambda f, b: block(f, b, spin_wait=True, transfers=False),
    "python": lambda f, b: python_cost.measured(runner(f, b)),
    "crossing": crossed,
}


def software() -> Row:
    """The card and the software."""
    from pytest_trt.engine.backends.base import backend

    seen = backend("tensorrt").environment("0")
    return {
        "device": seen.device, "driver": str(seen.driver), "CUDA": str(seen.cuda), "TensorRT": seen.backend_version,
        "Python": seen.python, "host": f"{seen.host_cpu}, {seen.host_cpus} CPUs",
    }  # fmt: skip


BEFORE: dict[str, Callable[[Path, int], Row]] = {"build": lambda f, b: build(f), "software": lambda f, b: software()}
"""What is done once, in a process of its own too: the one that starts the rungs makes no CUDA context."""


def child(folder: Path, name: str, batch: int) -> Row:
    """One rung in a process of its own."""
    command = [sys.executable, __file__, "--plan", str(folder), "--rung", name, "--batch", str(batch)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=CHILD_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {"error": f"not done within {CHILD_TIMEOUT_S:g} s"}
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return {"error": (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]}
    found: Row = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def with_torch(named: str | None) -> str | None:
    """An interpreter that has torch and torchvision; the one that is named, if any, is taken at its word."""
    code = "import importlib.util as u, sys; sys.exit(None in (u.find_spec('torch'), u.find_spec('torchvision')))"
    for python in (named,) if named else (sys.executable, shutil.which("python3"), shutil.which("python3.12")):
        if python and (named or subprocess.run([python, "-c", code], check=False).returncode == 0):
            return python
    return None


def torch_rung(python: str | None, batch: int, kind: str) -> Row:
    """PyTorch, eager, under its interpreter."""
    if python is None:
        return {"error": "no interpreter with torch and torchvision was found: name one with --torch-python"}
    said = subprocess.run([python, "-c", TORCH, str(batch), kind], capture_output=True, text=True, check=False)
    if said.returncode:
        print(said.stderr, file=sys.stderr)
        return {"error": (said.stderr.strip().splitlines() or [f"status {said.returncode}"])[-1]}
    found: Row = json.loads(said.stdout.strip().splitlines()[-1])
    return found


def climb(folder: Path, batch: int, torch_python: str | None) -> dict[str, Row]:
    """Every rung of one batch, each said as it is known."""
    found: dict[str, Row] = {}
    rungs: dict[str, Callable[[], Row]] = {name: lambda name=name: child(folder, name, batch) for name in RUNGS}  # type: ignore[misc]
    for kind in ("fp32", "fp16"):
        rungs[f"PyTorch eager {kind}"] = lambda kind=kind: torch_rung(torch_python, batch, kind)  # type: ignore[misc]
    for name, rung in rungs.items():
        started = time.perf_counter()
        found[name] = rung()
        shown = {k: round(v, 4) for k, v in found[name].items() if isinstance(v, float)}
        print(f"batch {batch:3}  {name:24} {time.perf_counter() - started:5.1f} s  {shown or found[name]}", flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("pipeline"), help="where the results go")
    parser.add_argument("--plan", type=Path, help="a folder with a plan of an earlier run")
    parser.add_argument("--torch-python")
    parser.add_argument("--rung", choices=[*BEFORE, *RUNGS], help="this one alone, as JSON on the last line")
    parser.add_argument("--batch", type=int, default=1, choices=BATCHES)
    options = parser.parse_args()
    started = time.perf_counter()
    folder = options.plan or Path(tempfile.mkdtemp(prefix="trt-pipeline-"))
    if options.rung:
        print(json.dumps({**BEFORE, **RUNGS}[options.rung](folder, options.batch)))
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    made = {name: child(folder, name, 1) for name in BEFORE if name != "build" or not (folder / "plan").exists()}
    print(made, flush=True)
    if any("error" in row for row in made.values()):
        return 1
    torch_python = with_torch(options.torch_python)
    rows = {str(batch): climb(folder, batch, torch_python) for batch in BATCHES}
    record: Row = {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **made,
        "seconds": time.perf_counter() - started,
        "rows": rows,
    }
    options.folder.mkdir(parents=True, exist_ok=True)
    name = f"{record['time'][:10]}-pipeline"
    (options.folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    page = ladder.page(record, name)
    (options.folder / f"{name}.md").write_text(page)
    for batch, found in rows.items():
        title = f"ResNet-18 FP16, batch {batch}: throughput as a share of the limit"
        if "ms" in found["limit"]:
            (options.folder / f"{name}-b{batch}.svg").write_text(ladder.chart(found, title))
    print(f"\n{page}\n{record['seconds']:.0f} s, written to {options.folder}")
    failed = ladder.failures(rows)
    print(*failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
