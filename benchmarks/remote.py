"""Measure what a host elsewhere adds to a test, and whether it moves the figures.

    python benchmarks/remote.py [--host exec:python --backend tensorrt --tests 20 --rounds 4 --json remote.json]

Many tests of one cached engine run here and through --trt-host in turn. The default host is this machine, with a second
Python: both ways measure on the same GPU, so that the figures must agree. The model is ResNet-18, batch 8, in FP16 with
TensorRT (built at optimization level 1) and in FP32 with ONNX Runtime.

The times of a test are those of its `measure()`, without the start of pytest and of the host. The exit status is 1 if
the median test takes 0.15 s longer through the host, or if the median of a figure moves by more than 0.2 %.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pool
import resnet18

ADDED_S = 0.15
SHIFT = 0.002
FIGURES = ("ms", "gpu_ms")

TEST_FILE = """
import pytest
@pytest.mark.parametrize("number", range({tests}))
@pytest.mark.trt_engine("model.onnx", dims={{"N": (1, 8, 8)}}, precision={precision!r}{options})
@pytest.mark.trt_matrix(batch=[8])
@pytest.mark.trt_budget(ms=10000)
@pytest.mark.trt_budget("cpu", ms=10000)
def test_cached(trt_runner, number):
    trt_runner.measure()
"""


def measure(folder: Path, *arguments: str) -> list[Mapping[str, float]]:
    """Run the tests, and return for each how long it took, and its figures."""
    report = folder / "run.json"
    pool.run(folder, f"--trt-report=json:{report}", *arguments)
    results = json.loads(report.read_text())["results"]
    found = []
    for result in results:
        figures = result["measurement"]["figures"]
        found.append({"seconds": result["seconds"], **{n: figures[n]["value"] for n in FIGURES if n in figures}})
    return found


def compare(here: Sequence[Mapping[str, float]], there: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Return the medians of both ways, and how far the tests of one way scatter."""
    rows = {}
    for name in here[0]:
        values = [[test[name] for test in side] for side in (here, there)]
        medians = [statistics.median(side) for side in values]
        rows[name] = {
            "here": medians[0], "there": medians[1], "shift": medians[1] / medians[0] - 1,
            "scatter": statistics.stdev(values[0]) / medians[0],
        }  # fmt: skip
    return rows


def main() -> int:
    """Run both ways in turn, print the comparison, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=f"exec:{sys.executable}", help="the host (default: a Python of this machine)")
    parser.add_argument("--backend", default="tensorrt", choices=("tensorrt", "tensorrt_rtx", "onnxruntime"))
    parser.add_argument("--tests", type=int, default=20, help="how many tests a run has (default: 20)")
    parser.add_argument("--rounds", type=int, default=4, help="how many runs each way has (default: 4)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    given = parser.parse_args()
    on_cpu = given.backend == "onnxruntime"
    here: list[Mapping[str, float]] = []
    there: list[Mapping[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="pytest-trt-remote-") as name:
        folder = Path(name)
        resnet18.save(folder / "model.onnx", seed=0)
        options = "" if on_cpu else ", optimization_level=1"
        text = TEST_FILE.format(tests=given.tests, precision="fp32" if on_cpu else "fp16", options=options)
        (folder / "test_cached.py").write_text(text)
        (folder / "pytest.ini").write_text(f"[pytest]\ntrt_backend = {given.backend}\ntrt_baseline = off\n")
        host = f"--trt-host={given.host}"
        pool.run(folder, "--trt-build-only", host)
        for number in range(given.rounds):
            for way in ((), (host,)) if number % 2 == 0 else ((host,), ()):
                (there if way else here).extend(measure(folder, *way))
    rows = compare(here, there)
    added_s = rows["seconds"]["there"] - rows["seconds"]["here"]
    print(f"{len(here)} tests here, {len(there)} through {given.host}: {added_s:+.3f} s a test (at most {ADDED_S} s)")
    for figure, row in rows.items():
        print(f"{figure}: {row['here']:.4f} here, {row['there']:.4f} there ({row['shift']:+.2%}; "
              f"tests scatter by {row['scatter']:.2%})")  # fmt: skip
    moved = [figure for figure in FIGURES if figure in rows and abs(rows[figure]["shift"]) > SHIFT]
    if given.json:
        record = {"host": given.host, "added_s": added_s, "rows": rows, "tests": {"here": here, "there": there}}
        given.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return 1 if added_s > ADDED_S or moved else 0


if __name__ == "__main__":
    raise SystemExit(main())
