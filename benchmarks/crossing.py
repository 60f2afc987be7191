"""Measure what passing arrays to a probe adds to `trt_runner(inputs)` and `.stream()`, with ONNX Runtime on the CPU.

    python benchmarks/crossing.py [--json FILE]

The models compute almost nothing, so the figures are the cost of passing the arrays. `small` takes and returns 64
values. `in` takes 77 MB (128 images of 224 x 224) and returns one number per image. `both` takes and returns 77 MB.
Each inference is timed with the host's clock, from input arrays to output arrays, inside the probe's process and from
outside. A stream on arrays that are filled in place is timed from outside only. benchmarks/pipeline.py measures the
same on a GPU.
"""

from __future__ import annotations

import argparse
import itertools
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
    """Save a model x float32 -> y, where y is x, or its first column for `in`. Return its path."""
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
    """Return the median time of a call, and the time per batch of a stream that takes about as long, both in ms."""
    for _ in range(5):
        infer(inputs)
    durations, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        infer(inputs)
        durations.append(time.perf_counter() - started)

    def batch_ms(count: int) -> float:
        started = time.perf_counter()
        for _ in stream(inputs for _ in range(count)):
            pass
        return (time.perf_counter() - started) * 1000 / count

    batch_ms(8)
    count = max(8, int(seconds / statistics.median(durations) / 5))
    stream_ms = statistics.median(batch_ms(count) for _ in range(5))
    return {"infer_ms": statistics.median(durations) * 1000, "stream_ms": stream_ms}


def compare(inside: Callable[[], Row], outside: Callable[[], Row]) -> Row:
    """Return the figures from inside and outside the probe's process, and their difference in us."""
    outside_ms, inside_ms = outside(), inside()
    row = {f"{name[:-3]}_inside_ms": ms for name, ms in inside_ms.items()} | outside_ms
    return {**row, **{f"{name[:-3]}_adds_us": (outside_ms[name] - inside_ms[name]) * 1000 for name in inside_ms}}


def measure(backend: str, plan: Path, inputs: dict[str, Any], seconds: float, **options: Any) -> Row:
    """Measure the cost of passing arrays to an engine, first in a probe, then in this process.

    The engine is alone in its process both times.
    """
    from pytest_trt.engine.backends.base import backend as backend_named
    from pytest_trt.measure.engine_probe import EngineProbe, Subject
    from pytest_trt.measure.probe.server import ProbeServer
    from pytest_trt.pipeline.open import open_runner
    from pytest_trt.spec.declaration import PipelineOptions
    from pytest_trt.spec.engine_spec import EngineSpec

    shapes = {name: array.shape for name, array in inputs.items()}
    pipeline = PipelineOptions(**options)

    def outside() -> Row:
        subject = Subject(plan, "0", EngineSpec(), shapes, pipeline)
        with ProbeServer(backend) as server, EngineProbe(server, subject) as probe:
            return times(probe.infer, probe.stream, inputs, seconds)

    def inside() -> Row:
        engine = backend_named(backend).load(plan, "0", EngineSpec())
        runner = open_runner(engine, shapes, pipeline)
        try:
            return times(runner.infer, runner.stream, inputs, seconds)
        finally:
            runner.close()
            engine.close()

    return compare(inside, outside)


def in_place(backend: str, plan: Path, inputs: dict[str, Any], seconds: float, **options: Any) -> Row:
    """Measure a stream on arrays that are filled in place, with outputs that are views, from outside the probe.

    The arrays are filled once: what a user writes there is no part of the figure.
    """
    from pytest_trt.measure.engine_probe import EngineProbe, Subject
    from pytest_trt.measure.probe.server import ProbeServer
    from pytest_trt.spec.declaration import PipelineOptions
    from pytest_trt.spec.engine_spec import EngineSpec

    shapes = {name: array.shape for name, array in inputs.items()}
    subject = Subject(plan, "0", EngineSpec(), shapes, PipelineOptions(**options))
    with ProbeServer(backend) as server, EngineProbe(server, subject) as probe:
        sets = probe.input_sets(1)
        for arrays in itertools.islice(sets, len(sets)):
            for name, array in inputs.items():
                arrays[name] = array
        del arrays

        def batch_ms(count: int) -> float:
            started = time.perf_counter()
            for _ in probe.stream(itertools.islice(sets, count)):
                pass
            return (time.perf_counter() - started) * 1000 / count

        first_ms = batch_ms(4 * len(sets))
        count = max(4 * len(sets), int(seconds * 1000 / max(first_ms, 0.1) / 5))
        return {"ms": statistics.median(batch_ms(count) for _ in range(9))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="the file to which the figures are written")
    parser.add_argument("--seconds", type=float, default=2.0, help="the duration of each timing in s (2)")
    options = parser.parse_args()
    rows: dict[str, Row] = {}
    print(f"{'':8}{'call':>36}   {'stream':>36}   {'in place':>11}")
    print(f"{'':8}" + "   ".join([f"{'inside ms':>12}{'outside ms':>12}{'adds us':>12}"] * 2))
    with tempfile.TemporaryDirectory() as folder:
        for kind, shape in SHAPES.items():
            inputs = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
            plan = model(kind, Path(folder))
            rows[kind] = row = measure("onnxruntime", plan, inputs, options.seconds)
            row["in_place_ms"] = in_place("onnxruntime", plan, inputs, options.seconds)["ms"]
            parts = [
                f"{row[f'{n}_inside_ms']:12.4f}{row[f'{n}_ms']:12.4f}{row[f'{n}_adds_us']:12.1f}"
                for n in ("infer", "stream")
            ]
            print(f"{kind:8}{'   '.join(parts)}   {row['in_place_ms']:11.4f}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
