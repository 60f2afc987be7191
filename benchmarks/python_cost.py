"""Measure what Python costs per inference in the pipeline: ResNet-18 in FP16 at batch 1, issued without waiting.

    python benchmarks/python_cost.py FOLDER [--plan PLAN]

It needs a GPU, cuda-python, and TensorRT with its builder, or a plan of a model with an input `input` of 3 x 224 x 224.
It writes FOLDER/python_cost.json. It takes about ten seconds on an H200, most of them for the build (at optimisation
level 0).

Issuing an inference is a list of calls to the CUDA runtime: copies, the launch of a graph, and events that are recorded
and waited for. The calls are made in four ways, which alternate. Each figure is a median in us per inference:

    issue_us      the calls as the pipeline makes them
    bindings_us   the same functions of cuda-python with the same arguments, in a bare loop without checks
    driver_us     the same calls without Python: the driver's functions called by ctypes, minus the time that ctypes
                  takes to call a C function that does nothing, with the same number of arguments
    own_us        issue_us - driver_us: what Python adds to the work of the driver, including cuda-python's wrappers
    loop_us       issue_us - bindings_us: the part of own_us that the package itself adds

The device takes about 0.15 ms per inference and queues all inferences of a batch of calls, so it delays none of them.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

if TYPE_CHECKING:
    from pytest_trt.pipeline.device import DeviceRunner

Call = tuple[Callable[..., Any], tuple[Any, ...]]
Row = dict[str, Any]

ROUNDS = 60
AT_A_TIME = 40
"""The number of inferences that are issued before the host waits."""

_DRIVER = {
    "cudaStreamWaitEvent": ("cuStreamWaitEvent", lambda stream, event, flags: (stream, event, flags)),
    "cudaMemcpyAsync": ("cuMemcpyAsync", lambda to, source, nbytes, kind, stream: (to, source, nbytes, stream)),
    "cudaEventRecord": ("cuEventRecord", lambda event, stream: (event, stream)),
    "cudaGraphLaunch": ("cuGraphLaunch", lambda graph, stream: (graph, stream)),
}
"""For each function of the runtime: the driver's function, and its arguments from those of the runtime."""


def ctypes_calls(calls: Sequence[Call], library: Any, no_op: Any) -> tuple[list[Call], list[Call]]:
    """Return the same calls of the driver's library, and as many calls of a function that does nothing.

    Args:
        calls: Calls of the runtime.
        library: The driver's library.
        no_op: The function that does nothing.

    Raises:
        KeyError: A call has no counterpart, such as a kernel launch outside a graph.
    """
    driver_calls: list[Call] = []
    for function, arguments in calls:
        name, convert = _DRIVER[function.__name__]
        values = tuple(ctypes.c_uint64(int(value)) for value in convert(*arguments))
        driver_calls.append((getattr(library, name), values))
    return driver_calls, [(no_op, arguments) for _, arguments in driver_calls]


def call_all(calls: Sequence[Call]) -> None:
    """Make the calls without any check."""
    for function, arguments in calls:
        function(*arguments)


def time_alternately(methods: Mapping[str, Sequence[Callable[[], Any]]], wait: Callable[[], None]) -> dict[str, float]:
    """Return the median time of each method in us.

    Args:
        methods: The methods, which alternate. Each consists of one function per buffer set, which alternate too.
        wait: Waits until the device has finished.
    """
    times_us: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(ROUNDS):
        for name, functions in methods.items():
            started = time.perf_counter_ns()
            for number in range(AT_A_TIME):
                functions[number % len(functions)]()
            times_us[name].append((time.perf_counter_ns() - started) / AT_A_TIME / 1000)
            wait()
    return {name: statistics.median(times) for name, times in times_us.items()}


def by_call(calls: Sequence[Call], wait: Callable[[], None]) -> list[tuple[str, float]]:
    """Return the name and the median time in us of each call, without the time to read the clock."""
    clock = time.perf_counter_ns
    times_ns: list[list[int]] = [[] for _ in calls]
    clock_ns = []
    for _ in range(400):
        started = clock()
        clock_ns.append(clock() - started)
        for (function, arguments), times in zip(calls, times_ns, strict=True):
            started = clock()
            function(*arguments)
            times.append(clock() - started)
        wait()
    cost = statistics.median(clock_ns)
    names = (function.__name__ for function, _ in calls)
    return [(name, (statistics.median(times) - cost) / 1000) for name, times in zip(names, times_ns, strict=True)]


def measure(runner: DeviceRunner) -> Row:
    """Measure the cost of an inference in a runner that has inputs and captured graphs."""
    shaped = runner._current
    assert shaped is not None
    slots = shaped.slots

    def wait() -> None:
        for lane in shaped.lanes:
            lane.synchronize()

    library, no_op = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL(None).abs
    commands = [slot.inference_commands.calls for slot in slots]
    driver_calls, no_op_calls = zip(*(ctypes_calls(calls, library, no_op) for calls in commands), strict=True)
    for calls in driver_calls:
        for function, arguments in calls:
            if status := function(*arguments):
                raise RuntimeError(f"{function.__name__} failed with CUresult {status}")
    wait()
    row = time_alternately(
        {
            "issue_us": [slot.inference_commands.run for slot in slots],
            "bindings_us": [lambda calls=calls: call_all(calls) for calls in commands],
            "driver_us": [lambda calls=calls: call_all(calls) for calls in driver_calls],
            "ctypes_us": [lambda calls=calls: call_all(calls) for calls in no_op_calls],
        },
        wait,
    )
    row["driver_us"] -= row["ctypes_us"]
    own, loop = row["issue_us"] - row["driver_us"], row["issue_us"] - row["bindings_us"]
    return {**row, "own_us": own, "loop_us": loop, "count": len(commands[0]), "calls": by_call(commands[0], wait)}


def line(row: Row) -> str:
    """Return the row as a sentence."""
    wrappers = row["bindings_us"] - row["driver_us"]
    return (
        f"{row['own_us']:.1f} us per inference ({row['count']} calls take {row['issue_us']:.1f} us: the driver "
        f"{row['driver_us']:.1f}, cuda-python's wrappers {wrappers:.1f}, the loop of the package "
        f"{row['loop_us']:.1f})"
    )


def open_pipeline(plan: Path) -> Any:
    """Return a runner of the plan at batch 1 that is ready to issue inferences."""
    from pytest_trt.engine.backends.base import backend
    from pytest_trt.pipeline.open import open_runner
    from pytest_trt.spec.declaration import PipelineOptions
    from pytest_trt.spec.engine_spec import EngineSpec

    engine = backend("tensorrt").load(plan, "0", EngineSpec())
    runner = open_runner(engine, {"input": (1, 3, 224, 224)}, PipelineOptions(cuda_graph=True))
    inputs = {"input": np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)}
    runner.infer(inputs)
    runner.set_inputs(inputs)
    return runner


def build(folder: Path) -> Path:
    """Build a plan for batch 1 as fast as possible: only the work of the host is measured. Return its path."""
    from resnet18 import save

    from pytest_trt.engine.backends.base import BuildJob, backend
    from pytest_trt.spec.engine_spec import EngineSpec

    model, shape = save(folder / "resnet18.onnx"), (1, 3, 224, 224)
    spec = EngineSpec(precision="fp16", optimization_level=0)
    job = BuildJob("tensorrt", "0", spec, str(model), str(folder), ({"input": (shape, shape, shape)},))
    backend("tensorrt").build(job, lambda text, share: None)
    return folder / "plan"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of python_cost.json")
    parser.add_argument("--plan", type=Path, help="an existing plan")
    options = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="trt-python-cost-") as scratch:
        row = measure(open_pipeline(options.plan or build(Path(scratch))))
    row["seconds"] = time.perf_counter() - started
    options.folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(row, indent=1)
    (options.folder / "python_cost.json").write_text(text + "\n")
    print(text, line(row), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
