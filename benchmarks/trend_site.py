"""Measure `pytest-trt site`: how long it takes to read the runs of a suite and to write its pages.

    python benchmarks/trend_site.py [tests] [runs]

The runs are read twice: from the JSON of runs, each with samples, and from baselines with a commit of each run in git.
Every fifth test becomes 8 % slower in the middle, and every seventh drifts with the machine. The exit status is 1 if
either takes more than 20 s of processor time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import io
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from samples.records import measurement
from samples.reports import HEAD, compared, text

from pytest_trt.cli.main import main as command
from pytest_trt.core.records import Result, Verdict
from pytest_trt.judge.baselines import open_baselines
from pytest_trt.judge.baselines.updating import Judged
from pytest_trt.report.header import Header

TESTS, RUNS, MOST_S = 500, 200, 20.0
START = datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.timezone.utc)


def results(tests: int, run: int, runs: int, draw: random.Random) -> Iterator[Result]:
    """Yield the results of one run of the suite."""
    late = run >= runs // 2
    when = (START + datetime.timedelta(hours=12 * run)).isoformat()
    for test in range(tests):
        node_id = f"tests/test_models.py::test_net{test % 50}[fp16-b{1 + test // 50}]"
        ratio = (1.08 if late and test % 5 == 0 else 1.0) * draw.uniform(0.998, 1.002)
        ms = (0.2 + test * 1e-3) * ratio * (1.05 if late and test % 7 == 0 else 1.0)
        plan = f"plan {test} {late and test % 5 == 0}"
        made = measurement(round(ms, 5), node_id, plan=plan)
        limit = Verdict("ok", "budget", "ms", "", limit=1.0)
        yield Result(node_id, (compared("ok", ratio), limit), dataclasses.replace(made, time=when))


def write_runs(folder: Path, tests: int, runs: int) -> None:
    """Write the JSON of each run."""
    for run in range(runs):
        made = list(results(tests, run, runs, random.Random(run)))
        header = dataclasses.replace(Header.from_results(made, "main"), run=HEAD)
        (folder / f"run-{run:03}.json").write_text(text("json", made, header))


def save_baselines(folder: Path, tests: int, runs: int) -> None:
    """Save each run to baselines, and commit them."""
    git = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "gc.auto=0"]
    subprocess.run([*git, "init", "-q"], check=True)
    for run in range(runs):
        judged = [
            Judged(dataclasses.replace(one.measurement, samples=(), profile=None), "ok", verdicts=one.verdicts)
            for one in results(tests, run, runs, random.Random(run))
            if one.measurement is not None
        ]
        open_baselines(str(folder / "baselines"), "main", revision=None, rootdir=folder).save_all(judged)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", f"run {run}"], check=True)
    subprocess.run([*git, "repack", "-adq"], check=True)


def timed(*arguments: str) -> float:
    """Run the command, and return how much processor time it took, that of git included."""
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    with contextlib.redirect_stdout(io.StringIO()) as output:
        status = command(arguments)
    wall, cpu = time.perf_counter() - wall, sum(os.times()[:4]) - cpu
    assert status == 0, output.getvalue()
    print(f"  {arguments[-1]}: {wall:.1f} s, of which {cpu:.1f} s of processor time")
    return cpu


def main() -> int:
    tests, runs = (int(word) for word in (*sys.argv[1:], *map(str, (TESTS, RUNS)[len(sys.argv) - 1 :])))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in ("runs", "project"):
            (folder / name).mkdir()
        write_runs(folder / "runs", tests, runs)
        save_baselines(folder / "project", tests, runs)
        os.chdir(folder / "project")
        print(f"{tests} tests x {runs} runs")
        spent = [
            timed("site", str(folder / "a"), f"--from={folder / 'runs'}", "--no-baselines"),
            timed("site", str(folder / "b"), f"--rootdir={folder / 'project'}", "--baseline-dir=baselines"),
        ]
        size = sum(path.stat().st_size for path in (folder / "a").rglob("*") if path.is_file())
        print(
            f"  {size / 1e6:.1f} MB, of which {(folder / 'a/assets/plotly.min.js').stat().st_size / 1e6:.1f} MB Plotly"
        )
    return int(max(spent) > MOST_S)


if __name__ == "__main__":
    sys.exit(main())
