"""Measure how well the energy of an inference is known: ResNet-50 against itself, and FP32 against FP16.

    python benchmarks/energy.py OUT [--windows 4] [--level 1] [--cache-dir PATH]

It needs a GPU that nothing else uses, TensorRT with its builder, and cuda-python. Two probes take turns as in a paired
test, with the windows of `pytest_trt.measure.energy`. OUT/energy.md has a table, and OUT/energy.json also every reading
of the counter and of the power. A comparison takes half a minute with four windows.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import networks
import onnx
from onnx import numpy_helper

from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.judge.regression.windows import compare_windows
from pytest_trt.measure.energy import EnergyPass, EnergyRun, scatter
from pytest_trt.measure.energy_meter import EnergyMeter
from pytest_trt.measure.engine_probe import EngineProbe
from pytest_trt.measure.gpu_energy import GpuEnergyMeter
from pytest_trt.report.header import environment_line
from pytest_trt.spec.declaration import Declaration, RunShape
from pytest_trt.spec.engine_spec import EngineSpec
from pytest_trt.spec.settings import Settings
from pytest_trt.trial.bench import Bench
from pytest_trt.trial.case import Case

LARGEST = 32
COMPARISONS = (("fp16", "fp16", 1), ("fp16", "fp16", LARGEST), ("fp32", "fp16", LARGEST), ("fp32", "fp16", 1))
"""The precisions of the new and of the old side, and the batch."""

TARGETS = {("fp16", "fp16", 1): 0.01, ("fp16", "fp16", LARGEST): 0.03}
"""How far an engine may be from itself."""


class CountRule:
    """A stopping rule that waits for a number of windows of side 0."""

    def __init__(self, count: int) -> None:
        self._count = self._left = count

    def start(self, sides: int) -> None:
        self._left = self._count

    def add(self, side: int, probe: int, block: Any) -> None:
        self._left -= side == 0

    def finished(self) -> str:
        return "" if self._left > 0 else f"{self._count} windows"

    def wants_probe(self) -> bool:
        return False


class RecordingMeter:
    """A meter that keeps every reading."""

    def __init__(self, meter: EnergyMeter) -> None:
        self._meter, self.name = meter, meter.name
        self.readings: list[list[float | None]] = []

    def joules(self) -> float:
        joules = self._meter.joules()
        self.readings.append([time.monotonic(), joules, None])
        return joules

    def watts(self) -> float | None:
        watts = self._meter.watts()
        self.readings[-1][2] = watts
        return watts


def save_resnet50(path: Path) -> Path:
    """Save ResNet-50 with random weights and a dynamic batch N."""
    model = networks.light("resnet50")
    graph = model.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    del graph.value_info[:]
    for tensor in graph.initializer:
        if tensor.name == "OC2_DUMMY_1":  # the shape of the Reshape
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * [0, 1], tensor.name))
    onnx.save(model, str(path))
    return path


def compare(bench: Bench, cases: Sequence[Case], batch: int, windows: int) -> tuple[EnergyRun, list[Any]]:
    """Measure two engines in turn, and return the windows and all readings."""
    gpu = bench.gpu(cases[0].environment)
    assert gpu is not None
    meter = RecordingMeter(GpuEnergyMeter(gpu))
    server = bench.server("tensorrt", cases[0].environment)
    new, old = (case.subject(case.engine) for case in cases)
    with EngineProbe(server, new) as first, EngineProbe(server, old) as second:
        run = EnergyPass(meter, CountRule(windows), gpu.read).measure([first, second], batch=batch)
    return run, meter.readings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--windows", type=int, default=4, help="windows of each side (4)")
    parser.add_argument("--level", type=int, default=1, help="optimisation level of the builds (1)")
    parser.add_argument("--cache-dir", type=Path, help="engine cache to use")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="trt-energy-"))
    model = save_resnet50(work / "resnet50.onnx")
    settings = Settings(cache_dir=str(options.cache_dir or work / "cache"), rootdir=str(work), backend="tensorrt")

    def declared(precision: str, batch: int) -> Declaration:
        spec = EngineSpec(
            path=str(model),
            precision=precision,  # type: ignore[arg-type]
            dims={"N": (1, LARGEST, LARGEST)},
            optimization_level=options.level,
        )
        return Declaration(spec=spec, run=RunShape(dims={"N": batch}))

    def build(precision: str) -> float:
        with Bench(settings) as bench, Case(bench, precision, declared(precision, 1), [work]) as case:
            started = time.perf_counter()
            return time.perf_counter() - started if case.engine else 0.0

    with ThreadPoolExecutor() as pool:
        print("built in", [f"{seconds:.0f} s" for seconds in pool.map(build, ("fp32", "fp16"))], flush=True)
    rows: list[dict[str, Any]] = []
    with Bench(settings) as bench:
        for new, old, batch in COMPARISONS:
            cases = [Case(bench, name, declared(name, batch), [work]) for name in (new, old)]
            started = time.perf_counter()
            run, readings = compare(bench, cases, batch, options.windows)
            row: dict[str, Any] = {
                "new": new,
                "old": old,
                "batch": batch,
                "seconds": time.perf_counter() - started,
                "problem": run.problem,
                "proof": run.proof,
                "readings": readings,
            }
            if run.sides:
                found = compare_windows(RegressionQuestion(figure="energy_mj"), *run.sides)
                row["ratio"] = [math.exp(found.center), math.exp(found.low), math.exp(found.high)]
                row["scatter"] = [scatter(side) for side in run.sides]
                row["windows"] = [[{**block.times, **block.state} for block in side] for side in run.sides]
                row["figures"] = [{n: e.value for n, e in run.figures(side).items()} for side in (0, 1)]
            rows.append(row)
            print({k: v for k, v in row.items() if k not in ("readings", "windows")}, flush=True)
            record = {"time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "rows": rows}
            (options.out / "energy.json").write_text(json.dumps(record))
            (options.out / "energy.md").write_text(page(rows, environment_line(cases[0].environment)))
    print((options.out / "energy.md").read_text())
    missed = [r for r in rows if abs(r.get("ratio", [9])[0] - 1) > TARGETS.get((r["new"], r["old"], r["batch"]), 9)]
    return 1 if missed or any(row["problem"] for row in rows) else 0


def page(rows: Sequence[dict[str, Any]], environment: str) -> str:
    """Return the table as Markdown."""
    lines = [
        f"{environment}\n",
        "| engines | batch | mJ an inference | W | mJ above idle | new over old | scatter of windows |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = f"{row['new']} against {row['old']}"
        if "ratio" not in row:
            lines.append(f"| {name} | {row['batch']} | {row['problem'][1]} |")
            continue
        pairs = [
            " and ".join(f"{f[key]:.4g}" for f in row["figures"]) for key in ("energy_mj", "power_w", "net_energy_mj")
        ]
        value, low, high = (100 * ratio - 100 for ratio in row["ratio"])
        scatters = " and ".join(f"{100 * share:.2g} %" for share in row["scatter"])
        lines.append(
            f"| {name} | {row['batch']} | {' | '.join(pairs)} | {value:+.2f} % [{low:+.2f}, {high:+.2f}] | {scatters} |"
        )
    return "\n".join((*lines, "", *(f"- {row['new']} / {row['old']}, {row['batch']}: {row['proof']}" for row in rows)))


if __name__ == "__main__":
    sys.exit(main())
