"""Measure what the plugin adds to the start of pytest: `pytest --collect-only` in an empty folder, with and without it.

    python benchmarks/startup.py [runs]

Runs with and without the plugin alternate, so that other work of the machine disturbs both equally. The start of pytest
does not wait for anything, so CPU time is measured: a busy machine changes it less than wall time. The output is the
median of the differences of neighbouring runs with its interval, the medians of wall time, and the modules that the
plugin adds. The exit status is 1 if the plugin adds more than 15 ms.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

TARGET_MS = 15.0
RUNS = 40
OPTIONS = ("--collect-only", "-q", "-p", "no:cacheprovider")
WITH, WITHOUT = ("-p", "trt"), ("-p", "no:trt")
ALONE = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
ALONE["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
"""The environment without other plugins: modules that another plugin has imported would cost this one nothing. Bytecode
is written, as in normal use."""

MODULES = "import json, sys, pytest; pytest.main(sys.argv[1:]); print(json.dumps(sorted(sys.modules)))"


def start_ms(*options: str) -> tuple[float, float]:
    """Return the CPU time and the wall time of a run, in ms."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pytest", *OPTIONS, *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=ALONE)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return (used.ru_utime + used.ru_stime) * 1000, (time.perf_counter() - started) * 1000


def modules(*options: str) -> set[str]:
    """Return the modules that are loaded at the end of a run."""
    command = [sys.executable, "-c", MODULES, *OPTIONS, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ALONE)
    return set(json.loads(done.stdout.splitlines()[-1]))


def added_modules() -> set[str]:
    """Return the modules that are loaded only with the plugin."""
    return modules(*WITH) - modules(*WITHOUT)


def main(runs: int) -> int:
    """Measure, print, and return the exit status."""
    start_ms(*WITH)
    start_ms(*WITHOUT)  # The first runs read the files from the disk, so they are not counted.
    pairs = []
    for run in range(runs):
        first, second = (start_ms(*options) for options in (WITH, WITHOUT)[:: 1 if run % 2 else -1])
        pairs.append((first, second) if run % 2 else (second, first))
    added_ms = sorted(with_plugin[0] - without[0] for with_plugin, without in pairs)
    margin = round(runs**0.5)  # The order statistics at n/2 +- sqrt(n): two standard deviations of a binomial count.
    low, high = added_ms[max(0, runs // 2 - margin)], added_ms[min(runs - 1, runs // 2 + margin)]
    median = statistics.median(added_ms)
    wall_with, wall_without = (statistics.median(side[1] for side in sides) for sides in zip(*pairs, strict=True))
    print(f"the plugin adds {median:.1f} ms [{low:.1f}, {high:.1f}] in {runs} pairs of runs; target {TARGET_MS:g} ms")
    print(f"wall time with the plugin {wall_with:.1f} ms, without {wall_without:.1f} ms")
    print(f"modules: {', '.join(sorted(added_modules()))}")
    return int(median > TARGET_MS)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS))
