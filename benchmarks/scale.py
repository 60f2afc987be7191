"""Measure what the baselines of many tests cost: saving, loading and judging, reporting, and memory.

    python benchmarks/scale.py                  # 1,000 and 10,000 tests, each in a process of its own
    python benchmarks/scale.py --remote         # 500 tests on a real S3 server, every request delayed by 200 ms

The limits for 10,000 tests are: loaded and judged in 3 s; saved in 5 s, both when new and when each has ten runs;
reported in 3 s; 300 MB of memory. Ten times the tests may take at most 15 times as long. 500 remote tests are loaded in
15 s and saved in 15 s. The exit status is 1 if a limit is exceeded. TMPDIR chooses the file system.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_trt.core.figures import FIGURES
from pytest_trt.core.records import Environment, Estimate, Measurement, Result, Status
from pytest_trt.judge.baselines import BaselineFolder, device_slug, file_format, open_baselines
from pytest_trt.judge.baselines.updating import RUNS, Judged
from pytest_trt.judge.regression.question import RegressionQuestion
from pytest_trt.judge.regression.stored import judge_stored
from pytest_trt.report import terminal
from pytest_trt.report.header import Header

TESTS = Path(__file__).resolve().parent.parent / "tests"
LIMITS = {"save_s": 5.0, "save_again_s": 5.0, "load_and_judge_s": 3.0, "report_s": 3.0, "peak_mb": 300.0}
REMOTE_LIMIT_S = 15.0
REMOTE_TESTS = 500
STATUS: Status = "new"
GPU = Environment("NVIDIA H200", "gpu", "tensorrt", "8.6.0", driver="550.54", host_cpu="Xeon", commit="a1b2c3d4e5f6")


def measurement(number: int) -> Measurement:
    """Return a measurement that is as large as a real one: with every figure, and all digits."""
    ms = 0.1 + number / 1.0000019e5
    return Measurement(
        node_id=f"tests/test_{number // 100}.py::test_model[{number}-fp16-b8]",
        environment=GPU,
        figures={name: Estimate(ms, ms * 0.999, ms * 1.001, 400) for name in FIGURES},
        spec={"path": f"models/{number}.onnx", "precision": "fp16", "batch": "8", "pipeline": "{}", "dims": "{}"},
        spec_digest=f"{number:064x}",
        engine_digest=f"{number:064x}",
        plan_sha256=f"{number:064x}",
        proof={"graph": "captured", "pinned": "yes"},
        time="2026-07-01T12:00:00+00:00",
    )


def save(folder: BaselineFolder, runs: Sequence[Measurement]) -> None:
    folder.save_all([Judged(run, STATUS) for run in runs])


def fill_history(folder: Path) -> None:
    """Give every baseline ten runs, each with its own figures. That is the longest history.

    The files are overwritten: some file systems are slow for minutes after many files were removed or replaced, and
    that would be measured instead.
    """
    for file in folder.rglob("*.json"):
        baseline = file_format.parse(file.read_bytes(), file.name)
        (run,) = baseline.history
        history = tuple(
            dataclasses.replace(run, figures={name: value * (1 + day / 999) for name, value in run.figures.items()},
                                time=f"2026-07-{day:02}T12:00:00+00:00", moved=day == 1)
            for day in range(1, RUNS + 1)
        )  # fmt: skip
        file.write_bytes(file_format.render(dataclasses.replace(baseline, history=history)))


def judge_all(folder: BaselineFolder, runs: Sequence[Measurement]) -> Iterator[Result]:
    device = device_slug(GPU)
    for run in runs:
        baseline = folder.load(run.node_id, device)
        assert baseline is not None
        verdicts = [
            judge_stored(RegressionQuestion(figure=name), run.figures[name], baseline) for name in ("ms", "memory_mb")
        ]
        yield Result(run.node_id, tuple(verdicts), run)


def scale(count: int) -> dict[str, float]:
    """Return the wall time and CPU time in s of each step for `count` tests, and the peak memory in MB."""
    with tempfile.TemporaryDirectory() as scratch:

        def open_folder() -> BaselineFolder:
            return open_baselines("baselines", "main", revision=None, rootdir=Path(scratch))

        figures: dict[str, float] = {}
        runs = [measurement(number) for number in range(count)]
        with timed(figures, "save"):
            save(open_folder(), runs)
        fill_history(Path(scratch))
        with timed(figures, "save_again"):
            save(open_folder(), runs)
        with timed(figures, "load_and_judge"):
            results = list(judge_all(open_folder(), runs))
        with timed(figures, "report"):
            table = terminal.render(results, Header.from_environment(GPU, "main"), colour=False)
        assert len(table.splitlines()) > count
        figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        figures["sync_s"] = count * sync_cost(Path(scratch))
        return figures


@contextlib.contextmanager
def timed(figures: dict[str, float], name: str) -> Iterator[None]:
    """Add the wall time and the CPU time of the `with` block to the figures."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    figures[f"{name}_s"], figures[f"{name}_cpu_s"] = time.perf_counter() - wall, time.process_time() - cpu


def sync_cost(folder: Path, count: int = 200) -> float:
    """Return the time in s to write, sync and rename one file of 4 kB, with system calls only."""
    started = time.perf_counter()
    for number in range(count):
        descriptor = os.open(folder / "draft", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"x" * 4096)
        os.fsync(descriptor)
        os.close(descriptor)
        (folder / "draft").rename(folder / f"file{number}")
    return (time.perf_counter() - started) / count


def remote() -> dict[str, float]:
    """Return the time in s to load and to save REMOTE_TESTS tests if every request takes 200 ms longer."""
    sys.path.insert(0, str(TESTS))
    from samples import s3_server

    with s3_server.server() as port:
        url = f"s3://{s3_server.BUCKET}/baselines"
        os.environ.update(s3_server.credentials(port))
        direct = open_baselines(url, "main", revision=None, rootdir=Path())
        runs = [measurement(number) for number in range(REMOTE_TESTS)]
        save(direct, runs)
        with s3_server.Network(port, delay_s=0.2) as network:
            os.environ.update(s3_server.credentials(network.port))
            folder = open_baselines(url, "main", revision=None, rootdir=Path())
            device = device_slug(GPU)
            started = time.perf_counter()
            folder.prefetch([run.node_id for run in runs], device)
            loaded = [folder.load(run.node_id, device) for run in runs]
            load_s = time.perf_counter() - started
            assert all(loaded)
            started = time.perf_counter()
            save(folder, runs)
            save_s = time.perf_counter() - started
        return {"tests": REMOTE_TESTS, "load_s": load_s, "save_s": save_s, "requests_at_once": network.busiest}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--remote", action="store_true", help="measure a remote store instead of a folder")
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.count:
        print(json.dumps(scale(options.count)))
        return 0
    if options.remote:
        figures = remote()
        print(figures)
        return int(max(figures["load_s"], figures["save_s"]) > REMOTE_LIMIT_S)
    few, many = (in_a_process(count) for count in (1_000, 10_000))
    status = 0
    for name, limit in LIMITS.items():
        growth = many[name] / few[name]
        missed = many[name] > limit or (name.endswith("_s") and growth > 15)
        status |= missed
        cpu = f"CPU time {many[name[:-2] + '_cpu_s']:.2f}" if name.endswith("_s") else ""
        print(f"{name:<18} {few[name]:8.2f} {many[name]:8.2f} x{growth:4.1f} limit {limit:g} {'MISSED ' * missed}{cpu}")
    print(f"writing, syncing and renaming the same number of files: {few['sync_s']:.2f} s, {many['sync_s']:.2f} s")
    return status


def in_a_process(count: int) -> dict[str, float]:
    """Return the result of `scale` from a process of its own."""
    command = [sys.executable, __file__, "--count", str(count)]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


if __name__ == "__main__":
    sys.exit(main())
