"""What the plugin adds to the start of pytest: `pytest --collect-only` in an empty folder, with it and without.

    python benchmarks/startup.py [runs]

Runs with and without the plugin take turns, so that what else the machine does meets both alike. The start of pytest
waits for nothing, so its time is taken from the processor, which a busy machine disturbs less than the clock. Prints
the median of the differences of neighbours with its interval, the medians by the clock, and the modules that pytest
has loaded more of. Exits with 1 where the plugin adds more than 15 ms.
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
"""No other plugin is loaded: what one of them has imported already would cost ours nothing. Bytecode is kept, as it is
where pytest is used."""

MODULES = "import json, sys, pytest; pytest.main(sys.argv[1:]); print(json.dumps(sorted(sys.modules)))"


def start_ms(*options: str) -> tuple[float, float]:
    """How long such a run takes: on the processor, and by the clock."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pytest", *OPTIONS, *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=ALONE)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return (used.ru_utime + used.ru_stime) * 1000, (time.perf_counter() - started) * 1000


def modules(*options: str) -> set[str]:
    """The modules that are loaded at the end of such a run."""
    command = [sys.executable, "-c", MODULES, *OPTIONS, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ALONE)
    return set(json.loads(done.stdout.splitlines()[-1]))


def added() -> set[str]:
    """The modules that the plugin makes pytest load."""
    return modules(*WITH) - modules(*WITHOUT)


def main(runs: int) -> int:
    """Measure and print. Returns the exit status."""
    start_ms(*WITH)
    start_ms(*WITHOUT)  # both once before, for the files' sake
    pairs = []
    for run in range(runs):
        first, second = (start_ms(*options) for options in (WITH, WITHOUT)[:: 1 if run % 2 else -1])
        pairs.append((first, second) if run % 2 else (second, first))
    added_ms = sorted(ours[0] - bare[0] for ours, bare in pairs)
    margin = round(runs**0.5)  # order statistics at n/2 +- sqrt(n): two standard deviations of a binomial count
    low, high = added_ms[max(0, runs // 2 - margin)], added_ms[min(runs - 1, runs // 2 + margin)]
    median = statistics.median(added_ms)
    ours, bare = (statistics.median(side[1] for side in sides) for sides in zip(*pairs, strict=True))
    print(f"the plugin adds {median:.1f} ms [{low:.1f}, {high:.1f}] in {runs} pairs of runs; target {TARGET_MS:g} ms")
    print(f"by the clock, with the plugin {ours:.1f} ms, without {bare:.1f} ms")
    print(f"modules: {', '.join(sorted(added()))}")
    return int(median > TARGET_MS)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS))
