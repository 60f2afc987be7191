"""Measure what a second GPU saves, and whether figures move while both work.

    python benchmarks/pool.py [--tests 60 --cards 0,1 --build-level 1 --json pool.json]

It needs a host with two GPUs that are alike, TensorRT and pytest-xdist. The model is ResNet-18 in FP16, batch 8, built
at optimization level 1.

- *Tests*: many tests of one cached engine, on one GPU, and with `-n 2` on both. Every test has a fresh probe. Each GPU
  is also measured alone. The medians of the figures on each GPU, alone and beside the other one, are compared with the
  standard deviation of a probe's figures on that GPU alone.
- *Prebuild*: four engines of different weights, built from an empty cache on one GPU, and on both. The less the builder
  has to do, the more the start of its processes counts: see --build-level.

The times are those of whole pytest processes. The exit status is 1 if both GPUs take more than 0.55 (tests) or 0.6
(prebuild) of the time of one, or if a figure moves by more than the spread between probes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import resnet18

ROOT = Path(__file__).parents[1]
FIGURES = ("ms", "gpu_ms", "h2d_ms", "d2h_ms")
TARGETS = {"tests": 0.55, "prebuild": 0.6}
ENGINES = 4

TEST_FILE = """
import pytest
SPEC = dict(dims={{"N": (1, 8, 8)}}, precision="fp16", optimization_level=1, timing_cache=False)

@pytest.mark.parametrize("number", range({tests}))
@pytest.mark.trt_engine("model0.onnx", **SPEC)
@pytest.mark.trt_matrix(batch=[8])
@pytest.mark.trt_budget(ms=1000)
def test_cached(trt_runner, number):
    trt_runner.measure()
"""

BUILD_FILE = """
import pytest
SPEC = dict(dims={{"N": (1, 8, 8)}}, precision="fp16", optimization_level={level}, timing_cache=False)
"""

BUILD_TEST = """
@pytest.mark.trt_engine("model{number}.onnx", **SPEC)
@pytest.mark.trt_matrix(batch=[8])
def test_build_{number}(trt_runner):
    trt_runner.measure()
"""

Alone = Mapping[str, Mapping[str, Sequence[float]]]
"""The values of each figure by the UUID of the GPU: one for each test."""


def write_project(folder: Path, tests: int, build_level: int) -> None:
    """Write the models, the tests and the ini file."""
    for number in range(ENGINES):
        resnet18.save(folder / f"model{number}.onnx", seed=number)
    (folder / "test_cached.py").write_text(TEST_FILE.format(tests=tests))
    builds = (BUILD_TEST.format(number=number) for number in range(ENGINES))
    (folder / "test_build.py").write_text("".join((BUILD_FILE.format(level=build_level), *builds)))
    (folder / "pytest.ini").write_text("[pytest]\ntrt_backend = tensorrt\ntrt_baseline = off\n")


def run(folder: Path, *arguments: str) -> float:
    """Run pytest, and return how long it took, in seconds. Exit if it fails."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *_plugin(), *arguments]
    started = time.monotonic()
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{process.stdout[-4000:]}\n{process.stderr[-2000:]}")
    return seconds


def _plugin() -> tuple[str, ...]:
    """Return the option that loads the plugin if it is not installed."""
    from importlib.metadata import entry_points

    return () if any(e.name == "trt" for e in entry_points(group="pytest11")) else ("-p", "pytest_trt.plugin.hooks")


def measure(folder: Path, *arguments: str) -> tuple[float, dict[str, dict[str, list[float]]]]:
    """Run the tests of the cached engine, and return their time and their figures by GPU."""
    report = folder / "run.json"
    seconds = run(folder, "test_cached.py", f"--trt-report=json:{report}", *arguments)
    found: dict[str, dict[str, list[float]]] = {}
    for result in json.loads(report.read_text())["results"]:
        measured = result["measurement"]
        of_card = found.setdefault(measured["environment"]["device_uuid"], {})
        for name in FIGURES:
            if name in measured["figures"]:
                of_card.setdefault(name, []).append(measured["figures"][name]["value"])
    return seconds, found


def moved(alone: Alone, beside: Alone) -> list[dict[str, Any]]:
    """Return for each GPU and figure the medians alone and beside the other GPU, and the spread between probes alone.

    A median of many tests varies less than one probe, so that a shift of the spread between probes is visible.
    """
    rows = []
    for card, figures in beside.items():
        for name, values in figures.items():
            before = alone.get(card, {}).get(name, ())
            if len(before) >= 2:
                middle = statistics.median(before)
                row = {"card": card, "figure": name, "tests": len(values), "alone": middle}
                rows.append({
                    **row, "beside": statistics.median(values), "shift": statistics.median(values) / middle - 1,
                    "spread": statistics.stdev(before) / middle,
                })  # fmt: skip
    return rows


def main() -> int:
    """Run both experiments, print them, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=60, help="how many tests of the cached engine (default: 60)")
    parser.add_argument("--cards", default="0,1", help="the two GPUs, as --trt-device takes them (default: 0,1)")
    parser.add_argument("--build-level", type=int, default=1, help="the builder's effort in *prebuild* (default: 1)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    given = parser.parse_args()
    first, second = given.cards.split(",")
    with tempfile.TemporaryDirectory(prefix="pytest-trt-pool-") as name:
        folder = Path(name)
        write_project(folder, given.tests, given.build_level)
        cached = f"--trt-cache-dir={folder / 'cache'}"
        run(folder, "test_cached.py", "--trt-build-only", f"--trt-device={first}", cached)
        one_s, alone = measure(folder, f"--trt-device={first}", cached)
        alone.update(measure(folder, f"--trt-device={second}", cached, "-k", "test_cached and 1")[1])
        both_s, beside = measure(folder, "-n", "2", f"--trt-device={given.cards}", cached)
        builds = {}
        for cards in (first, given.cards):
            cache = f"--trt-cache-dir={folder / f'builds-{cards}'}"
            only = ("test_build.py", "--trt-build-only", "--trt-prebuild", f"--trt-device={cards}")
            builds[cards] = run(folder, *only, cache)
    times = {"tests": (one_s, both_s), "prebuild": (builds[first], builds[given.cards])}
    rows, late = moved(alone, beside), []
    for what, (one, both) in times.items():
        print(f"{what}: {one:.1f} s on one GPU, {both:.1f} s on two: {both / one:.2f} (target {TARGETS[what]})")
        late += [what] if both / one > TARGETS[what] else []
    for row in rows:
        print(
            "{card} {figure}: {alone:.4f} alone, {beside:.4f} beside ({shift:+.2%}; spread {spread:.2%})".format(**row)
        )
    shifted = [row for row in rows if abs(row["shift"]) > row["spread"]]
    print(f"{len(rows)} figures on {len(beside)} GPUs, {len(shifted)} moved by more than the spread between probes")
    if given.json:
        given.json.write_text(json.dumps({"times": times, "figures": rows}, indent=1) + "\n", "utf-8")
    return 1 if late or shifted or len(beside) < 2 else 0


if __name__ == "__main__":
    raise SystemExit(main())
