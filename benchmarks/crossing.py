"""What crossing into a probe adds to `trt_runner(inputs)` and `.stream()`, with ONNX Runtime on the CPU.

    python benchmarks/crossing.py [--json FILE]

Two models that compute next to nothing, so that what is left is the way of the arrays: `small` takes 64 values and
gives 64 back, `in` takes 77 MB (128 images of 224 x 224) and gives a number a picture, `both` gives all of it back.
Every inference is timed by the host's clock from having arrays to having arrays, in the probe's own process and across.
benchmarks/pipeline.py has the same figures on a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

Row = dict[str, float]

SHAPES = {"small": (1, 64), "in": (128, 3, 224, 224), "both": (128, 3, 224, 224)}


def model(kind: str, folder: Path) -> Path:
    """x float32 -> y: x itself, or its first column."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    shape = list(SHAPES[kind])
    out = [shape[0], *[1] * (len(shape) - 1)] if kind == "in" else shape
    weights, nodes = [], [helper.make_node("Identity", ["x"], ["y"])]
    if kind == "in":
        axes = np.arange(1, len(shape), dtype=np.int64)
        values = {"starts": np.zeros_like(axes), "ends": np.ones_like(axes), "axes": axes}
        weights = [numpy_helper.from_array(value, name) for name, value in values.items()]
        nodes = [helper.make_node("Slice", ["x", "starts", "ends", "axes"], ["y"])]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", out))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    path = folder / f"{kind}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def times(
    infer: Callable[[dict[str, Any]], Any],
    stream: Callable[[Iterable[dict[str, Any]]], Iterator[Any]],
    inputs: dict[str, Any],
    seconds: float,
) -> Row:
    """Median ms of a call, and ms a batch of a stream that lasts about as long."""
    for _ in range(5):
        infer(inputs)
    found, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        infer(inputs)
        found.append(time.perf_counter() - started)

    def batch_ms(count: int) -> float:
        started = time.perf_counter()
        for _ in stream(inputs for _ in range(count)):
            pass
        return (time.perf_counter() - started) * 1000 / count

    batch_ms(8)
    count = max(8, int(seconds / statistics.median(found) / 5))
    stream_ms = statistics.median(batch_ms(count) for _ in range(5))
    return {"infer_ms": statistics.median(found) * 1000, "stream_ms": stream_ms}


def both(inside: Callable[[], Row], across: Callable[[], Row]) -> Row:
    """The figures inside the probe's process and across, and what crossing adds, in microseconds."""
    there, here = across(), inside()
    row = {f"{name[:-3]}_inside_ms": ms for name, ms in here.items()} | there
    return {**row, **{f"{name[:-3]}_adds_us": (there[name] - here[name]) * 1000 for name in here}}


def measured(backend: str, plan: Path, inputs: dict[str, Any], seconds: float, **options: Any) -> Row:
    """The crossing of an engine. The engine is alone in its process both times: first in a probe, then in this one."""
    from pytest_trt.engine.backends.base import backend as chosen
    from pytest_trt.measure.engine_probe import EngineProbe, Subject
    from pytest_trt.measure.probe.server import ProbeServer
    from pytest_trt.pipeline.open import open_runner
    from pytest_trt.spec.declaration import PipelineOptions
    from pytest_trt.spec.engine_spec import EngineSpec

    shapes = {name: array.shape for name, array in inputs.items()}
    pipeline = PipelineOptions(**options)

    def across() -> Row:
        subject = Subject(plan, "0", EngineSpec(), shapes, pipeline)
        with ProbeServer(backend) as server, EngineProbe(server, subject) as probe:
            return times(probe.infer, probe.stream, inputs, seconds)

    def inside() -> Row:
        engine = chosen(backend).load(plan, "0", EngineSpec())
        runner = open_runner(engine, shapes, pipeline)
        try:
            return times(runner.infer, runner.stream, inputs, seconds)
        finally:
            runner.close()
            engine.close()

    return both(inside, across)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each is timed")
    options = parser.parse_args()
    rows: dict[str, Row] = {}
    print(f"{'':8}{'inside':>12}{'across':>12}{'adds us':>12}   {'stream':>12}{'across':>12}{'adds us':>12}")
    with tempfile.TemporaryDirectory() as folder:
        for kind, shape in SHAPES.items():
            inputs = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
            rows[kind] = row = measured("onnxruntime", model(kind, Path(folder)), inputs, options.seconds)
            parts = [
                f"{row[f'{n}_inside_ms']:12.4f}{row[f'{n}_ms']:12.4f}{row[f'{n}_adds_us']:12.1f}"
                for n in ("infer", "stream")
            ]
            print(f"{kind:8}{'   '.join(parts)}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
