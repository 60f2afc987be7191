"""Measure what recording and reporting many results cost: memory, seconds a result, and bytes a result.

    python benchmarks/large_runs.py                   # 10,000 results
    python benchmarks/large_runs.py --tests 2000 --workers 2 --report html:run.html

pytest runs as many tests as requested. Nothing is measured: a hook gives each test a result as large as one from a GPU,
with 9,600 samples. From there on everything is the plugin's own code: recording, the reports, the table, and then the
commands that read the file. The run without the plugin's recording is subtracted from the time.

The limits for 10,000 results are 500 MB of memory, 1 ms and 10 kB a result. The exit status is 1 if one is exceeded.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

LIMITS = {"peak_mb": 500.0, "ms_a_result": 1.0, "bytes_a_result": 10_000.0}
PROBES, BLOCKS, SIZE = 2, 40, 20
"""The samples of a result: 2 probes of 40 blocks of 20 inferences, each with six series of times."""

SERIES = {"ms": 1.0, "gpu_ms": 0.9, "h2d_ms": 0.06, "d2h_ms": 0.04, "enqueue_ms": 0.02, "host_ms": 1.05}
TESTS_OF_A_FILE = 1000


@pytest.hookimpl(trylast=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Give the test a result, as if it had been measured."""
    made = _result(item.nodeid, int(item.name.partition("[")[2].rstrip("]")))
    if os.environ["LARGE_RUNS_RECORDED"] == "yes":
        from pytest_trt.plugin.stash import RESULT

        item.stash[RESULT] = made


def _result(node_id: str, number: int) -> Any:
    from pytest_trt.core.figures import FIGURES
    from pytest_trt.core.records import Block, Environment, Estimate, Measurement, Result, Samples, Verdict

    draw = random.Random(number)
    ms = 0.1 + number / 1.0000019e5
    base = [ms * draw.uniform(0.999, 1.001) for _ in range(SIZE)]
    state = {"sm_mhz": 1980.0, "mem_mhz": 3201.0, "power_w": 411.2, "temperature_c": 45.0, "throttle_reasons": 0.0}
    blocks = [
        Block({name: tuple([share * t * drift for t in base]) for name, share in SERIES.items()}, 0.01, state)
        for drift in (1 + number / 1e4 for number in range(PROBES * BLOCKS))
    ]  # fmt: skip
    environment = Environment(
        "NVIDIA H200", "gpu", "tensorrt", "8.6.0", driver="550.54.15", cuda="12.4", compute_capability="9.0",
        device_uuid="GPU-5f2e8a31-0a55-4e3a-9f0f-35d1a7c0e6a1", device_memory_bytes=150_000_000_000,
        host_cpu="Intel Xeon 8480+", host_cpus=16, os="Linux 6.1", python="3.11.9", plugin="0.1.0",
        commit="a1b2c3d4e5f6",
    )  # fmt: skip
    measured = Measurement(
        node_id=node_id,
        environment=environment,
        figures={name: Estimate(ms, ms * 0.999, ms * 1.001, 400) for name in FIGURES},
        spec={"model": f"models/{number}.onnx", "precision": "fp16", "batch": "8", "dims": '{"N": [[1, 8, 32]]}',
              "inputs": "image 8x3x224x224"},
        spec_digest=f"{number:064x}", engine_digest=f"{number:064x}", plan_sha256=f"{number:064x}",
        proof={"fp16 layers": "93%", "graph": "captured", "pinned": "yes", "contexts": "1", "depth": "2"},
        warm_up_s=0.35, measured_s=10.0, time="2026-11-30T12:00:00+00:00",
        samples=tuple(Samples(tuple(blocks[p * BLOCKS : (p + 1) * BLOCKS]), p) for p in range(PROBES)),
    )  # fmt: skip
    verdicts = tuple(
        Verdict("ok", "baseline", name, f"{name} ok: {ms:.4g} against {ms:.4g}, +0.1 % [-0.1, +0.3], tolerance 5 %",
                ratio=Estimate(1.001, 0.999, 1.003), tolerance=0.05, resolution=0.003)
        for name in ("ms", "memory_mb")
    )  # fmt: skip
    return Result(node_id, verdicts, measured, baseline_time="2026-11-29T12:00:00+00:00", seconds=11.2,
                  parts_s={"build": 0.0, "load": 0.4, "measure": 10.3})  # fmt: skip


def run_pytest(folder: Path, tests: int, arguments: Sequence[str], *, recorded: bool) -> dict[str, float]:
    """Run pytest once, and return its wall time in s and the peak memory of its largest process in MB."""
    for number in range(0, tests, TESTS_OF_A_FILE):
        numbers = f"range({number}, {min(number + TESTS_OF_A_FILE, tests)})"
        (folder / f"test_{number}.py").write_text(
            f'import pytest\n@pytest.mark.parametrize("n", {numbers})\ndef test_model(n): pass\n'
        )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "large_runs", "-p", "no:benchmark", *arguments]
    environment = {**os.environ, "LARGE_RUNS_RECORDED": "yes" if recorded else "no", "GITHUB_STEP_SUMMARY": "",
                   "PYTHONPATH": str(Path(__file__).parent)}  # fmt: skip
    figures = _run(command, folder, environment)
    if figures["status"]:
        sys.exit(f"pytest ended with {figures['status']:.0f}:\n{(folder / 'output').read_text()[-3000:]}")
    return figures


def _run(command: Sequence[str], folder: Path, environment: dict[str, str] | None = None) -> dict[str, float]:
    """Run a command with its output in a file, and return its wall time, peak memory and exit status."""
    with (folder / "output").open("w") as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    return {"wall_s": wall, "cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1e3,
            "status": process.returncode}  # fmt: skip


def measure(tests: int, arguments: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the figures of the run, and of each command that reads its file, by name."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "pytest.ini").write_text("[pytest]\n")
        control = run_pytest(folder, tests, arguments, recorded=False)
        whole = run_pytest(folder, tests, [*arguments, "--trt-report=json:run.json"], recorded=True)
        found["run without recording"] = control
        found["run"] = {
            **whole,
            "ms_a_result": 1000 * (whole["cpu_s"] - control["cpu_s"]) / tests,
            "bytes_a_result": (folder / "run.json").stat().st_size / tests,
            "last_run_bytes_a_result": (folder / ".pytest_cache/d/trt/last-run.json").stat().st_size / tests,
        }
        base = [sys.executable, "-c", "import sys; from pytest_trt.cli.main import main; sys.exit(main(sys.argv[1:]))"]
        commands = {
            "compare": [*base, "compare", "run.json", "run.json"],
            "accept": [*base, "baseline", "accept", "*", "--reason=benchmark", "--from=run.json"],
            "merge": [*base, "merge", "run.json", "-o", "all.json"],
        }
        for name, command in commands.items():
            found[name] = _run(command, folder)
            found[name]["ms_a_result"] = 1000 * found[name]["cpu_s"] / tests
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=10_000, help="how many tests (default: 10000)")
    parser.add_argument("--workers", type=int, default=0, help="how many xdist workers (default: none)")
    parser.add_argument("--report", action="append", default=[], metavar="FORMAT:PATH", help="a further --trt-report")
    options = parser.parse_args()
    arguments = [f"--trt-report={report}" for report in options.report]
    arguments += ["-n", str(options.workers)] if options.workers else []
    found = measure(options.tests, arguments)
    print(f"{options.tests} results {' '.join(arguments)}")
    for name, figures in found.items():
        print(f"{name:<22} " + "  ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    missed = [f"{name} is {found['run'][name]:.4g}, limit {limit:g}" for name, limit in LIMITS.items()
              if found["run"][name] > limit]  # fmt: skip
    missed += [f"{name} takes {figures['peak_mb']:.0f} MB" for name, figures in found.items()
               if figures["peak_mb"] > LIMITS["peak_mb"]]  # fmt: skip
    missed += [f"{name} ended with {figures['status']:.0f}" for name, figures in found.items() if figures["status"]]
    print(*missed or ("every limit is kept",), sep="\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
