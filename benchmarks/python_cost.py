"""What Python costs an inference in the pipeline: ResNet-18 FP16 at batch 1, issued and not waited for.

    python benchmarks/python_cost.py FOLDER [--plan PLAN]

Needs a GPU, cuda-python, and TensorRT with its builder, or else a plan of a model with an input `input` of 3 x 224 x
224. Writes FOLDER/python_cost.json; some ten seconds on an H200, most of them the build (optimisation level 0).

Giving an inference to the pipeline is a list of calls to the CUDA runtime: copies, a graph's launch, events recorded
and waited for. Four ways of making them take turns, over and over; each figure is a median, in us an inference:

    issue_us      as the pipeline does it
    bindings_us   the same functions of cuda-python with the same arguments, in a bare loop that checks nothing
    driver_us     the same calls from C: the driver's functions through ctypes, less what ctypes takes to call a
                  function of the C library that does nothing with as many arguments
    own_us        issue_us - driver_us: what Python adds to the driver's own work, the wrappers of cuda-python included
    loop_us       issue_us - bindings_us: the part of it that is this package's own

The device runs some 0.15 ms an inference and has room for all that is given at a time, so it holds nothing up.
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
"""Inferences that are given before anything waits."""

_DRIVER = {
    "cudaStreamWaitEvent": ("cuStreamWaitEvent", lambda stream, event, flags: (stream, event, flags)),
    "cudaMemcpyAsync": ("cuMemcpyAsync", lambda to, source, nbytes, kind, stream: (to, source, nbytes, stream)),
    "cudaEventRecord": ("cuEventRecord", lambda event, stream: (event, stream)),
    "cudaGraphLaunch": ("cuGraphLaunch", lambda graph, stream: (graph, stream)),
}
"""For each call of the runtime the driver's function, and its arguments of the runtime's."""


def from_c(calls: Sequence[Call], library: Any, nothing: Any) -> tuple[list[Call], list[Call]]:
    """The same calls by the driver's library, and as many that do nothing. Raises KeyError for a call that has no
    counterpart, such as a launch that is no graph's."""
    real: list[Call] = []
    for function, arguments in calls:
        name, of_driver = _DRIVER[function.__name__]
        real.append((getattr(library, name), tuple(ctypes.c_uint64(int(value)) for value in of_driver(*arguments))))
    return real, [(nothing, arguments) for _, arguments in real]


def bare(calls: Sequence[Call]) -> None:
    for function, arguments in calls:
        function(*arguments)


def in_turn(ways: Mapping[str, Sequence[Callable[[], Any]]], wait: Callable[[], None]) -> dict[str, float]:
    """Median us of each way's call, ways taking turns; a way is a call for each buffer set, which take turns too."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, makes in ways.items():
            started = time.perf_counter_ns()
            for number in range(AT_A_TIME):
                makes[number % len(makes)]()
            taken[name].append((time.perf_counter_ns() - started) / AT_A_TIME / 1000)
            wait()
    return {name: statistics.median(times) for name, times in taken.items()}


def by_call(calls: Sequence[Call], wait: Callable[[], None]) -> list[tuple[str, float]]:
    """Each call by itself, in us, less what reading the clock takes."""
    clock = time.perf_counter_ns
    taken: list[list[int]] = [[] for _ in calls]
    reading = []
    for _ in range(400):
        started = clock()
        reading.append(clock() - started)
        for (function, arguments), times in zip(calls, taken, strict=True):
            started = clock()
            function(*arguments)
            times.append(clock() - started)
        wait()
    cost = statistics.median(reading)
    names = (function.__name__ for function, _ in calls)
    return [(name, (statistics.median(times) - cost) / 1000) for name, times in zip(names, taken, strict=True)]


def measured(runner: DeviceRunner) -> Row:
    """What an inference costs in a runner that is filled and whose graphs are captured."""
    shaped = runner._current
    assert shaped is not None
    slots = shaped.slots

    def wait() -> None:
        for lane in shaped.lanes:
            lane.synchronize()

    library, nothing = ctypes.CDLL("libcuda.so.1"), ctypes.CDLL(None).abs
    commands = [slot.inference_commands.calls for slot in slots]
    from_driver, from_nothing = zip(*(from_c(calls, library, nothing) for calls in commands), strict=True)
    for calls in from_driver:
        for function, arguments in calls:
            if status := function(*arguments):
                raise RuntimeError(f"{function.__name__} failed with CUresult {status}")
    wait()
    found = in_turn(
        {
            "issue_us": [slot.inference_commands.run for slot in slots],
            "bindings_us": [lambda calls=calls: bare(calls) for calls in commands],
            "driver_us": [lambda calls=calls: bare(calls) for calls in from_driver],
            "ctypes_us": [lambda calls=calls: bare(calls) for calls in from_nothing],
        },
        wait,
    )
    found["driver_us"] -= found["ctypes_us"]
    own, loop = found["issue_us"] - found["driver_us"], found["issue_us"] - found["bindings_us"]
    return {**found, "own_us": own, "loop_us": loop, "count": len(commands[0]), "calls": by_call(commands[0], wait)}


def line(row: Row) -> str:
    """The row as a sentence."""
    wrappers = row["bindings_us"] - row["driver_us"]
    return (
        f"{row['own_us']:.1f} us an inference ({row['count']} calls: {row['issue_us']:.1f} us, of which the driver's "
        f"own work is {row['driver_us']:.1f}, cuda-python's wrappers {wrappers:.1f}, the package's loop "
        f"{row['loop_us']:.1f})"
    )


def opened(plan: Path) -> Any:
    """The plan in a pipeline at batch 1, ready to be issued."""
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
    """A plan for batch 1, built as fast as can be: what is measured is the host's."""
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
    parser.add_argument("folder", type=Path, help="where python_cost.json goes")
    parser.add_argument("--plan", type=Path, help="a plan that is there already")
    options = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="trt-python-cost-") as scratch:
        row = measured(opened(options.plan or build(Path(scratch))))
    row["seconds"] = time.perf_counter() - started
    options.folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(row, indent=1)
    (options.folder / "python_cost.json").write_text(text + "\n")
    print(text, line(row), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
