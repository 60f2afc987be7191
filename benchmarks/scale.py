"""What baselines of many tests cost: saving, loading and judging, reporting, and memory.

    python benchmarks/scale.py                  # 1,000 and 10,000 tests, each in a process of its own
    python benchmarks/scale.py --remote         # 500 tests on a real S3 server, every request 200 ms slower

Limits: 10,000 tests loaded and judged in 3 s, saved in 5 s (new ones, and again where each has ten runs), reported in
3 s, within 300 MB; ten times the tests in ten times the time; 500 remote tests loaded in 15 s, and saved in as many.
Exit status 1 where one does not hold. TMPDIR says on which file system.
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
from pytest_trt.judge.baselines.baseline import RUNS
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
    """One as large as a real one: every figure that a GPU gives, with all its digits."""
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
    folder.save_all([(run, STATUS) for run in runs])


def remember(folder: Path) -> None:
    """Give every baseline ten runs, each with its own figures: it is as long as it gets then. Files are written over:
    some file systems go slower for minutes after many were removed or replaced, which would be measured instead."""
    for file in folder.rglob("*.json"):
        baseline = file_format.parse(file.read_bytes(), file.name)
        (run,) = baseline.history
        history = tuple(
            dataclasses.replace(run, figures={name: value * (1 + day / 999) for name, value in run.figures.items()},
                                time=f"2026-07-{day:02}T12:00:00+00:00", moved=day == 1)
            for day in range(1, RUNS + 1)
        )  # fmt: skip
        file.write_bytes(file_format.render(dataclasses.replace(baseline, history=history)))


def judged(folder: BaselineFolder, runs: Sequence[Measurement]) -> Iterator[Result]:
    device = device_slug(GPU)
    for run in runs:
        baseline = folder.load(run.node_id, device)
        assert baseline is not None
        verdicts = [
            judge_stored(RegressionQuestion(figure=name), run.figures[name], baseline) for name in ("ms", "memory_mb")
        ]
        yield Result(run.node_id, tuple(verdicts), run)


def scale(count: int) -> dict[str, float]:
    """Seconds by the clock and of the processor for `count` tests, and this process's peak memory in MB."""
    with tempfile.TemporaryDirectory() as scratch:

        def opened() -> BaselineFolder:
            return open_baselines("baselines", "main", revision=None, rootdir=Path(scratch))

        found: dict[str, float] = {}
        runs = [measurement(number) for number in range(count)]
        with timed(found, "save"):
            save(opened(), runs)
        remember(Path(scratch))
        with timed(found, "save_again"):
            save(opened(), runs)
        with timed(found, "load_and_judge"):
            results = list(judged(opened(), runs))
        with timed(found, "report"):
            table = terminal.render(results, Header.from_environment(GPU, "main"), colour=False)
        assert len(table.splitlines()) > count
        found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        found["sync_s"] = count * sync_cost(Path(scratch))
        return found


@contextlib.contextmanager
def timed(found: dict[str, float], name: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    found[f"{name}_s"], found[f"{name}_cpu_s"] = time.perf_counter() - wall, time.process_time() - cpu


def sync_cost(folder: Path, count: int = 200) -> float:
    """Seconds for one file of 4 kB to be written, synced and renamed, by nothing but the calls themselves."""
    started = time.perf_counter()
    for number in range(count):
        descriptor = os.open(folder / "draft", os.O_WRONLY | os.O_CREAT)
        os.write(descriptor, b"x" * 4096)
        os.fsync(descriptor)
        os.close(descriptor)
        (folder / "draft").rename(folder / f"file{number}")
    return (time.perf_counter() - started) / count


def remote() -> dict[str, float]:
    """Seconds to load and to save REMOTE_TESTS tests where every request takes 200 ms longer."""
    sys.path.insert(0, str(TESTS))
    from samples import s3_server

    with s3_server.server() as port:
        url = f"s3://{s3_server.BUCKET}/baselines"
        os.environ.update(s3_server.credentials(port))
        near = open_baselines(url, "main", revision=None, rootdir=Path())
        runs = [measurement(number) for number in range(REMOTE_TESTS)]
        save(near, runs)
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
    parser.add_argument("--remote", action="store_true")
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.count:
        print(json.dumps(scale(given.count)))
        return 0
    if given.remote:
        found = remote()
        print(found)
        return int(max(found["load_s"], found["save_s"]) > REMOTE_LIMIT_S)
    few, many = (in_a_process(count) for count in (1_000, 10_000))
    status = 0
    for name, limit in LIMITS.items():
        growth = many[name] / few[name]
        missed = many[name] > limit or (name.endswith("_s") and growth > 15)
        status |= missed
        cpu = f"of the processor {many[name[:-2] + '_cpu_s']:.2f}" if name.endswith("_s") else ""
        print(f"{name:<18} {few[name]:8.2f} {many[name]:8.2f} x{growth:4.1f} limit {limit:g} {'MISSED ' * missed}{cpu}")
    print(f"writing, syncing and renaming as many files one by one: {few['sync_s']:.2f} s, {many['sync_s']:.2f} s")
    return status


def in_a_process(count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--count", str(count)]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


if __name__ == "__main__":
    sys.exit(main())
